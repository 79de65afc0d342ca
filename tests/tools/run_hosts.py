"""Runs tests in several ComfyUIs and front ends, and writes the table of ``docs/hosts.md``.

    python tests/tools/run_hosts.py --host ~/ComfyUI ~/venv/bin/python --front-end ~/fronts/1.58.1
    python tests/tools/run_hosts.py --library ~/venv313/bin/python
    python tests/tools/run_hosts.py --host PATH PYTHON LABEL --tests whole

A host is a checkout, the Python that it runs in and, if it is not as released, a label for it.
Nothing of it is changed. It runs the chosen tests with its own front end, and those of them that
open the page once more with every ``--front-end``: a folder into which a wheel of
``comfyui-frontend-package`` was unpacked. ``--library`` is a Python that runs the fast suite, with
no host. One run after the other; each writes its row when it is through. Exits with 1 when a test
failed.
"""

from __future__ import annotations

# ruff: noqa: T201  it is a script: what it prints is its result
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from helpers.host_table import NO_FRONT_END, NO_HOST, PAGE, Row, count_results, with_row

PACK = Path(__file__).resolve().parents[2]
# By choice: tests of the host, and tests that open its page.
CHOICES = {
    "quick": (
        (
            "tests/host/whole/test_host_smoke.py",
            "tests/host/whole/test_host_private.py",
            "tests/host/whole/test_schemas.py",
            "tests/host/whole/test_stock_untouched.py",
            "tests/host/loop/test_shot_loop.py",
            "tests/host/loop/test_shot_loop_failure.py",
            "tests/host/memory/test_keyframe_nodes.py",
            "tests/host/sampling/test_m2v_rope.py",
            "tests/host/sampling/test_sampler_node.py",
        ),
        (
            "tests/host/page/test_page_desk.py",
            "tests/host/page/test_page_gallery.py",
            "tests/host/page/test_page_story.py",
        ),
    ),
    "whole": (("tests/host",), ("tests/host/page",)),
}
FAST = ("tests", "-m", "not host and not slow")
LOOK = """
import json, sys, importlib.metadata as metadata
found = {"python": sys.version.split()[0]}
for name in ("torch", "transformers", "comfyui-frontend-package"):
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        found[name] = "none"
import torch
found["torch"] = torch.__version__
if len(sys.argv) > 1:
    sys.path.insert(0, sys.argv[1])
    from comfyui_version import __version__
    found["host"] = __version__
print(json.dumps(found))
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--host", nargs="+", action="append", default=[], metavar="PATH PYTHON")
    parser.add_argument("--front-end", type=Path, action="append", default=[], metavar="FOLDER")
    parser.add_argument("--library", action="append", default=[], metavar="PYTHON")
    parser.add_argument(
        "--tests", nargs="+", default=["quick"], help="quick, whole, or files and folders"
    )
    parser.add_argument("--only-front-ends", action="store_true", help="not the hosts' own")
    options = parser.parse_args()
    for host in options.host:
        if len(host) not in (2, 3) or not Path(host[0], "main.py").is_file():
            parser.error(f"--host wants a ComfyUI's folder, its Python, perhaps a label: {host}")
    fronts = {folder: front_end_version(folder) for folder in options.front_end}
    if not options.host and not options.library:
        parser.error("nothing to run: name a --host or a --library")
    tests, pages = chosen(options.tests)
    name = " ".join(options.tests)

    is_good = True
    for path, python, *label in options.host:
        found = look(python, path)
        base = {
            "host": found["host"] + "".join(f" ({text})" for text in label),
            "python": found["python"],
            "torch": found["torch"],
            "transformers": found["transformers"],
        }
        env = {"COMFYUI_PATH": str(Path(path).resolve())}
        if not options.only_front_ends:
            row = base | {"front_end": found["comfyui-frontend-package"], "tests": name}
            is_good &= run(python, tests, env, row)
        for folder, version in fronts.items():
            row = base | {"front_end": version, "tests": f"{name}, pages"}
            is_good &= run(python, pages, env | {"STORYMEM_FRONT_END": str(folder)}, row)
    for python in options.library:
        found = look(python)
        row = {"host": NO_HOST, "front_end": NO_FRONT_END, "tests": "library"}
        row |= {key: found[key] for key in ("python", "torch", "transformers")}
        is_good &= run(python, FAST, {"COMFYUI_PATH": os.devnull}, row)
    return 0 if is_good else 1


def chosen(tests: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What pytest is told for a choice of tests, and for those of them that open the page."""
    if len(tests) == 1 and tests[0] in CHOICES:
        nodes, pages = CHOICES[tests[0]]
        return (nodes if tests[0] == "whole" else nodes + pages), pages
    if missing := [path for path in tests if not (PACK / path.split("::")[0]).exists()]:
        raise SystemExit(f"no such choice, file or folder: {missing[0]}")
    return tuple(tests), tuple(path for path in tests if "tests/host/page" in path)


