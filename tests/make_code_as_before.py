"""Writes storymem/code_as_before.json: files whose changes since a commit show in no pixel.

    python tests/make_code_as_before.py COMMIT

Finished shots stay as they are for these changes; run it only when that is right. Every file that
a shot's key covers and that differs from COMMIT is listed: look at ``git diff COMMIT`` of each.
With ``--golden`` it also writes down what COMMIT's own code says of every node's file, which
tests/test_code_version.py compares with.
"""

from __future__ import annotations

# ruff: noqa: T201  it is a script: what it prints is its result
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

PACK = Path(__file__).resolve().parent.parent
GOLDEN = PACK / "tests" / "golden" / "code_version.json"
sys.path.insert(0, str(PACK))

from storymem.code_version import AS_BEFORE, NO_INFLUENCE, digest_of_code, imports_of  # noqa: E402

TOLD = """
import json, sys
sys.path.insert(0, sys.argv[1])
from storymem.code_version import code_version
names = json.loads(sys.argv[2])
print(json.dumps({name: code_version([name]) for name in names}))
"""


def checkout(commit: str, folder: Path) -> None:
    archive = subprocess.run(
        ["git", "archive", commit, "storymem", "nodes"], cwd=PACK, check=True, capture_output=True
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit", help="with which the shots to keep were made")
    parser.add_argument("--golden", action="store_true", help="write the golden file, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        before = Path(place)
        checkout(options.commit, before)
        names = [p.relative_to(before).as_posix() for p in sorted(before.rglob("*.py"))]
        table = {}
        for name in names:
            if name in NO_INFLUENCE or not (PACK / name).is_file():
                continue
            old = (before / name).read_text(encoding="utf-8")
            new = (PACK / name).read_text(encoding="utf-8")
            if digest_of_code(old) != digest_of_code(new):
                then = digest_of_code(old)
                imports = imports_of(name, old, before)
                table[name] = {"now": digest_of_code(new), "then": then, "imports": imports}
        if options.golden:
            nodes = [n for n in names if n.startswith(("nodes/", "storymem/headless/runner"))]
            told = subprocess.run(
                [sys.executable, "-c", TOLD, str(before), json.dumps(nodes)],
                check=True, capture_output=True, text=True,
            )  # fmt: skip
            GOLDEN.write_text(json.dumps(json.loads(told.stdout), indent=1) + "\n")
    AS_BEFORE.write_text(json.dumps(table, indent=1) + "\n")
    print(f"{len(table)} files: {', '.join(table)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
