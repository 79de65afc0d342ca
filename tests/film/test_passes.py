"""The folders of a film's passes."""

from __future__ import annotations

import json

import pytest

from storymem.film.passes import film_folder, pass_folder_name, pass_of, passes_of, split_pass


def make(place, name, **manifest):
    folder = place / name
    folder.mkdir()
    (folder / "story.json").write_text(json.dumps({"name": "Tale", **manifest}))
    return folder


def test_a_pass_stands_beside_the_film_under_its_name():
    assert [pass_folder_name("Tale", p) for p in ("film", "draft", "draft2", "stills")] == [
        "Tale", "Tale.draft", "Tale.draft2", "Tale.stills",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="draft4"):
        pass_folder_name("Tale", "draft4")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("Tale", ("Tale", "film")),
        ("Tale.draft", ("Tale", "draft")),
        ("Tale.draft.stills", ("Tale.draft", "stills")),
        ("Tale.drafty", ("Tale.drafty", "film")),
        (".draft", (".draft", "film")),
    ],
)
def test_a_folders_name_tells_film_and_pass(name, parts):
    assert split_pass(name) == parts


def test_every_pass_finds_the_others(tmp_path):
    film = make(tmp_path, "Tale")
    draft = make(tmp_path, "Tale.draft", **{"pass": "draft"})
    stills = make(tmp_path, "Tale.stills", **{"pass": "stills"})
    for folder in (film, draft, stills):
        assert passes_of(folder) == {"film": film, "draft": draft, "stills": stills}
        assert film_folder(folder) == film


def test_a_draft_without_its_film_is_found(tmp_path):
    draft = make(tmp_path, "Tale.draft", **{"pass": "draft"})
    assert passes_of(tmp_path / "Tale") == passes_of(draft) == {"draft": draft}
    assert passes_of(tmp_path / "none" / "Tale") == {}


def test_a_film_whose_title_ends_like_a_pass_is_none(tmp_path):
    make(tmp_path, "Tale")
    other = make(tmp_path, "Tale.draft")
    assert pass_of(other) == "film"
    assert passes_of(other) == {"film": other}
    assert "draft" not in passes_of(tmp_path / "Tale")


def test_a_folder_that_lost_its_manifest_tells_its_pass_by_its_name(tmp_path):
    folder = make(tmp_path, "Tale.stills", **{"pass": "stills"})
    (folder / "story.json").write_text("{")
    assert pass_of(folder) == "stills"


def test_a_link_is_no_pass(tmp_path):
    film = make(tmp_path, "Tale")
    real = make(tmp_path, "elsewhere", **{"pass": "draft"})
    (tmp_path / "Tale.draft").symlink_to(real)
    assert passes_of(film) == {"film": film}
