"""Writes ``workflows/``: ``python tests/make_workflows.py [name ...]`` beside a running ComfyUI.

The host's node descriptions (``--server``, default http://127.0.0.1:8188) decide widget order. The
graphs themselves are in ``workflow_graphs/``, a module each; without names all are written.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # graphs may ask the library
sys.path.insert(0, str(Path(__file__).resolve().parent))
from workflow_graphs import all_graphs

PACK = Path(__file__).resolve().parent.parent
WORKFLOWS = PACK / "workflows"


def write(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="files to write, without .json (default: all)")
    parser.add_argument("--server", default="http://127.0.0.1:8188")
    arguments = parser.parse_args()
    with urllib.request.urlopen(f"{arguments.server}/object_info") as answer:
        info = json.loads(answer.read())
    graphs = all_graphs()
    unknown = set(arguments.names) - set(graphs)
    if unknown:
        parser.error(f"no graph is called {sorted(unknown)}; there are {sorted(graphs)}")
    for name in arguments.names or graphs:
        write(WORKFLOWS / f"{name}.json", graphs[name](info))


if __name__ == "__main__":
    main()
