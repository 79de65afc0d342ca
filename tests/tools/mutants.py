"""Tells which small wrong changes of a source file no test notices.

    python tests/tools/mutants.py storymem/sampling/rope.py [more files]
    python tests/tools/mutants.py nodes/a/b.py --host --tests tests/host/a/test_b.py

Needs ``pip install coverage``. Each mutant (``helpers/mutations.py`` says of which kinds) stands in
a copy of the project and gets a process of its own, forked from one that has loaded the heavy
libraries and nothing of the pack. In it run the fast tests (neither ``host`` nor ``slow``) that
execute one of the mutant's lines, first those of the folder named as the file's; ``--tests`` names
others, and ``--host`` takes host and slow ones too, all of them for every mutant, since a server's
lines are not seen from here. A failing test kills the mutant, and so does one that takes five times
as long. Which test executes which line is looked up once and kept in the temporary folder until the
test file or the source changes.

A living mutant is printed with its place. Put it into ``equivalent_mutants.txt`` beside this file
when nothing that a user could notice depends on it: there a paragraph each, of four lines: file,
the line of the source, the change, the reason. These are counted apart. A mutant of a line that no
test executes lives, and counts as uncovered. Exits with 1 when one lives.
"""

# ruff: noqa: T201  it is a script: what it prints is its result

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import coverage

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from helpers.mutations import Mutant, mutants_of

PACK = Path(__file__).resolve().parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")
HEAVY = ("torch", "numpy", "PIL.Image", "av", "einops", "safetensors.torch")
BUDGET_S = 30.0  # a mutant meets the quickest tests of its folder, and of others, for so long


@dataclass
class RunOfTests:
    """What one test file does, without a mutant."""

    seconds: dict[str, float]  # of each test that passed
    lines: dict[str, dict[str, list[int]]]  # source -> test, or "" for its import -> lines executed


# --- one child process ----------------------------------------------------------------------------
class Probe:
    """The pytest plugin of a child: picks tests, and writes down how they went."""

    def __init__(self, wanted: dict[str, float] | None, trace: bool, root: Path):
        self.wanted = wanted
        self.root = root
        self.seconds: dict[str, float] = {}
        self.bad: set[str] = set()
        self.coverage = None
        if trace:
            watched = [str(root / folder / "*") for folder in ("storymem", "nodes")]
            self.coverage = coverage.Coverage(data_file=None, config_file=False, include=watched)
            self.coverage.start()

    def pytest_collection_modifyitems(self, config, items):
        if self.wanted is not None:
            items[:] = [item for item in items if item.nodeid in self.wanted]
            items.sort(key=lambda item: self.wanted[item.nodeid])

    def pytest_runtest_logstart(self, nodeid, location):
        if self.coverage:
            self.coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed or (report.skipped and report.when != "teardown"):
            self.bad.add(report.nodeid)

    def result(self) -> dict:
        good = {test: s for test, s in self.seconds.items() if test not in self.bad}
        lines: dict[str, dict[str, list[int]]] = {}
        if self.coverage:
            self.coverage.stop()
            data = self.coverage.get_data()
            for file in data.measured_files():
                by_test = lines.setdefault(str(Path(file).relative_to(self.root)), {})
                for line, tests in data.contexts_by_lineno(file).items():
                    for test in tests:
                        by_test.setdefault(test, []).append(line)
        return {"seconds": good, "lines": lines}


