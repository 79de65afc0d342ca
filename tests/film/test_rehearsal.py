"""The opening memory of a film from a finished pass: which frames of whom, and what is told."""

from __future__ import annotations

import re

import pytest
import torch

from helpers.fakes import noise_image
from helpers.rehearsed import shot, show_shots, striped, stripes_of
from storymem.files.video import write_video
from storymem.film.rehearsal import describe_pass, rehearse, sharpness
from storymem.film.shown_shots import shown_shots
from storymem.loop.shot_store import ShotStore
from storymem.memory.bank import start_bank
from storymem.memory.edits import BankEdits
from storymem.script.reader import load_story

PROMPTS = (
    "Mara on a pier",
    "Mara at a window",
    "Pip and Mara run",
    "Mara asleep on a pier",
    "Pip and Mara rest",
)


def story(prompts=PROMPTS, name="Tale", cast=("Mara", "Pip")):
    scene = {"video_prompts": list(prompts), "cut": [True] * len(prompts)}
    return load_story({"story_name": name, "cast": list(cast), "scenes": [scene]})


@pytest.fixture
def draft(tmp_path):
    """Mara alone is sharpest in her second shot; Pip is never alone, and sharper in his second."""
    stripes = {0: 8, 1: 2, 2: 6, 3: 4, 4: 3}
    shots = {index: shot(width, base=60 + index) for index, width in stripes.items()}
    return show_shots(tmp_path / "Tale.draft", story(), shots)


def told(rehearsal):
    return [(f.names, f.shot.index, f.number) for f in rehearsal.frames]


def test_the_sharpest_middle_frame_of_shots_alone_is_chosen(draft):
    found = rehearse(draft, story())
    assert told(found) == [(("Mara",), 1, 2), (("Pip",), 4, 2)]
    assert [stripes_of(frame.image) for frame in found.bank.frames] == [2, 3]
    assert found.notes == ()


def test_frames_are_pinned_and_named_and_say_where_they_are_from(draft):
    mara, pip = rehearse(draft, story()).bank.frames
    assert mara.pinned
    assert pip.pinned
    assert (mara.name, pip.name) == ("Mara", "Pip")
    assert mara.reason == "from the draft's shot 2, frame 2: the sharpest that shows Mara alone"
    assert pip.reason == (
        "from the draft's shot 5, frame 2: the sharpest that shows Pip in company"
    )
    assert mara.is_reference
    assert [mara.frame, pip.frame] == [0, 1]


def test_the_first_of_shots_alone_is_chosen_by_the_other_rule(draft):
    assert told(rehearse(draft, story(), rule="first")) == [
        (("Mara",), 0, 2), (("Pip",), 2, 2),
    ]  # fmt: skip


def test_several_frames_of_a_name_are_of_several_shots(draft):
    found = rehearse(draft, story(), frames_per_name=2)
    assert told(found) == [
        (("Mara",), 1, 2), (("Mara",), 3, 2), (("Pip",), 4, 2), (("Pip",), 2, 2),
    ]  # fmt: skip


def test_a_scorer_takes_the_place_of_sharpness(draft):
    found = rehearse(draft, story(), score=lambda picture: -sharpness(picture))
    assert told(found)[0] == (("Mara",), 0, 2)
    assert "the best that shows Mara alone" in found.bank.frames[0].reason


def test_the_next_best_frames_wait_among_the_dropped_ones_for_a_click(draft):
    found = rehearse(draft, story())
    waiting = found.bank.dropped
    assert [stripes_of(frame.image) for frame in waiting] == [4, 8, 6]
    assert waiting[0].reason.endswith("not the sharpest that shows Mara alone")
    clicked = found.bank.with_edits(
        BankEdits(keep=(waiting[1].digest,), drop=(found.bank.frames[0].digest,))
    )
    assert [frame.reason.split(",")[0] for frame in clicked.frames] == [
        "from the draft's shot 5", "from the draft's shot 1",
    ]  # fmt: skip


def test_the_same_files_give_the_same_bank(draft):
    first, second = (rehearse(draft, story(), frames_per_name=2).bank for _ in range(2))
    assert [f.digest for f in first.frames] == [f.digest for f in second.frames]
    assert [f.digest for f in first.dropped] == [f.digest for f in second.dropped]


def test_portraits_come_first_and_their_names_get_no_frame(draft):
    bank = start_bank([noise_image(1).float() / 255], names=["Mara"], max_frames=6, sink=1)
    found = rehearse(draft, story(), bank=bank)
    assert [frame.name for frame in found.bank.frames] == ["Mara", "Pip"]
    assert (found.bank.max_frames, found.bank.sink) == (6, 1)
    both = rehearse(draft, story(), bank=bank, again=True)
    assert [frame.name for frame in both.bank.frames] == ["Mara", "Mara", "Pip"]
    assert len({frame.order for frame in both.bank.frames}) == 3


