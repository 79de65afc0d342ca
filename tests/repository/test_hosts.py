"""The table of docs/hosts.md, and the tool that writes it."""

from __future__ import annotations

import re
import sys
from dataclasses import astuple, replace
from datetime import date
from pathlib import Path

import pytest

from helpers.host_server import front_end_arguments
from helpers.host_table import (
    BEGIN,
    COLUMNS,
    END,
    NO_FRONT_END,
    NO_HOST,
    PAGE,
    Row,
    count_results,
    numbers,
    read_rows,
    with_row,
)

PACK = Path(__file__).resolve().parents[2]
PROJECT = (PACK / "pyproject.toml").read_text(encoding="utf-8")
ROWS = read_rows(PAGE.read_text(encoding="utf-8"))
ROW = Row(
    "0.33.0", "1.49.6", "3.11.7", "2.11.0+cu130", "5.24.0", "quick", "7", "1", "0",
    "0.10.0 at 01234567", "2026-11-30",
)  # fmt: skip


def promised(name: str) -> tuple[int, ...]:
    """The oldest version that pyproject.toml allows."""
    return numbers(re.search(rf'^{name} = ">=([\d.]+)"$', PROJECT, re.M)[1])


def test_the_table_has_no_row_twice_and_is_in_order():
    text = PAGE.read_text(encoding="utf-8")
    assert len({row.subject for row in ROWS}) == len(ROWS)
    assert with_row(text, ROWS[0]) == text


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(row.subject))
def test_every_row_tells_versions_counts_the_pack_and_a_day(row):
    assert all(astuple(row))
    if row.host != NO_HOST:
        assert re.fullmatch(r"\d+\.\d+\.\d+( \([\w .]+\))?", row.host)
        assert re.fullmatch(r"\d+\.\d+\.\d+", row.front_end)
        assert numbers(row.host) >= promised("requires-comfyui")
    else:
        assert (row.front_end, row.tests) == (NO_FRONT_END, "library")
    assert numbers(row.python) >= promised("requires-python")
    assert re.fullmatch(r"\d+\.\d+\.\d+(\+\w+)?", row.torch)
    assert re.fullmatch(r"\d+\.\d+\.\d+", row.transformers)
    assert int(row.passed) > 0
    assert row.skipped.isdigit()
    count, _, names = row.failed.partition(": ")
    assert (int(count) > 0) == bool(names), "what failed is named"
    assert date.fromisoformat(row.date) >= date(2026, 11, 30)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(row.subject))
def test_every_row_tells_the_packs_version(row):
    told = re.fullmatch(r"(\d+\.\d+\.\d+) at [0-9a-f]{8}(, changed)?", row.pack)
    now = re.search(r'^version = "(.+)"$', PROJECT, re.M)[1]
    assert told
    assert numbers(told[1]) <= numbers(now)


def test_the_oldest_host_that_is_promised_is_named():
    oldest = ".".join(map(str, promised("requires-comfyui")))
    for name in ("README.md", "README.zh-CN.md", "docs/hosts.md"):
        assert oldest in (PACK / name).read_text(encoding="utf-8")


# --- the tool ----------------------------------------------------------------------------------


def page(*rows: Row) -> str:
    head = [f"| {' | '.join(COLUMNS)} |", f"| {' | '.join(['---'] * len(COLUMNS))} |"]
    lines = [f"| {' | '.join(astuple(row))} |" for row in rows]
    return "\n".join(["before", BEGIN, *head, *lines, END, "after", ""])


def test_a_row_takes_the_place_of_the_one_that_told_of_the_same():
    later = replace(ROW, python="3.11.9", passed="8", pack="0.11.0 at 89abcdef")
    assert with_row(page(ROW), later) == page(later)


def test_rows_are_ordered_by_number_with_the_library_last():
    old = replace(ROW, host="0.9.0")
    ported = replace(ROW, host="0.33.0 (port)")
    newer_page = replace(ROW, front_end="1.100.0")
    library = replace(ROW, host=NO_HOST, front_end=NO_FRONT_END, tests="library")
    text = page()
    for row in (library, newer_page, ported, ROW, old):
        text = with_row(text, row)
    assert read_rows(text) == [old, ROW, newer_page, ported, library]
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nothing", "once each"),
        (page().replace("| torch ", "| other "), "columns"),
        (page(ROW).replace("| 5.24.0 ", ""), "cells"),
    ],
)
def test_a_page_with_another_table_is_refused(text, told):
    with pytest.raises(ValueError, match=told):
        read_rows(text)


def test_results_are_counted_as_pytest_reports_them(tmp_path):
    report = tmp_path / "report.xml"
    case = '<testcase classname="tests.host.page.test_a" name="{}">{}</testcase>'
    cases = [
        case.format("test_one", ""),
        case.format("test_two[a|b]", '<failure message="x"/>'),
        case.format("test_two[a|b]", '<error message="as it was taken down"/>'),
        case.format("test_three", '<error message="x"/>'),
        case.format("test_four", '<skipped message="x"/>'),
    ]
    report.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>")
    assert count_results(report) == {
        "passed": "1",
        "skipped": "1",
        "failed": "2: `test_a` test_three, `test_a` test_two[a/b]",
    }
    report.write_text("<testsuites><testsuite/></testsuites>")
    with pytest.raises(ValueError, match="no test ran"):
        count_results(report)


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(PACK / "tests" / "tools"))
    import run_hosts

    yield run_hosts
    del sys.modules["run_hosts"]


def test_every_chosen_test_file_is_there(tool):
    for tests, pages in tool.CHOICES.values():
        assert tests
        assert pages
        assert all((PACK / path).exists() for path in (*tests, *pages))


def test_a_choice_is_told_apart_into_tests_and_those_of_the_page(tool):
    tests, pages = tool.chosen(["quick"])
    assert tests[-len(pages) :] == pages
    assert all("tests/host/page" in path for path in pages)
    both = ["tests/host/loop", "tests/host/page/test_page_desk.py"]
    assert tool.chosen(both) == (tuple(both), (both[1],))
    with pytest.raises(SystemExit, match="no such choice"):
        tool.chosen(["quik"])


def test_a_front_end_is_known_by_its_wheels_notes(tool, tmp_path):
    with pytest.raises(SystemExit, match="unpacked wheel"):
        tool.front_end_version(tmp_path)
    (tmp_path / "comfyui_frontend_package-1.58.1.dist-info").mkdir()
    (tmp_path / "comfyui_frontend_package" / "static").mkdir(parents=True)
    (tmp_path / "comfyui_frontend_package" / "static" / "index.html").touch()
    assert tool.front_end_version(tmp_path) == "1.58.1"


def test_a_servers_front_end_is_chosen_by_a_variable(monkeypatch, tmp_path):
    monkeypatch.delenv("STORYMEM_FRONT_END", raising=False)
    assert front_end_arguments() == []
    monkeypatch.setenv("STORYMEM_FRONT_END", str(tmp_path))
    with pytest.raises(ValueError, match="no front end"):
        front_end_arguments()
    static = tmp_path / "comfyui_frontend_package" / "static"
    static.mkdir(parents=True)
    (static / "index.html").touch()
    assert front_end_arguments() == ["--front-end-root", str(static)]
    monkeypatch.setenv("STORYMEM_FRONT_END", str(static))
    assert front_end_arguments() == ["--front-end-root", str(static)]
