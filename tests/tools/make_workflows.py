"""Writes the shipped graphs: ``python tests/tools/make_workflows.py [name ...]``, ComfyUI running.

The host's node descriptions (``--server``, default http://127.0.0.1:8188) decide widget order. The
graphs themselves are in ``workflow_graphs/``, a module each; without names all are written but
those that need a node which that host has not.
"""

from __future__ import annotations

import argparse
import json
import sys
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # graphs may ask the library
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from helpers.workflow_graphs import all_files, needs

PACK = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="files to write, without .json (default: all)")
    parser.add_argument("--server", default="http://127.0.0.1:8188")
    parser.add_argument("--into", type=Path, default=PACK, help="instead of the pack's own folder")
    arguments = parser.parse_args()
    with urllib.request.urlopen(f"{arguments.server}/object_info") as answer:
        info = json.loads(answer.read())
    files = {Path(path): build for path, build in all_files().items()}
    unknown = set(arguments.names) - {path.stem for path in files}
    if unknown:
        parser.error(f"no graph is called {sorted(unknown)}; there are {sorted(map(str, files))}")
    for path, build in files.items():
        if arguments.names and path.stem not in arguments.names:
            continue
        if needs().get(path.stem, "") not in ("", *info):
            sys.stderr.write(f"left out: {path}, this ComfyUI has no {needs()[path.stem]}\n")
            continue
        text = json.dumps(build(info), indent=2, ensure_ascii=False) + "\n"
        target = arguments.into / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