def front_end_version(folder: Path) -> str:
    """The version of an unpacked wheel, from the wheel's own notes."""
    found = list(folder.glob("comfyui_frontend_package-*.dist-info"))
    if len(found) != 1 or not (folder / "comfyui_frontend_package/static/index.html").is_file():
        raise SystemExit(f"--front-end wants an unpacked wheel of the front end: {folder}")
    return found[0].name.removesuffix(".dist-info").rpartition("-")[2]


def look(python: str, host: str | None = None) -> dict[str, str]:
    """Versions of what lies in a Python, and of the host beside it."""
    command = [python, "-c", LOOK, *([str(Path(host).resolve())] if host else [])]
    found = subprocess.run(command, capture_output=True, text=True, cwd=tempfile.gettempdir())
    if found.returncode:
        raise SystemExit(f"{python} cannot be asked for its versions:\n{found.stderr[-2000:]}")
    return json.loads(found.stdout.splitlines()[-1])


def pack_version() -> str:
    """The pack's version and commit; told if the code is not as committed."""
    project = (PACK / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.+)"$', project, re.M)[1]
    git = ["git", "-C", str(PACK)]
    commit = subprocess.check_output([*git, "rev-parse", "--short=8", "HEAD"], text=True).strip()
    changed = subprocess.check_output(
        [*git, "status", "--porcelain", "--", ".", ":!docs", ":!*.md"], text=True
    )
    return f"{version} at {commit}{', changed' if changed.strip() else ''}"


def run(python: str, tests: tuple[str, ...], env: dict[str, str], row: dict[str, str]) -> bool:
    """Run tests and write their row; whether all went well."""
    if not tests:
        return True
    title = f"{row['host']}, front end {row['front_end']}, Python {row['python']}: {row['tests']}"
    print(title, flush=True)
    pack = pack_version()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"]
        command += ["-o", "junit_family=xunit1"]  # tests may tell what they measured
        clean = {name: value for name, value in os.environ.items() if name != "STORYMEM_FRONT_END"}
        # Compiled files of several Pythons and hosts do not get into each other's way.
        clean.setdefault("PYTHONPYCACHEPREFIX", str(Path(tempfile.gettempdir(), "run_hosts_pyc")))
        ran = subprocess.run(
            [*command, *tests], cwd=PACK, env=clean | env, capture_output=True, text=True
        )
        if ran.returncode not in (0, 1):
            print(
                f"  not through (exit {ran.returncode}), no row:\n{ran.stdout[-3000:]}", flush=True
            )
            return False
        counts = count_results(report)
    if ran.returncode:
        print(ran.stdout[-6000:])
    print("  passed {passed}, skipped {skipped}, failed {failed}".format(**counts), flush=True)
    full = Row(**row, **counts, pack=pack, date=date.today().isoformat())
    PAGE.write_text(with_row(PAGE.read_text(encoding="utf-8"), full), encoding="utf-8")
    return ran.returncode == 0


if __name__ == "__main__":
    raise SystemExit(main())
