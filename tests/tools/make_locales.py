"""Writes what the nodes' schemas say into the texts: ``python tests/tools/make_locales.py``.

That is ``locales/en/nodeDefs.json``, and the lists of inputs and outputs in ``web/docs``. Needs a
ComfyUI at COMFYUI_PATH or ~/ComfyUI. The Chinese nodeDefs and the rest of the pages are
written by hand; what they lack, and what they have too much, is told here and by the tests.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from helpers.help_pages import with_lists
from helpers.host_server import host_path
from helpers.node_schemas import fingerprints, for_artists, load_pack, shape, texts

PACK = Path(__file__).resolve().parents[2]
LOCALES = PACK / "locales"
TRANSLATED = PACK / "tests" / "golden" / "translated.json"


def read(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--translated", action="store_true", help="the Chinese says what the English says now"
    )
    arguments = parser.parse_args()
    nodes = for_artists(load_pack(host_path(), PACK))
    english = {node_id: texts(node) for node_id, node in nodes.items()}
    text = json.dumps(english, indent=2, ensure_ascii=False) + "\n"
    (LOCALES / "en" / "nodeDefs.json").write_text(text, encoding="utf-8")
    chinese = read(LOCALES / "zh" / "nodeDefs.json")
    missing = [
        *(f"locales/zh/nodeDefs.json{p}: to be written" for p in shape(english) - shape(chinese)),
        *(f"locales/zh/nodeDefs.json{p}: of nothing" for p in shape(chinese) - shape(english)),
    ]
    now = fingerprints(english)
    if arguments.translated:
        lines = json.dumps(now, indent=0, sort_keys=True) + "\n"
        TRANSLATED.write_text(lines, encoding="utf-8")
    before = read(TRANSLATED)
    missing += [
        f"locales/zh/nodeDefs.json{place}: the English has changed (then run with --translated)"
        for place, digest in now.items()
        if before.get(place) != digest and place in shape(chinese)
    ]
    for language, names in (("en", english), ("zh", chinese)):
        types = read(LOCALES / language / "main.json")["dataTypes"]
        for node_id, node in nodes.items():
            page = PACK / "web" / "docs" / node_id / f"{language}.md"
            if not page.exists():
                missing.append(f"{page.relative_to(PACK)}: to be written")
            elif shape(english[node_id]) <= shape(names.get(node_id, {})):
                old = page.read_text(encoding="utf-8")
                new = with_lists(old, node, names[node_id], language, types)
                page.write_text(new, encoding="utf-8")
    sys.stderr.write("".join(f"{line}\n" for line in sorted(missing)))


if __name__ == "__main__":
    main()
