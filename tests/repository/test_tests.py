"""Tests that test: each asserts something, and goes through files only where there are some."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from helpers.not_empty import not_empty

TESTS = Path(__file__).resolve().parents[1]
FILES = not_empty(TESTS.rglob("test_*.py"))
LISTINGS = {"glob", "rglob", "iterdir", "listdir", "scandir"}
MAY_BE_EMPTY = {"OTHER_PYTHONS"}  # what this machine has
# They raise: pytest's, the page's that wait for something, and refusals that were not to come.
CHECKS = {"raises", "warns", "fail", "wait_for_function"}
CHECKS_BY_START = ("assert_", "check_", "require_", "wait_for", "wait_on_")


def _name(path: Path) -> str:
    return str(path.relative_to(TESTS))


@cache
def _tree(text: str) -> ast.Module:
    return ast.parse(text)


def _called(node: ast.AST) -> set[str]:
    """The last words of what is called, or passed on by name."""
    names = set()
    for call in ast.walk(node):
        if isinstance(call, ast.Call):
            names.add(getattr(call.func, "attr", None) or getattr(call.func, "id", ""))
    return names


def _is_checked(node: ast.AST, checkers: set[str]) -> bool:
    called = _called(node)
    return (
        any(isinstance(part, ast.Assert) for part in ast.walk(node))
        or bool(called & (CHECKS | checkers))
        or any(name.startswith(CHECKS_BY_START) for name in called)
    )


def without_assertion(text: str) -> list[str]:
    """Names of the test functions that neither assert nor call what does, of this file's too."""
    functions = [
        node
        for node in ast.walk(_tree(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    checkers: set[str] = set()
    while True:  # helpers of helpers
        more = {f.name for f in functions if _is_checked(f, checkers)} - checkers
        if not more:
            break
        checkers |= more
    return [f.name for f in functions if f.name.startswith("test_") and f.name not in checkers]


def _lists(node: ast.AST) -> bool:
    called = _called(node)
    return bool(called & LISTINGS) and "not_empty" not in called


def _targets(function: ast.AST) -> set[str]:
    """Names that the function gives to a listing."""
    return {
        target.id
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and _lists(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def loops_over_maybe_nothing(text: str) -> list[int]:
    """Lines that go through a folder's files, and would be content with none.

    That are lists a module makes (for parametrize), and in tests the loops, the comparisons of what
    was there before and after, and lists of offenders that are to be empty.
    """
    tree, lines = _tree(text), set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and _lists(node.value):
            names = {target.id for target in node.targets if isinstance(target, ast.Name)}
            lines |= set() if names & MAY_BE_EMPTY else {node.lineno}
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef) or not function.name.startswith("test_"):
            continue
        names = _targets(function)
        for node in ast.walk(function):
            if isinstance(node, ast.For):
                used = {part.id for part in ast.walk(node.iter) if isinstance(part, ast.Name)}
                lines |= {node.iter.lineno} if _lists(node.iter) or used & names else set()
            elif isinstance(node, ast.DictComp):
                lines |= {node.lineno} if _lists(node.generators[0].iter) else set()
            elif isinstance(node, ast.Assert):
                lines |= {node.lineno} if _is_of_offenders(node.test) else set()
    return sorted(lines)


def _is_of_offenders(test: ast.expr) -> bool:
    """``[x for x in listing if ...] == []``, or ``all(... for x in listing)``."""
    if isinstance(test, ast.Compare) and isinstance(test.left, ast.ListComp):
        part = test.left.generators[0]
        return bool(part.ifs) and ast.unparse(test.comparators[0]) == "[]" and _lists(part.iter)
    is_all = isinstance(test, ast.Call) and ast.unparse(test.func) == "all"
    return is_all and any(_lists(value) for value in test.args)


def _in_each_file(look) -> dict[str, list]:
    """What ``look`` finds, by file; files where it finds nothing are left out."""
    finds = {_name(path): look(path.read_text(encoding="utf-8")) for path in FILES}
    return {name: what for name, what in finds.items() if what}


def test_every_test_asserts_something():
    assert _in_each_file(without_assertion) == {}


def test_files_that_a_test_goes_through_are_there():
    assert _in_each_file(loops_over_maybe_nothing) == {}


def test_a_test_that_asserts_nothing_is_found():
    text = """
def drawn(x): draw(x)
def compared(x): assert x
def indirectly(x): compared(x)
def test_a(): drawn(1)
def test_b(): indirectly(1)
def test_c():
    with pytest.raises(ValueError): drawn(1)
def test_d(): assert_close(1, 2)
"""
    assert without_assertion(text) == ["test_a"]


def test_a_loop_over_maybe_nothing_is_found():
    text = """
FILES = sorted(HERE.glob("*.py"))
THERE = not_empty(HERE.glob("*.py"))
def test_a():
    for x in HERE.iterdir(): assert x
    for x in not_empty(HERE.iterdir()): assert x
    names = sorted(HERE.rglob("*"))
    for x in names: assert x
    before = {x: x.read() for x in HERE.iterdir()}
    assert [x for x in HERE.glob("*") if x.bad] == []
    assert all(x.good for x in HERE.glob("*"))
    assert [x.name for x in HERE.glob("*")] == []
"""
    assert loops_over_maybe_nothing(text) == [2, 5, 8, 9, 10, 11]


def test_a_listing_of_nothing_fails(tmp_path):
    (tmp_path / "b").touch()
    (tmp_path / "a").touch()
    assert not_empty(tmp_path.iterdir()) == [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(AssertionError, match="there are none"):
        not_empty(tmp_path.glob("*.json"))
