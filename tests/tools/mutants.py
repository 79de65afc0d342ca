"""Tells which small wrong changes of a source file no test notices.

    python tests/tools/mutants.py storymem/sampling/rope.py [more files]
    python tests/tools/mutants.py nodes/a/b.py --host --tests tests/host/a/test_b.py

Needs ``pip install coverage``. Each mutant (``helpers/mutations.py`` says of which kinds) stands in
a copy of the project and gets a process of its own, forked from one that has loaded the heavy
libraries and nothing of the pack. In it run the fast tests (neither ``host`` nor ``slow``) that
execute one of the mutant's lines, first those of the folder named as the file's; ``--tests`` names
others, and ``--host`` takes host and slow ones too; a line that none executes in this process meets
all of them, since a server's lines are not seen from here. A failing test kills the mutant, and so
does one that takes five times as long. Which test executes which line is looked up once and kept in
the temporary folder until the test file or the source changes (when helpers did, delete
``storymem-mutants-*`` there).

A living mutant is printed with its place. Put it into ``equivalent_mutants.txt`` beside this file
when nothing that a user could notice depends on it: there a paragraph each, of four lines: file,
the line of the source, the change, the reason. These are counted apart. A mutant of a line that no
test executes lives, and counts as uncovered. Exits with 1 when one lives.
"""

# ruff: noqa: T201  it is a script: what it prints is its result

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from helpers.host_server import host_path
from helpers.mutant_runs import Children
from helpers.mutant_tests import choose, files_that_reach, is_run_by_import, look_up_tests
from helpers.mutations import Mutant, mutants_of

PACK = Path(__file__).resolve().parents[2]
EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")
BUDGET_S = 60.0


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
    mutants: list[Mutant],
    everything: bool,
    budget_s: float,
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
        runs = look_up_tests(children, source, files)
        still = []
        for number, mutant in alive:
            chosen = choose(runs, source, mutant)
            if everything and (not chosen or is_run_by_import(mutant)):
                chosen = {file: run.seconds for file, run in runs.items() if run.seconds}
            if chosen:
                met.add(number)
                target.write_text(mutant.source, encoding="utf-8")
                os.utime(target, (number, number))  # else old bytecode passes for its own
                killed = is_killed(children, chosen, budget_s)
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
    parser.add_argument(
        "--budget",
        type=float,
        default=BUDGET_S,
        help="a mutant meets the quickest tests of its folder, and of others, for so many seconds",
    )
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
        children = Children(copy, Path(scratch), marks, host_path() if options.host else None)
        files = options.tests or fast_tests(pack)
        counts = {}
        for source, found in mutants.items():
            new = [m for m in found if (source, m.context, m.change) not in known]
            folder = Path(source).parent.name
            own = [file for file in files if Path(file).parent.name == folder]
            others = [file for file in files if file not in own]
            if not options.tests:
                others = files_that_reach(copy, source, others)
            stages = [own, others]
            counts[source] = try_file(source, stages, children, new, options.host, options.budget)
            counts[source]["mutants"] = len(found)
            counts[source]["equivalent"] = len(found) - len(new)
    return 0 if report(counts) else 1


if __name__ == "__main__":
    sys.exit(main())
