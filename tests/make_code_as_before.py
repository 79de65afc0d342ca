"""Writes storymem/code_as_before.json: files whose changes since a commit show in no pixel.

    python tests/make_code_as_before.py COMMIT

Finished shots stay as they are for these changes; run it only when that is right. Every file that
a shot's key covers and that differs from COMMIT, or is new since, is listed: look at ``git diff
COMMIT`` of each.
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
CODE = ("storymem", "nodes")
GOLDEN = PACK / "tests" / "golden" / "code_version.json"
sys.path.insert(0, str(PACK))

from storymem.code_version import AS_BEFORE, NO_INFLUENCE, digest_of_code  # noqa: E402

ASK = """
import json, sys
sys.path.insert(0, sys.argv[1])
from storymem import code_version
ask = getattr(code_version, sys.argv[2])
print(json.dumps([ask(of) for of in json.loads(sys.argv[3])]))
"""


def checkout(commit: str, folder: Path) -> None:
    archive = subprocess.run(
        ["git", "archive", commit, *CODE], cwd=PACK, check=True, capture_output=True
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)


def ask(pack: Path, function: str, arguments: list) -> list:
    """What a function of that pack's own code_version.py says of each argument."""
    command = [sys.executable, "-c", ASK, str(pack), function, json.dumps(arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def code_below(pack: Path) -> list[str]:
    files = (path for folder in CODE for path in (pack / folder).rglob("*.py"))
    return sorted(path.relative_to(pack).as_posix() for path in files)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("commit", help="with which the shots to keep were made")
    parser.add_argument("--golden", action="store_true", help="write the golden file, too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        before = Path(place)
        checkout(options.commit, before)
        known = code_below(before)
        told = dict(zip(known, ask(before, "_read", known), strict=True))
        table = {}
        for name in code_below(PACK):
            if name not in NO_INFLUENCE:
                now = digest_of_code((PACK / name).read_text(encoding="utf-8"))
                then, imports = told.get(name, (None, []))
                if now != then:
                    table[name] = {"now": now, "then": then, "imports": imports}
        if options.golden:
            nodes = [n for n in known if n.startswith(("nodes/", "storymem/headless/runner"))]
            versions = ask(before, "code_version", [[name] for name in nodes])
            versions = dict(zip(nodes, versions, strict=True))
            GOLDEN.write_text(json.dumps(versions, indent=1) + "\n")
    AS_BEFORE.write_text(json.dumps(table, indent=1) + "\n")
    print(f"{len(table)} files: {', '.join(table)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