def test_where_all_have_portraits_nothing_is_taken_and_it_is_said(draft):
    bank = start_bank([noise_image(i).float() / 255 for i in (1, 2)], names=["Mara", "Pip"])
    found = rehearse(draft, story(), bank=bank)
    assert found.bank.frames == bank.frames
    assert found.notes == (
        "everybody has a picture already: nothing is taken from the rehearsal",
    )  # fmt: skip


def test_places_get_frames_where_nobody_is_and_are_no_company(tmp_path):
    told_story = story(("Mara on the Pier", "the Pier at night", "Mara and Pip on the Pier"))
    shots = {0: shot(2, base=60), 1: shot(8, base=70), 2: shot(4, base=80)}
    folder = show_shots(tmp_path / "Tale", told_story, shots)
    assert told(rehearse(folder, told_story, places=["Pier"])) == [
        (("Mara",), 0, 2), (("Pip",), 2, 2), (("Pier",), 1, 2),
    ]  # fmt: skip


def test_places_that_the_script_is_to_remember_get_frames_too(tmp_path):
    remember = {"place": "the pier", "weight": 2}
    rows = [{"prompt": "Mara waits", "remember": [remember]}, "Fog over the pier"]
    scene = {"video_prompts": rows, "cut": [True, True]}
    told_story = load_story({"story_name": "Tale", "cast": ["Mara"], "scenes": [scene]})
    folder = show_shots(tmp_path / "Tale", told_story, {0: shot(2), 1: shot(4, base=70)})
    assert told(rehearse(folder, told_story))[1] == (("the pier",), 1, 2)


def test_one_frame_may_be_chosen_for_two(tmp_path):
    together = story(("Mara and Pip dance",))
    folder = show_shots(tmp_path / "Tale", together, {0: shot(4)})
    (frame,) = rehearse(folder, together).bank.frames
    assert frame.name == "Mara, Pip"
    assert frame.reason.endswith("shows Mara and Pip in company")


def test_shots_that_show_the_very_same_frame_give_it_once(tmp_path):
    apart = story(("Mara waits", "Pip waits"))
    folder = show_shots(tmp_path / "Tale", apart, {0: shot(4), 1: shot(4)})
    (frame,) = rehearse(folder, apart).bank.frames
    assert frame.name == "Mara, Pip"


def test_who_never_appears_is_said(draft):
    found = rehearse(draft, story(cast=("Mara", "Pip", "Old Tom")))
    assert [frame.name for frame in found.bank.frames] == ["Mara", "Pip"]
    assert len(found.notes) == 1
    assert "names Old Tom" in found.notes[0]


def test_shots_that_the_pass_lacks_are_said(tmp_path):
    folder = show_shots(tmp_path / "Tale.draft", story(), {0: shot(8), 2: shot(6)})
    found = rehearse(folder, story())
    assert told(found) == [(("Mara",), 0, 2), (("Pip",), 2, 2)]
    assert "lacks 3 shots of 5 (2, 4, 5)" in found.notes[0]


def test_more_frames_than_places_are_pinned_by_how_often_their_names_appear(draft):
    bank = start_bank(max_frames=2, sink=0)
    found = rehearse(draft, story(), bank=bank)
    assert [(f.name, f.pinned) for f in found.bank.frames] == [("Mara", True), ("Pip", False)]
    assert "max_frames is 2" in found.notes[0]
    assert len(found.bank.used()) == 2  # and no error


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rule": "prettiest"}, "rule must be one of sharpest, first"),
        ({"frames_per_name": 0}, "frames_per_name must be between 1 and 10"),
    ],
)
def test_options_that_cannot_be_are_told(draft, change, words):
    with pytest.raises(ValueError, match=words):
        rehearse(draft, story(), **change)


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"there is no folder .*; finish the pass first"):
        rehearse(tmp_path / "none", story())


def test_a_folder_of_another_story_is_told(draft):
    other = story(("Mara sings", "Pip sings"), name="Opera")
    with pytest.raises(ValueError, match=r"shows another story \('Tale'\)"):
        rehearse(draft, other)


def test_a_pass_without_finished_shots_is_told(tmp_path):
    folder = show_shots(tmp_path / "Tale.draft", story(), {})
    with pytest.raises(ValueError, match="holds no finished shot of 'Tale': finish the pass"):
        rehearse(folder, story())


