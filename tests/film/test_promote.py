"""What a film's shots take over from a draft, and what becomes of it when the draft changes."""

from __future__ import annotations

import json

import pytest

from helpers.rehearsed import shot, show_shots, stripes_of
from storymem.files.video import write_video
from storymem.film.manifest import update_manifest
from storymem.film.promote import TABLE, promotions, read_table, seed_of
from storymem.film.shown_shots import shown_shots
from storymem.loop.shot_store import ShotStore
from storymem.script.reader import load_story

PROMPTS = ("Mara waits", "Pip sleeps", "Pip and Mara run")


def story(*promote, prompts=PROMPTS, **fields):
    rows = [{"prompt": prompt, **fields} for prompt in prompts]
    for row, words in zip(rows, promote, strict=False):
        row |= {"promote": words} if words else {}
    scene = {"video_prompts": rows, "cut": [True] * len(rows)}
    return load_story({"story_name": "Tale", "cast": ["Mara", "Pip"], "scenes": [scene]})


@pytest.fixture
def store(tmp_path):
    return ShotStore(tmp_path / ".storymem")


@pytest.fixture
def film(tmp_path):
    """The film's folder, which has nothing yet; its draft's shots have stripes of 2, 4 and 6."""
    shots = {index: shot(2 * index + 2, base=60 + index) for index in range(3)}
    show_shots(tmp_path / "Tale.draft", story(), shots)
    return tmp_path / "Tale"


def kept(found, film, told, store):
    film.mkdir(exist_ok=True)
    update_manifest(film, told)
    found.keep(film, told, store)


def remake(film, index, stripes):
    """Another draft of a shot."""
    draft = film.with_name("Tale.draft")
    entry = json.loads((draft / "story.json").read_text())["shots"][f"01_0{index + 1}"]
    path = draft / entry["file"]
    write_video(path, shot(stripes, base=60 + index))
    update_manifest(draft, story(), shots={f"01_0{index + 1}": {**entry, "key": "f" * 64}})


def test_nothing_is_looked_for_where_no_shot_takes_anything_over(tmp_path, store):
    assert promotions(story(), tmp_path / "none", store).table == {}


def test_a_start_picture_is_the_named_frame(film, store):
    found = promotions(story("start 2", "start 3:2"), film, store)
    assert {i: stripes_of(pixels) for i, pixels in found.start_images.items()} == {0: 2, 1: 6}
    first = promotions(story("start"), film, store)
    assert stripes_of(first.start_images[0]) == 0  # its first frame is grey


def test_a_frame_for_the_memory_says_who_and_where_from(film, store):
    (frame,) = promotions(story(None, "memory 3:2 Mara"), film, store).memory[1]
    assert (stripes_of(frame.image), frame.name) == (6, "Mara")
    assert frame.reason == "promoted: frame 2 of the draft's shot 3"
    assert frame.prompt == PROMPTS[2]


def test_the_same_picture_is_in_a_shot_s_memory_once(film, store):
    found = promotions(story("memory 3:2, memory 3:2 Mara"), film, store)
    assert len(found.memory[0]) == 1


def test_what_was_promoted_stays_when_the_draft_is_made_again(film, store):
    told = story("start 2, memory 2:2")
    kept(promotions(told, film, store), film, told, store)
    remake(film, 0, 16)
    again = promotions(told, film, store)
    assert stripes_of(again.start_images[0]) == 2
    assert again.notes == (
        "the draft's shot 1 was made again since it was promoted to shot 1: the film keeps the "
        "earlier pictures; promote it again in the story editor to use the new ones",
    )
    assert stripes_of(promotions(told, film, store, again=True).start_images[0]) == 16


def test_before_the_film_began_nothing_is_kept(film, store):
    told = story("start 2")
    promotions(told, film, store)
    remake(film, 0, 16)
    assert stripes_of(promotions(told, film, store).start_images[0]) == 16


