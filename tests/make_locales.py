"""Writes ``locales/en/nodeDefs.json`` from the nodes' schemas: ``python tests/make_locales.py``.

Needs a ComfyUI at COMFYUI_PATH or ~/ComfyUI. The Chinese file is written by hand; what it lacks,
and what it has too much, is told here and by the tests.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from host_server import host_path
from node_schemas import load_pack, shape, texts

PACK = Path(__file__).resolve().parent.parent
LOCALES = PACK / "locales"


def write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    nodes = load_pack(host_path(), PACK)
    english = {node_id: texts(node) for node_id, node in nodes.items()}
    write(LOCALES / "en" / "nodeDefs.json", english)
    path = LOCALES / "zh" / "nodeDefs.json"
    chinese = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for word, places in (
        ("still to be written", shape(english) - shape(chinese)),
        ("of nothing that exists", shape(chinese) - shape(english)),
    ):
        for place in sorted(places):
            sys.stderr.write(f"{path.relative_to(PACK)}{place}: {word}\n")


if __name__ == "__main__":
    main()
