"""What an artist gets from the Registry: all that the pack opens, and nothing that it does not."""

from __future__ import annotations

import ast
import json
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.not_empty import not_empty
from helpers.package_files import PACK, packed_files

WHOLE_FOLDERS = ("nodes", "storymem", "web", "locales", "subgraphs", "workflows")
READ_BY_THE_HOST = (
    "__init__.py", "pyproject.toml", "requirements.txt", "requirements-headless.txt",
    "LICENSE", "README.md", "README.zh-CN.md", "CHANGELOG.md",
)  # fmt: skip
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


@pytest.fixture(scope="module")
def packed() -> set[str]:
    if not (PACK / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a git repository, so WHAT THE PACKAGE HOLDS IS UNTESTED")
    return packed_files()


def test_neither_tests_nor_what_publishes_is_in_it(packed):
    unwanted = re.compile(r"^(tests|\.ci|\.github)/|(^|/)\.|\.svg$|\.pyc$|__pycache__")
    assert [name for name in sorted(packed) if unwanted.search(name)] == []


def test_all_that_the_pack_and_the_host_open_is_in_it(packed):
    for folder in WHOLE_FOLDERS:
        there = not_empty(
            path.relative_to(PACK).as_posix()
            for path in (PACK / folder).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        )
        assert set(there) - packed == set()
    assert set(READ_BY_THE_HOST) <= packed
    assert any(name.startswith("storymem/tiny/weights/diffusion_models/") for name in packed)
    assert {path.name for path in (PACK / "docs").glob("*.md")} <= {
        Path(name).name for name in packed if name.startswith("docs/")
    }


def test_links_of_its_pages_lead_to_files_in_it(packed):
    for page in not_empty(sorted(name for name in packed if name.endswith(".md"))):
        for link in LINK.findall((PACK / page).read_text(encoding="utf-8")):
            if re.match(r"[a-z]+:", link):
                continue
            target = (PACK / page).parent.joinpath(link).resolve().relative_to(PACK).as_posix()
            assert target in packed or any(name.startswith(f"{target}/") for name in packed), (
                f"{page} links to {link}"
            )


def test_no_code_in_it_opens_what_stays_out():
    found = set()
    for path in not_empty([*(PACK / "storymem").rglob("*.py"), *(PACK / "nodes").rglob("*.py")]):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
                parts = {part.value for part in ast.walk(node) if isinstance(part, ast.Constant)}
                if parts & {"tests", ".github", ".ci"}:
                    found.add(path.relative_to(PACK).as_posix())
    assert found == {"storymem/try_it.py"}  # which says so when its tests are not there


def test_it_is_small_enough_to_fetch_in_a_minute(packed):
    assert sum((PACK / name).stat().st_size for name in packed) < 32_000_000


@pytest.fixture
def copy(packed, tmp_path) -> Path:
    """The package, unpacked in a place of its own."""
    for name in packed:
        target = tmp_path / "pack" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PACK / name, target)
    return tmp_path / "pack"


def test_the_demo_reads_its_workflow_from_the_package_alone(copy):
    code = runpy.run_path(str(copy / "storymem" / "files" / "workflow_file.py"))
    workflow = json.loads((copy / "workflows" / "storymem_tiny_cpu.json").read_text("utf-8"))
    assert code["to_api"](workflow, {}) == {}  # a host that knows no node has none to queue


def test_a_package_asked_for_its_tests_says_that_it_has_none(copy):
    run = subprocess.run(
        [sys.executable, "storymem/try_it.py", "tests", "--here", "--headless"],
        cwd=copy, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 2
    assert "has no tests: an installed pack comes without" in run.stdout
