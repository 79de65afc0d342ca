"""Records the nodes' schemas: ``python tests/tools/make_schema_snapshot.py``.

They are in ``golden/schemas.json``. Needs a ComfyUI at COMFYUI_PATH or ~/ComfyUI. Additions are
recorded; a change that saved workflows
would not survive is refused, unless ``--migrated`` says that the node takes old workflows over.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from helpers.host_server import host_path
from helpers.node_schemas import breaking_changes, for_artists, load_pack, saved_form

PACK = Path(__file__).resolve().parents[2]
SNAPSHOT = PACK / "tests" / "golden" / "schemas.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--migrated", action="store_true", help="record breaking changes as well")
    arguments = parser.parse_args()
    nodes = for_artists(load_pack(host_path(), PACK))
    current = {node_id: saved_form(node) for node_id, node in sorted(nodes.items())}
    if SNAPSHOT.exists() and not arguments.migrated:
        problems = breaking_changes(json.loads(SNAPSHOT.read_text(encoding="utf-8")), current)
        if problems:
            raise SystemExit("saved workflows would not survive this:\n" + "\n".join(problems))
    text = json.dumps(current, indent=1, ensure_ascii=False) + "\n"
    SNAPSHOT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