def test_a_script_that_names_nobody_is_told(tmp_path):
    nobody = story(("a pier", "a window"), cast=())
    folder = show_shots(tmp_path / "Tale", nobody, {0: shot(2), 1: shot(4)})
    with pytest.raises(ValueError, match="names nobody"):
        rehearse(folder, nobody)


def test_a_pass_in_which_nobody_is_named_is_told(tmp_path):
    absent = story(("a pier", "a window"))
    folder = show_shots(tmp_path / "Tale", absent, {0: shot(2), 1: shot(4)})
    with pytest.raises(ValueError, match="names Mara, Pip: use the names of the cast"):
        rehearse(folder, absent)


def test_an_edited_file_is_what_counts(draft):
    before = rehearse(draft, story())
    write_video(draft / "shot_01_02.mp4", shot(16, frames=9, base=90))
    after = rehearse(draft, story())
    assert told(before)[0] == (("Mara",), 1, 2)
    assert told(after)[0] == (("Mara",), 3, 2)


def test_a_file_that_is_cut_off_is_read_from_the_store(draft, tmp_path):
    store = ShotStore(tmp_path / ".storymem")
    (mara,) = [one for one in shown_shots(draft, story()) if one.index == 1]
    kept = store.folder_of(mara.key)
    kept.mkdir(parents=True)
    (draft / "shot_01_02.mp4").rename(kept / "shot.mp4")
    (draft / "shot_01_02.mp4").write_bytes((kept / "shot.mp4").read_bytes()[:500])
    assert told(rehearse(draft, story(), store=store))[0] == (("Mara",), 1, 2)
    with pytest.raises(ValueError, match=re.escape("shot 2 (01_02) cannot be used")):
        rehearse(draft, story())


def test_a_frame_that_a_shot_does_not_have_is_told(draft):
    first = shown_shots(draft, story())[0]
    assert torch.equal(first.read_frame(2), rehearse_frame(draft, 0))
    with pytest.raises(ValueError, match="frames 0 to 4, but frame 5 is asked for"):
        first.read_frame(5)


def rehearse_frame(folder, index):
    return next(s for s in shown_shots(folder, story()) if s.index == index).read_frame(2)


def test_a_result_follows_its_prompt_to_where_that_stands_now(draft):
    moved = story(("a new beginning", *PROMPTS))
    found = rehearse(draft, moved)
    assert told(found)[0] == (("Mara",), 2, 2)
    assert "lacks 1 shot of 6 (1)" in found.notes[0]


def test_sharpness_is_the_mean_difference_of_neighbours():
    picture = torch.tensor([[0, 10], [20, 50]], dtype=torch.uint8)[..., None].expand(2, 2, 3)
    assert sharpness(picture) == (20 + 40) / 2 + (10 + 30) / 2
    assert sharpness(torch.from_numpy(striped(1))) > sharpness(torch.from_numpy(striped(2)))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Tale.draft", "the draft's"), ("Tale.draft3", "the third draft's"),
        ("Tale.stills", "the stills'"), ("Tale", "the film's"),
    ],
)  # fmt: skip
def test_a_pass_is_called_by_its_folder(tmp_path, name, words):
    assert describe_pass(tmp_path / name) == words


def test_the_sharpest_of_every_fourth_frame_may_be_chosen(tmp_path):
    """The middle of the first shot is sharper than that of the second, whose ninth is sharpest; its
    eighth, sharper still, is none of every fourth."""
    first, second = [striped(6, base=60)] * 12, [striped(8, base=90)] * 12
    second[7], second[8] = striped(2, base=90), striped(4, base=90)
    shots = {0: first, 1: second, 2: [striped(8, base=120)] * 12}
    draft = show_shots(tmp_path / "Tale.draft", story(), shots)
    assert told(rehearse(draft, story()))[0] == (("Mara",), 0, 6)
    found = rehearse(draft, story(), rule="sharpest_of_all")
    assert told(found)[0] == (("Mara",), 1, 8)
    assert stripes_of(found.bank.frames[0].image) == 4
    assert found.bank.frames[0].reason == (
        "from the draft's shot 2, frame 8: the sharpest that shows Mara alone"
    )


def test_of_frames_that_are_equally_good_the_earliest_is_chosen(tmp_path):
    shots = {0: [striped(4, base=60)] * 9, 2: [striped(4, base=90)] * 9}
    draft = show_shots(tmp_path / "Tale.draft", story(), shots)
    found = rehearse(draft, story(), rule="sharpest_of_all", score=lambda picture: 1.0)
    assert told(found) == [(("Mara",), 0, 0), (("Pip",), 2, 0)]
