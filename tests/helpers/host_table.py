"""The table of ``docs/hosts.md``: which tests ran in which host, written by ``run_hosts.py``."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import astuple, dataclass, fields
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "hosts.md"
BEGIN, END = "<!-- table of run_hosts.py -->", "<!-- end of the table -->"
NO_HOST, NO_FRONT_END = "library only", "none"


@dataclass(frozen=True)
class Row:
    """One run of some tests; every field is the text of its cell.

    Attributes:
        host: ComfyUI's version, with a label in parentheses if it is not as released.
        tests: which were chosen: ``quick``, ``whole``, ``library`` or files and folders.
        failed: how many, and after a colon which.
        pack: its version and the commit that ran; ``, changed`` if it was not as committed.
    """

    host: str
    front_end: str
    python: str
    torch: str
    transformers: str
    tests: str
    passed: str
    skipped: str
    failed: str
    pack: str
    date: str

    @property
    def subject(self) -> tuple[str, ...]:
        """What this row is of: a later run of the same takes its place."""
        minor = ".".join(self.python.split(".")[:2])
        return self.host, self.front_end, minor, self.torch, self.transformers, self.tests


COLUMNS = tuple(field.name.replace("_", " ") for field in fields(Row))


def read_rows(text: str) -> list[Row]:
    """The rows of a page.

    Raises:
        ValueError: if the page has no such table, or one of another form.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"the page must have {BEGIN!r} and {END!r} once each")
    lines = text.partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    if not cells or tuple(cells[0]) != COLUMNS:
        raise ValueError(f"the table must have the columns {' | '.join(COLUMNS)}")
    if wrong := [line for line, row in zip(lines, cells, strict=True) if len(row) != len(COLUMNS)]:
        raise ValueError(f"a row of the table has not {len(COLUMNS)} cells: {wrong[0]}")
    return [Row(*row) for row in cells[2:]]


def with_row(text: str, row: Row) -> str:
    """A page with one more row, in place of the one that told of the same before."""
    kept = [one for one in read_rows(text) if one.subject != row.subject]
    rows = sorted([*kept, row], key=_order)
    table = [COLUMNS, ["---"] * len(COLUMNS), *(astuple(one) for one in rows)]
    lines = "\n".join(f"| {' | '.join(cells)} |" for cells in table)
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{lines}\n{END}{rest.partition(END)[2]}"


def numbers(version: str) -> tuple[int, ...]:
    """``0.33.0 (label)`` and ``2.11.0+cu130`` as numbers that can be compared."""
    return tuple(
        int(part) for part in version.split()[0].split("+")[0].split(".") if part.isdigit()
    )


def _order(row: Row) -> tuple:
    known = () if row.front_end == NO_FRONT_END else numbers(row.front_end)
    host = () if row.host == NO_HOST else numbers(row.host)
    return row.host == NO_HOST, host, row.host, known, numbers(row.python), row.torch, row.tests


def count_results(report: Path) -> dict[str, str]:
    """``passed``, ``skipped`` and ``failed`` of a JUnit file of pytest; errors count as failed.

    Raises:
        ValueError: if no test ran.
    """
    cases = ElementTree.parse(report).getroot().findall(".//testcase")
    if not cases:
        raise ValueError("no test ran")
    # A test may fail and then fail once more as it is taken down: it is one test.
    states: dict[str, str] = {}
    for case in cases:
        name = f"{case.get('classname')}.{case.get('name')}"
        kinds = {child.tag.replace("failure", "error") for child in case}
        state = next((kind for kind in ("error", "skipped") if kind in kinds), "")
        states[name] = max(states.get(name, ""), state, key=("", "skipped", "error").index)
    failed = sorted(name for name, state in states.items() if state == "error")
    skipped = sum(state == "skipped" for state in states.values())
    told = "".join(f"{': ' if i == 0 else ', '}{_short(name)}" for i, name in enumerate(failed))
    return {
        "passed": str(len(states) - skipped - len(failed)),
        "skipped": str(skipped),
        "failed": f"{len(failed)}{told}",
    }


def _short(name: str) -> str:
    """A test's name without its folders, and without what a table cannot hold."""
    file, _, test = name.partition(".test_")[2].partition(".")
    return f"`test_{file}` {test}".replace("|", "/").replace("\n", " ")