def test_a_chosen_picture_is_the_store_s_whatever_becomes_of_the_draft(film, store):
    (frame,) = promotions(story("memory 1:2"), film, store).memory[0]
    store.keep_pictures([frame])
    remake(film, 0, 16)
    told = story(f"start 2 #{frame.digest[:16]}")
    found = promotions(told, film, store)
    assert (stripes_of(found.start_images[0]), found.notes) == (2, ())
    with pytest.raises(ValueError, match="the picture that was chosen is gone"):
        promotions(story("start 2 #0123456789ab"), film, store)


def test_a_promotion_moves_with_the_shots(film, store):
    told = story("start 2")
    kept(promotions(told, film, store), film, told, store)
    remake(film, 0, 16)
    moved = story(None, "start 2", prompts=("a new beginning", *PROMPTS))
    assert stripes_of(promotions(moved, film, store).start_images[1]) == 2


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("start 9", "frames 0 to 4, but frame 9 is asked for"),
        ("memory 7:0", "but the story has shots 1 to 3"),
        ("start from draft2", "there is no folder"),
        ("memory", "the record of shot 1 is gone from the store"),
        ("seed", "nothing tells the seed of shot 1"),
    ],
)
def test_what_is_not_there_is_told_with_its_shot(film, store, words, told):
    with pytest.raises(ValueError, match=r"^shot 1 ") as caught:
        promotions(story(words), film, store)
    assert told in str(caught.value)


def test_a_draft_that_is_not_finished_is_told(film, store):
    update_manifest(film.with_name("Tale.draft"), story(), shots={"01_02": {}})
    with pytest.raises(ValueError, match="shot 2 of draft is not finished; finish that pass"):
        promotions(story(None, "start"), film, store)


def test_a_film_whose_title_ends_like_a_draft_is_no_draft(film, store):
    update_manifest(film.with_name("Tale.draft"), story(), **{"pass": "film"})
    with pytest.raises(ValueError, match="holds a film, and not the draft of 'Tale'"):
        promotions(story("start 2"), film, store)


def test_a_locked_shot_is_only_told_of(tmp_path, store):
    found = promotions(story("start", lock=True), tmp_path / "Tale", store)
    assert found.start_images == {}
    assert "there is no folder" in found.notes[0]


@pytest.mark.parametrize(
    "entry", [{}, {"key": 3}, {"key": "", "seed": "x", "pictures": []},
              {"key": "", "seed": True, "pictures": []}, {"key": "", "seed": 2**64, "pictures": []},
              {"key": "", "seed": None, "pictures": ["../../x"]}],
)  # fmt: skip
def test_entries_that_nobody_wrote_are_left_out(film, entry):
    film.mkdir()
    update_manifest(film, story(), **{TABLE: {"a": entry}})
    assert read_table(film) == {}


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("start 2", {"pictures": []}),
        ("start 2", {"pictures": [], "seed": 5}),
        ("memory 3:2", {"pictures": []}),
        ("seed", {"seed": None}),
    ],
)
def test_an_entry_that_gives_nothing_is_taken_anew(film, store, monkeypatch, words, change):
    monkeypatch.setattr(store, "find_facts", lambda key: {"seed": 9})
    found = promotions(story(words), film, store)
    kept(found, film, story(words), store)
    ((name, entry),) = read_table(film).items()
    update_manifest(film, story(words), **{TABLE: {name: {**entry, **change}}})
    again = promotions(story(words), film, store)
    assert again.table == found.table
    assert again.seeds == found.seeds
    assert again.start_images.keys() == found.start_images.keys()
    assert again.memory.keys() == found.memory.keys()


@pytest.mark.parametrize(
    ("facts", "body", "seed"),
    [
        ({"seed": 9}, None, 9),
        ({"seed": None, "shot": 2}, [{}, {"sampler": {"inputs": {"seed": 40, "steps": 4}}}], 42),
        ({"seed": None, "shot": 2}, {"settings": {"seed": 2**64 - 1}}, 1),
    ],
)
def test_the_seed_of_a_shot_is_its_own_or_its_sampler_s(
    film, store, monkeypatch, facts, body, seed
):
    first = shown_shots(film.with_name("Tale.draft"), story())[0]
    monkeypatch.setattr(store, "find_facts", lambda key: facts)
    monkeypatch.setattr(store, "find_body", lambda digest: json.dumps(body))
    assert seed_of(store, first) == seed
