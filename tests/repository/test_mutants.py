"""The tool that makes small wrong changes: which it makes, and whether it sees who notices."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from helpers.mutations import mutants_of

TOOL = Path(__file__).resolve().parents[1] / "tools" / "mutants.py"


def _changes(source: str) -> set[str]:
    return {mutant.change for mutant in mutants_of(source)}


@pytest.mark.parametrize(
    ("source", "change"),
    [
        ("x = a < 3", "a < 3 -> a <= 3"),
        ("x = a < 3", "3 -> 4"),
        ("x = a and b", "a and b -> a or b"),
        ("x = a and b", "a and b -> b"),
        ("x = not a", "not a -> a"),
        ("x = y[:-1]", "-1 -> 1"),
        ("x = y[:n]", ":n -> :"),
        ("x = f(True, key=2)", "f(True, key=2) -> f(True)"),
        ("x = f(a, b)", "f(a, b) -> f(None, b)"),
        ("x = values.clamp(0, 1)", "values.clamp(0, 1) -> values"),
        ("x = d['key']", "'key' -> 'XXkey'"),
        ("def f(a=1):\n    return a", "1 -> 2"),
        ("def f(a):\n    return a", "return a -> return None"),
        ("f()", "f() -> pass"),
        ("def f(a):\n    a = g(a)", "a = g(a) -> pass"),
        (
            "if a:\n    raise ValueError('no such thing')",
            "raise ValueError('no such thing') -> pass",
        ),
        ("for a in b:\n    continue", "continue -> break"),
        ("x = [a for a in b if a]", "a -> not a"),
    ],
)
def test_a_small_change_is_among_the_mutants(source, change):
    assert change in _changes(source)


@pytest.mark.parametrize(
    "source",
    [
        '"""What it does."""',
        'logger.info("number %d of 7", a)',
        "def f(a: int | None) -> list[int]: ...",
        "__all__ = ['a', 'b']",
        "x: dict[str, int | None]",
        'x = "a text for people"',
    ],
)
def test_what_nobody_relies_on_letter_by_letter_is_left_alone(source):
    assert not _changes(source)


def test_only_the_place_changes_and_the_rest_stays_as_written():
    source = "é = 'ü ü'; a = 1  # why\nb = (2)\n"
    assert [m.source for m in mutants_of(source)] == [
        "é = 'ü ü'; a = (2)  # why\nb = (2)\n",
        "é = 'ü ü'; a = 1  # why\nb = ((3))\n",
    ]


TOY = '''"""A toy."""


def is_adult(age):
    return age >= 18


def never_called(age):
    return age + 1
'''
TOY_TESTS = """
import importlib.util
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "storymem" / "toy.py"
spec = importlib.util.spec_from_file_location("toy", SOURCE)
toy = importlib.util.module_from_spec(spec)
spec.loader.exec_module(toy)


def test_forty_is_adult_and_four_is_not():
    assert toy.is_adult(40)
    assert not toy.is_adult(4)
"""


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("coverage"), reason="the tool needs pip install coverage")
def test_it_tells_the_mutants_that_no_test_notices(tmp_path):
    for name, text in (("storymem/toy.py", TOY), ("tests/storymem/test_toy.py", TOY_TESTS)):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    known = tmp_path / "equivalent.txt"
    known.write_text("storymem/toy.py\nreturn age >= 18\n18 -> 19\nNobody is 18.\n")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    run = subprocess.run(
        [sys.executable, TOOL, "--pack", tmp_path, "--equivalent", known, "storymem/toy.py"],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    lines = run.stdout.splitlines()
    assert run.returncode == 1, run.stderr
    assert "storymem/toy.py:5 lived: age >= 18 -> age > 18" in lines
    assert "storymem/toy.py:9 no test executes it (3 mutants): return age + 1" in lines
    assert lines[-1].split() == ["storymem/toy.py", "7", "2", "1", "1", "3", "33.3%"]
    assert (tmp_path / "storymem/toy.py").read_text(encoding="utf-8") == TOY


def test_only_test_files_that_import_the_source_are_tried(tmp_path):
    pytest.importorskip("coverage", reason="the tool needs it, the suite does not")
    from helpers.mutant_tests import files_that_reach

    texts = {
        "storymem/__init__.py": "",
        "storymem/a.py": "X = 1",
        "storymem/b.py": "def f():\n    from .a import X",
        "storymem/c.py": "",
        "tests/helpers/h.py": "import storymem.b",
        "tests/test_direct.py": "from storymem.a import X",
        "tests/test_of_package.py": "from storymem import b",
        "tests/test_by_helper.py": "from helpers import h",
        "tests/test_by_command.py": "COMMAND = ['python', '-m', 'storymem.b']",
        "tests/test_other.py": "from storymem import c",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    tests = [name for name in texts if name.startswith("tests/test_")]
    reach = files_that_reach(tmp_path, "storymem/a.py", tests)
    assert reach == [name for name in tests if name != "tests/test_other.py"]
