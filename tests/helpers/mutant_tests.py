# ruff: noqa: T201  what it prints is the tool's progress
"""Which tests execute which line, for ``tests/tools/mutants.py``; kept between its runs."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from helpers.mutant_runs import Children
from helpers.mutations import Mutant


@dataclass
class RunOfTests:
    """What one test file does, without a mutant."""

    seconds: dict[str, float]  # of each test that passed
    lines: dict[str, dict[str, list[int]]]  # source -> test, or "" for its import -> lines executed


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:24]


def look_up_tests(children: Children, source: str, files: list[str]) -> dict[str, RunOfTests]:
    """What each test file does; looked up again when it or ``source`` has changed."""
    kept = Path(tempfile.gettempdir()) / f"storymem-mutants-{os.getuid()}"
    kept.mkdir(exist_ok=True)
    copy, found = children.copy, {}
    for number, file in enumerate(files, start=1):
        path = kept / f"{file.replace('/', '-')}-{_digest(copy / file)}.json"
        data = json.loads(path.read_text()) if path.exists() else None
        if data and data["sources"].get(source, "") not in ("", _digest(copy / source)):
            data = None
        if data is None:
            print(f"\rlooking up tests {number}/{len(files)} {file:60}", end="", flush=True)
            code, data = children.run([file], trace=True)
            data = data or {"seconds": {}, "lines": {}}
            data["sources"] = {s: _digest(copy / s) for s in data["lines"]}
            if code in (0, 5):
                part = path.with_suffix(f".{os.getpid()}")
                part.write_text(json.dumps(data))
                part.replace(path)
            else:
                tail = (children.scratch / "output.txt").read_text()[-800:]
                print(f"\nwithout a mutant {file} ends with {code}; what fails is left out\n{tail}")
        found[file] = RunOfTests(data["seconds"], data["lines"])
    print("\r" + " " * 90 + "\r", end="")
    return found


def files_that_reach(root: Path, source: str, files: list[str]) -> list[str]:
    """The test files that import ``source``, however indirectly; others are not worth a run."""
    return [file for file in files if source in _reached(root, file)]


@cache
def _reached(root: Path, file: str) -> frozenset[str]:
    """All files of the project that ``file`` imports, itself or through others."""
    seen, waiting = {file}, [file]
    while waiting:
        more = _imported(root, waiting.pop()) - seen
        seen |= more
        waiting += more
    return frozenset(seen)


@cache
def _imported(root: Path, file: str) -> frozenset[str]:
    """What ``file`` imports anywhere; of a file that says modules' names in texts, those too."""
    names = set()
    package = file.split("/")[:-1]
    for node in ast.walk(ast.parse((root / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            names |= {node.value} if node.value.startswith("storymem.") else set()
    names = {f"tests.{name}" if name.startswith("helpers") else name for name in names}
    places = [name.replace(".", "/") for name in names]
    places += [place.rpartition("/")[0] for place in places]
    made = {f for place in places for f in (f"{place}.py", f"{place}/__init__.py")}
    return frozenset(name for name in made if name != "/__init__.py" and (root / name).is_file())


def _first_line(mutant: Mutant) -> int:
    """Where the statement begins that the mutant is in: of constants in a list no line is seen."""
    simple = [
        node
        for node in ast.walk(ast.parse(mutant.source))
        if isinstance(node, ast.stmt) and not hasattr(node, "body")
    ]
    around = [s.lineno for s in simple if s.lineno <= mutant.line <= s.end_lineno]
    return min([mutant.line, *around])


def is_run_by_import(mutant: Mutant) -> bool:
    """Whether it stands outside of every function. A host imports it in whichever test is first."""
    functions = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    return not any(
        isinstance(node, functions) and node.lineno <= mutant.line <= node.end_lineno
        for node in ast.walk(ast.parse(mutant.source))
    )


def choose(runs: dict[str, RunOfTests], source: str, mutant: Mutant) -> dict[str, dict[str, float]]:
    """The tests that execute a line of the mutant, by test file, with their seconds.

    Lines that are only executed by the import reach every test of the files that import them.
    """
    wanted = set(range(_first_line(mutant), mutant.end_line + 1))
    chosen: dict[str, dict[str, float]] = {}
    for file, run in runs.items():
        by_test = run.lines.get(source, {})
        tests = [t for t, lines in by_test.items() if t and wanted & set(lines)]
        if wanted & set(by_test.get("", ())):
            tests += list(run.seconds)  # a constant is read without a line of its file
        picked = {test: run.seconds[test] for test in tests if test in run.seconds}
        if picked:
            chosen[file] = picked
    return chosen
