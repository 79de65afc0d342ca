"""What the Comfy Registry and ComfyUI-Manager read: complete, true, and pointing at what exists."""

from __future__ import annotations

import ast
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.not_empty import not_empty

tomllib = pytest.importorskip("tomllib")  # of Python 3.11

PACK = Path(__file__).resolve().parents[2]
OWNER = "OWNER_TO_FILL_IN"  # the GitHub account that holds the repository
PUBLISHER = "PUBLISHER_TO_FILL_IN"  # the publisher's id on registry.comfy.org
MAY_PUBLISH = PACK / ".github" / "may_publish.py"
RAW = "https://raw.githubusercontent.com/{}/ComfyUI-StoryMem/main/"


@pytest.fixture(scope="module")
def config() -> dict:
    return tomllib.loads((PACK / "pyproject.toml").read_text(encoding="utf-8"))


def owner(config: dict) -> str:
    """The account in the repository's address."""
    address = re.fullmatch(
        r"https://github\.com/([\w-]+)/ComfyUI-StoryMem", config["project"]["urls"]["Repository"]
    )
    return address[1]


def png_size(path: Path) -> tuple[int, int]:
    head = path.read_bytes()[:24]
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    return struct.unpack(">II", head[16:24])


def picture(config: dict, key: str) -> Path:
    url = config["tool"]["comfy"][key]
    raw = RAW.format(owner(config))
    assert url.startswith(raw)
    return PACK / url.removeprefix(raw)


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
    assert re.search(
        r"if: steps\.may\.outputs\.publish == 'yes'\n +uses: Comfy-Org/publish-node-action@v\d",
        text,
    )
    assert "id: may\n" in text
    assert text.count("uses: Comfy-Org") == 1
    assert text.index("python .github/may_publish.py") < text.index("uses: Comfy-Org")
    assert "secrets.REGISTRY_ACCESS_TOKEN" in text


def test_what_only_the_owner_knows_is_marked_in_pyproject_and_stands_nowhere_else(config):
    """Once it is filled in, every address names one owner and no placeholder is left."""
    values = [*config["project"]["urls"].values()]
    values += [config["tool"]["comfy"][key] for key in ("Icon", "Banner")]
    assert all(f"/{owner(config)}/ComfyUI-StoryMem" in value for value in values)
    is_open = [owner(config) == OWNER, config["tool"]["comfy"]["PublisherId"] == PUBLISHER]
    assert is_open in ([True, True], [False, False])
    assert ("TO_FILL_IN" in str(config)) == is_open[0]
    # No account's name can hold an underscore: nobody is named by mistake.
    assert all("_" in placeholder for placeholder in (OWNER, PUBLISHER))
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=PACK, capture_output=True, check=False
    ).stdout.split(b"\0")
    here = re.compile(rb"TO_FILL_IN|github(?:usercontent)?\.com/[\w-]+/ComfyUI-StoryMem")
    naming = {
        name.decode() for name in tracked
        if name and (PACK / name.decode()).is_file()
        and here.search((PACK / name.decode()).read_bytes())
    }  # fmt: skip
    assert naming <= {
        "pyproject.toml", ".github/may_publish.py", "tests/repository/test_registry.py",
    }  # fmt: skip


def asked(tmp_path: Path, text: str, **changes) -> tuple[int, str, str]:
    """What may_publish.py answers: its exit code, its words, and what the workflow reads."""
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    changelog = changes.get("changelog", "# Changelog\n\n## 1.2.3\n")
    (tmp_path / "CHANGELOG.md").write_text(changelog, encoding="utf-8")
    (tmp_path / "before.toml").write_text(changes.get("before", ""), encoding="utf-8")
    env = {
        "GITHUB_REPOSITORY": changes.get("repository", "someone/ComfyUI-StoryMem"),
        "GITHUB_EVENT_NAME": changes.get("event", "push"),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
    }
    (tmp_path / "output").write_text("")
    run = subprocess.run(
        [sys.executable, str(MAY_PUBLISH), "before.toml"],
        cwd=tmp_path, env=os.environ | env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.stderr == ""
    return run.returncode, run.stdout, (tmp_path / "output").read_text()


@pytest.fixture
def filled() -> str:
    """pyproject.toml as its owner would fill it in, at version 1.2.3."""
    text = (PACK / "pyproject.toml").read_text(encoding="utf-8")
    text = text.replace(OWNER, "someone").replace(PUBLISHER, "some-publisher")
    return re.sub(r'^version = ".*"', 'version = "1.2.3"', text, flags=re.MULTILINE)


def test_nothing_is_published_while_a_placeholder_is_left(tmp_path, filled):
    for left in (
        filled.replace("some-publisher", PUBLISHER),
        filled.replace("someone", OWNER),
        filled.replace("someone/ComfyUI-StoryMem/main/docs/icon", f"{OWNER}/x/main/docs/icon"),
    ):
        code, words, output = asked(tmp_path, left, event="workflow_dispatch")
        assert (code, output) == (1, "")
        assert "::error::pyproject.toml is not filled in yet: " in words
    assert "tool.comfy.Icon" in words


def test_a_new_version_of_its_owner_is_published(tmp_path, filled):
    assert asked(tmp_path, filled)[::2] == (0, "publish=yes\n")
    older = filled.replace("1.2.3", "1.2.2")
    assert asked(tmp_path, filled, before=older)[::2] == (0, "publish=yes\n")
    again = {"before": filled, "event": "workflow_dispatch"}
    assert asked(tmp_path, filled, **again)[::2] == (0, "publish=yes\n")


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"repository": "other/ComfyUI-StoryMem"}, 0, "a fork publishes nothing"),
        ({"changelog": "## 1.2.2\n"}, 1, "CHANGELOG.md says nothing of 1.2.3"),
        ({"changelog": "## 1.2.30\n"}, 1, "CHANGELOG.md says nothing of 1.2.3"),
        ({"before": '[project]\nversion = "1.2.3"\n'}, 0, "1.2.3 is not a new version"),
    ],
)
def test_what_is_not_to_be_published_is_told(tmp_path, filled, changes, code, words):
    found = asked(tmp_path, filled, **changes)
    assert found[::2] == (code, "")
    assert words in found[1]


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
