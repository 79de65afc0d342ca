"""Test data outside the repository are found from every kind of checkout."""

from __future__ import annotations

import subprocess

import pytest

from helpers.shared_data import VARIABLE, find_shared


def _git(folder, *command):
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    subprocess.run(["git", "-C", folder, *who, *command], check=True, capture_output=True)


@pytest.fixture
def main(tmp_path, monkeypatch):
    """A checkout ``work/main`` with ``work/shared/stbench`` beside it."""
    monkeypatch.delenv(VARIABLE, raising=False)
    folder = tmp_path / "work" / "main"
    folder.mkdir(parents=True)
    (tmp_path / "work" / "shared" / "stbench").mkdir(parents=True)
    _git(folder, "init", "-q")
    _git(folder, "commit", "-q", "--allow-empty", "-m", "start")
    return folder


def test_a_checkout_finds_the_folder_beside_it_and_above(main):
    assert find_shared("stbench", main) == main.parent / "shared" / "stbench"
    deeper = main.parent / "a" / "b"
    deeper.mkdir(parents=True)
    assert find_shared("stbench", deeper) == main.parent / "shared" / "stbench"


def test_a_worktree_and_a_clone_of_a_clone_find_it_too(main, tmp_path):
    _git(main, "worktree", "add", "-q", tmp_path / "elsewhere" / "tree")
    _git(tmp_path, "clone", "-q", tmp_path / "elsewhere" / "tree", tmp_path / "clones" / "x")
    _git(tmp_path, "clone", "-q", f"file://{tmp_path}/clones/x", tmp_path / "clones" / "y")
    for place in ("elsewhere/tree", "clones/x", "clones/y"):
        assert find_shared("stbench", tmp_path / place) == main.parent / "shared" / "stbench"


def test_nothing_is_found_where_nothing_is(main, tmp_path):
    assert find_shared("no such data", main) is None
    (tmp_path / "plain").mkdir()
    assert find_shared("stbench", tmp_path / "plain") is None


def test_the_variable_names_the_folder_and_a_wrong_one_is_told(main, tmp_path, monkeypatch):
    (tmp_path / "data" / "stbench").mkdir(parents=True)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "data"))
    assert find_shared("stbench", main) == tmp_path / "data" / "stbench"
    monkeypatch.setenv(VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match=r"nowhere, but there is no folder stbench"):
        find_shared("stbench", main)