class Children:
    """Forks processes that run tests in the project's copy."""

    def __init__(self, copy: Path, scratch: Path, marks: str):
        self.copy = copy
        self.scratch = scratch
        self.marks = marks
        text = "\n".join(file.read_text(encoding="utf-8") for file in copy.rglob("*.py"))
        for name in HEAVY:
            if f"import {name}" in text or f"from {name}" in text:
                importlib.import_module(name)
        import hypothesis

        hypothesis.settings.register_profile(
            "mutants",
            database=None,
            derandomize=True,
            deadline=None,
            phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        )
        gc.freeze()

    def run(
        self,
        files: Iterable[str],
        *,
        wanted: dict[str, float] | None = None,
        trace: bool = False,
        limit_s: float = 900.0,
    ) -> tuple[int | None, dict]:
        """pytest's exit code (None when it had to be stopped) and the probe's result."""
        answer = self.scratch / "answer.json"
        answer.unlink(missing_ok=True)
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                code = self._child(list(files), wanted, trace, answer)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        code = _wait(pid, limit_s)
        shutil.rmtree(self.scratch / "tmp", ignore_errors=True)
        return code, json.loads(answer.read_text()) if answer.exists() else {}

    def _child(self, files: list[str], wanted, trace: bool, answer: Path) -> int:
        import pytest

        os.setsid()
        os.chdir(self.copy)
        quiet = os.open(self.scratch / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        sys.dont_write_bytecode = wanted is not None  # nothing of a mutant may stay
        if sys.dont_write_bytecode:
            os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        probe = Probe(wanted, trace, self.copy)
        stop_early = [] if trace else ["-x"]
        code = pytest.main(
            [
                *("-q", "-p", "no:cacheprovider", "-m", self.marks, *stop_early),
                *("-W", "ignore:Module already imported"),  # the heavy ones are, before the fork
                *("--hypothesis-profile=mutants", f"--basetemp={self.scratch / 'tmp'}"),
                *(str(self.copy / file) for file in files),
            ],
            plugins=[probe],
        )
        answer.write_text(json.dumps(probe.result()))
        return int(code)


def _wait(pid: int, limit_s: float) -> int | None:
    """The exit code of the child, None when it was stopped; whatever it started ends with it."""
    end = time.monotonic() + limit_s
    code = None
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        if time.monotonic() > end:
            break
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
    if code is None:
        with contextlib.suppress(ChildProcessError, ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    return code


# --- which test executes which line ---------------------------------------------------------------
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:24]


def look_up_tests(children: Children, pack: Path, source: str, files: list[str]) -> dict:
    """``RunOfTests`` of each test file; looked up again when it or ``source`` has changed."""
    kept = Path(tempfile.gettempdir()) / f"storymem-mutants-{os.getuid()}"
    kept.mkdir(exist_ok=True)
    found = {}
    for number, file in enumerate(files):
        name = f"{file.replace('/', '-')}-{_digest(pack / file)}.json"
        path = kept / name
        data = json.loads(path.read_text()) if path.exists() else None
        now = _digest(pack / source)
        if data and source in data["lines"] and data["sources"].get(source) != now:
            data = None
        if data is None:
            print(f"\rlooking up tests {number + 1}/{len(files)} {file:60}", end="", flush=True)
            code, data = children.run([file], trace=True)
            if code not in (0, 5):
                tail = (children.scratch / "output.txt").read_text()[-800:]
                print(f"\nwithout a mutant {file} ends with {code}; what fails is left out\n{tail}")
            data = data or {"seconds": {}, "lines": {}}
            data["sources"] = {s: _digest(pack / s) for s in data["lines"] if (pack / s).is_file()}
            part = path.with_suffix(f".{os.getpid()}")
            part.write_text(json.dumps(data))
            part.replace(path)
        found[file] = RunOfTests(data["seconds"], data["lines"])
    print("\r" + " " * 90 + "\r", end="")
    return found


def choose(runs: dict[str, RunOfTests], source: str, mutant: Mutant) -> dict[str, dict[str, float]]:
    """The tests that execute a line of the mutant, by test file, with their seconds.

    Lines that are only executed by the import reach every test of the files that import them.
    """
    wanted = set(range(mutant.line, mutant.end_line + 1))
    chosen: dict[str, dict[str, float]] = {}
    for file, run in runs.items():
        by_test = run.lines.get(source, {})
        tests = [t for t, lines in by_test.items() if t and wanted & set(lines)]
        if wanted & set(by_test.get("", ())):
            tests += [t for t in by_test if t] or list(run.seconds)
        picked = {test: run.seconds[test] for test in tests if test in run.seconds}
        if picked:
            chosen[file] = picked
    return chosen


# --- a run ----------------------------------------------------------------------------------------
def copy_project(pack: Path, target: Path) -> None:
    """Copy what git knows or would add; only files that are there."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"],
        cwd=pack,
        capture_output=True,
        check=True,
        text=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (pack / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(pack / name, target / name)


def read_equivalent(path: Path) -> set[tuple[str, str, str]]:
    """(file, line of the source, change) of every paragraph."""
    known = set()
    if not path.exists():
        return known
    for paragraph in path.read_text(encoding="utf-8").split("\n\n"):
        lines = [line.strip() for line in paragraph.strip().splitlines() if line[:1] != "#"]
        if lines and len(lines) != 4:
            raise ValueError(f"{path}: four lines a paragraph, but one has {len(lines)}: {lines}")
        if lines:
            known.add((lines[0], lines[1], lines[2]))
    return known


def is_killed(children: Children, chosen: dict[str, dict[str, float]], budget_s: float) -> bool:
    """Whether one of the tests notices; the quickest, as many as fit into ``budget_s``."""
    wanted: dict[str, float] = {}
    files = []
    for file in sorted(chosen, key=lambda file: min(chosen[file].values())):
        for test, seconds in sorted(chosen[file].items(), key=lambda pair: pair[1]):
            if sum(wanted.values()) + seconds <= budget_s:
                wanted[test] = seconds
                files += [file] if file not in files else []
    if not wanted:
        return False
    limit_s = 5 * sum(wanted.values()) + 5 + 2 * len(files)
    code, _ = children.run(files, wanted=wanted, limit_s=limit_s)
    return code not in (0, 5)  # 5: no test was left


def try_file(
    source: str,
    stages: list[list[str]],
    children: Children,
    pack: Path,
    mutants: list[Mutant],
    everything: bool,
) -> Counter:
    """Run every mutant of ``source``, tell of those that live, and count all.

    ``stages`` are test files: the mutants that the first ones leave alive meet the next ones.
    """
    count: Counter = Counter()
    target = children.copy / source
    original = target.read_text(encoding="utf-8")
    alive = list(enumerate(mutants, start=1))
    met: set[int] = set()  # by a test that executes it
    for files in stages:
        if not alive or not files:
            continue
        runs = look_up_tests(children, pack, source, files)
        still = []
        for number, mutant in alive:
            chosen = choose(runs, source, mutant)
            if everything:
                chosen = {file: run.seconds for file, run in runs.items() if run.seconds}
            if chosen:
                met.add(number)
                target.write_text(mutant.source, encoding="utf-8")
                os.utime(target, (number, number))  # else old bytecode passes for its own
                killed = is_killed(children, chosen, BUDGET_S)
                target.write_text(original, encoding="utf-8")
                if killed:
                    count["killed"] += 1
                    continue
            still.append((number, mutant))
        alive = still
    uncovered = Counter(mutant.line for number, mutant in alive if number not in met)
    for number, mutant in alive:
        if number in met:
            print(f"{source}:{mutant.line} lived: {mutant.change}", flush=True)
    for line, number in sorted(uncovered.items()):
        text = original.splitlines()[line - 1].strip()
        print(f"{source}:{line} no test executes it ({number} mutants): {text}", flush=True)
    count["uncovered"] = uncovered.total()
    count["lived"] = len(alive) - count["uncovered"]
    return count


def report(counts: dict[str, Counter]) -> bool:
    """Print the table; whether none lives."""
    columns = ("mutants", "killed", "equivalent", "lived", "uncovered")
    print(f"{'file':44}" + "".join(f"{name:>11}" for name in columns) + "  killed of the rest")
    for source, count in counts.items():
        rest = count["mutants"] - count["equivalent"]
        share = f"{count['killed'] / rest:.1%}" if rest else "-"
        print(f"{source:44}" + "".join(f"{count[name]:11}" for name in columns) + f"  {share}")
    return not any(count["lived"] + count["uncovered"] for count in counts.values())


def fast_tests(pack: Path) -> list[str]:
    files = (pack / "tests").rglob("test_*.py")
    names = sorted(str(file.relative_to(pack)) for file in files)
    return [name for name in names if not name.startswith("tests/host/")]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs="+", help="sources, relative to the project")
    parser.add_argument("--tests", nargs="+", help="test files (default: all fast ones)")
    parser.add_argument("--host", action="store_true", help="host and slow tests of --tests too")
    parser.add_argument("--sample", type=int, help="only so many mutants of each file")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--lines", help="only mutants of these lines, for instance 40-62")
    parser.add_argument("--list", action="store_true", help="print the mutants, run nothing")
    parser.add_argument("--pack", type=Path, default=PACK, help="the project (default: this one)")
    parser.add_argument("--equivalent", type=Path, default=EQUIVALENT, help="the known ones")
    options = parser.parse_args(arguments)
    if options.host and not options.tests:
        parser.error("--host needs the host tests to run: name them with --tests")
    return options


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    pack = options.pack.resolve()
    known = read_equivalent(options.equivalent)
    mutants = {}
    for source in options.files:
        found = mutants_of((pack / source).read_text(encoding="utf-8"))
        if options.lines:
            first, _, last = options.lines.partition("-")
            found = [m for m in found if int(first) <= m.line <= int(last or first)]
        if options.sample is not None and options.sample < len(found):
            picked = sorted(random.Random(options.seed).sample(range(len(found)), options.sample))
            found = [found[index] for index in picked]
        mutants[source] = found
    if options.list:
        for source, found in mutants.items():
            for mutant in found:
                print(f"{source}:{mutant.line} {mutant.change}")
        return 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        copy = Path(scratch) / "project"
        copy_project(pack, copy)
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(Path(scratch) / "bytecode")
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        marks = "" if options.host else "not host and not slow"
        children = Children(copy, Path(scratch), marks)
        files = options.tests or fast_tests(pack)
        counts = {}
        for source, found in mutants.items():
            new = [m for m in found if (source, m.context, m.change) not in known]
            folder = Path(source).parent.name
            own = [file for file in files if Path(file).parent.name == folder]
            stages = [own, [file for file in files if file not in own]]
            counts[source] = try_file(source, stages, children, pack, new, options.host)
            counts[source]["mutants"] = len(found)
            counts[source]["equivalent"] = len(found) - len(new)
    return 0 if report(counts) else 1


if __name__ == "__main__":
    sys.exit(main())
