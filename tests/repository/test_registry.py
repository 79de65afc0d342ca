"""What the Comfy Registry and ComfyUI-Manager read: complete, true, and pointing at what exists."""

from __future__ import annotations

import ast
import re
import struct
import subprocess
from pathlib import Path

import pytest

from helpers.not_empty import not_empty

tomllib = pytest.importorskip("tomllib")  # of Python 3.11

PACK = Path(__file__).resolve().parents[2]
RAW = "https://raw.githubusercontent.com/storymem/ComfyUI-StoryMem/main/"


@pytest.fixture(scope="module")
def config() -> dict:
    return tomllib.loads((PACK / "pyproject.toml").read_text(encoding="utf-8"))


def png_size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


def picture(config: dict, key: str) -> Path:
    url = config["tool"]["comfy"][key]
    assert url.startswith(RAW)
    return PACK / url.removeprefix(RAW)


def test_the_registry_finds_every_field_it_asks_for(config):
    project, comfy = config["project"], config["tool"]["comfy"]
    assert re.fullmatch(r"[a-z](?:[a-z0-9]|[-_.](?![-_.]))*", project["name"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", project["version"])
    assert re.fullmatch(r">=\d+\.\d+\.\d+", comfy["requires-comfyui"])
    assert project["description"]
    assert (PACK / project["license"]["file"]).exists()
    assert (PACK / project["readme"]).exists()
    assert {"Repository", "Documentation", "Bug Tracker"} <= set(project["urls"])
    assert all(url.startswith(project["urls"]["Repository"]) for url in project["urls"].values())
    assert comfy["PublisherId"]
    assert comfy["DisplayName"] == "StoryMem"
    # The page looks for help under the pack's folder; a web folder named here would be under
    # the project's name, and every script would be loaded twice.
    assert "web" not in comfy


def test_icon_and_banner_are_in_the_repository_in_the_right_shape(config):
    assert png_size(picture(config, "Icon")) == (400, 400)
    width, height = png_size(picture(config, "Banner"))
    assert width * 9 == height * 21
    for key in ("Icon", "Banner"):
        assert picture(config, key).with_suffix(".svg").exists()
        assert picture(config, key).stat().st_size < 300_000


def test_dependencies_are_those_of_the_requirements_file(config):
    lines = (PACK / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    assert config["project"]["dependencies"] == wanted


def test_the_changelog_begins_with_this_version(config):
    changelog = (PACK / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\S+)", changelog, re.MULTILINE)[0] == config["project"]["version"]


def test_a_new_version_is_published_by_the_standard_action():
    text = (PACK / ".github" / "workflows" / "publish.yml").read_text(encoding="utf-8")
    assert "paths: [pyproject.toml]" in text
    assert re.search(r"uses: Comfy-Org/publish-node-action@v\d", text)
    assert "secrets.REGISTRY_ACCESS_TOKEN" in text


def test_nothing_evaluates_text_as_code():
    # What the Registry's own checks refuse; its third, two statements on a line, is ruff's E702.
    files = [
        *not_empty((PACK / "nodes").rglob("*.py")),
        *not_empty((PACK / "storymem").rglob("*.py")),
    ]
    for path in [PACK / "__init__.py", *files]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("exec", "eval"), path


def test_what_the_registry_leaves_out_is_needed_by_nothing_in_the_pack():
    left_out = [
        line
        for line in (PACK / ".comfyignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert {"tests/", ".github/"} <= set(left_out)
    tracked = subprocess.run(
        ["git", "ls-files", "nodes", "storymem", "web", "locales", "workflows", "subgraphs"],
        cwd=PACK, capture_output=True, text=True, check=False,
    ).stdout.splitlines()  # fmt: skip
    assert [f for f in tracked if any(f.startswith(out.rstrip("*")) for out in left_out)] == []
