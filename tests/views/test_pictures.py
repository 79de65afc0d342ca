"""The pictures show what they say: frames in their groups, lines where the numbers are."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers.fakes import LabelEmbedder, LabelScorer, label_frames, noise_image
from storymem.memory.bank import MemoryBank, start_bank
from storymem.memory.frame import MemoryFrame
from storymem.selection.keyframes import Keyframes, choose_keyframes
from storymem.views import contact_sheet as pictures
from storymem.views.contact_sheet import (
    CHOSEN,
    KEPT,
    PINNED,
    REJECTED,
    caption,
    contact_sheet,
    decision_picture,
    seen_or_not,
)


def count(picture: torch.Tensor, colour) -> int:
    """Pixels of exactly this colour."""
    return int((picture == torch.tensor(colour, dtype=torch.uint8)).all(-1).sum())


def thumbnails(picture: torch.Tensor, label: int) -> int:
    """How many thumbnails of this label's flat colour the picture holds."""
    colour = label_frames([label])[0, 0, 0].tolist()
    height = pictures.THUMBNAIL[1]  # the frames are 4:3, so their height fills the box
    return round(count(picture, colour) / (height * height * 4 / 3))


def decided(labels, scores=None, bank=None) -> Keyframes:
    scorer = LabelScorer(scores) if scores else None
    shot = label_frames(labels).float() / 255
    return choose_keyframes(shot, LabelEmbedder(), scorer=scorer, bank=bank, shot=3)


def test_the_decision_shows_chosen_and_rejected_frames_with_thumbnails():
    bank = MemoryBank((MemoryFrame(label_frames([6])[0], shot=0),))
    found = decided([1, 1, 1, 5, 5, 6, 1], {1: 5.0, 5: 1.0, 6: 4.0}, bank)
    picture = decision_picture(found)
    assert picture.dtype == torch.uint8
    assert [frame.frame for frame in found.frames] == [0, 6]
    assert count(picture, KEPT) > 500
    assert count(picture, REJECTED) > 500
    for label in (1, 5, 6):
        assert thumbnails(picture, label) >= 1, label


def test_the_threshold_is_drawn_where_it_is():
    """A plot from 0.5 to 1: 0.9 lies at four fifths of its height."""
    found = decided([0] * 9)
    picture = decision_picture(found)
    red = (picture == torch.tensor(REJECTED, dtype=torch.uint8)).all(-1)
    wide = [row for row in range(picture.shape[0]) if red[row].sum() > 900]
    top = 46 + 12  # heading, gap and the plot's own margin
    bottom = top + (pictures.PLOT[1] - 26 - 12)
    assert wide
    assert abs(wide[0] - (bottom - 0.8 * (bottom - top))) < 12


@pytest.mark.parametrize("labels", [[0], [0, 1], [0, 1, 2], [0] * 40])
@pytest.mark.parametrize("score", [None, 5.0, 1.0])
def test_every_decision_can_be_drawn(labels, score):
    scores = None if score is None else {i: score for i in range(8)}
    picture = decision_picture(decided(labels, scores))
    assert picture.shape[-1] == 3
    assert picture.shape[0] > 300


def test_keyframes_without_a_decision_can_be_drawn():
    assert decision_picture(Keyframes()).shape[0] > 50


def test_the_sheet_shows_each_frame_once_in_its_group():
    images = label_frames([0, 1, 2, 3, 4, 5])
    frames = tuple(MemoryFrame(image, shot=i, pinned=i == 2) for i, image in enumerate(images))
    bank = MemoryBank(
        frames, max_frames=4, sink=1, dropped=(MemoryFrame(noise_image(1), reason="known"),)
    )
    assert bank.used_indices() == (0, 2, 4, 5)
    sheet = contact_sheet(bank)
    for label in range(6):
        assert thumbnails(sheet, label) == 1, label
    assert count(sheet, PINNED) > 300
    assert count(sheet, REJECTED) > 300


def test_the_sheet_of_a_policy_shows_what_the_last_shot_saw():
    frames = tuple(MemoryFrame(image, shot=i) for i, image in enumerate(label_frames(range(6))))
    bank = MemoryBank(frames, max_frames=3, sink=1, policy="entities")
    seen = {frames[0].digest: "sink: one of the first frames", frames[2].digest: "shows Mara"}
    nobody, told = contact_sheet(bank), contact_sheet(replace(bank, seen=seen))
    assert (count(nobody, CHOSEN), count(told, CHOSEN) > 300) == (0, True)
    for label in range(6):
        assert thumbnails(nobody, label) == thumbnails(told, label) == 1, label


def test_the_sheet_says_of_a_frame_that_was_left_out_why():
    frames = tuple(
        MemoryFrame(image, shot=i, pinned=i == 0) for i, image in enumerate(label_frames(range(4)))
    )
    bank = MemoryBank(frames, max_frames=9, sink=0, policy="entities_only")
    others = "waits: shows nobody in the shot, only Pip"
    seen = {frames[0].digest: others, frames[1].digest: others, frames[2].digest: "recent"}
    told = replace(bank, seen=seen)
    assert seen_or_not(bank) == {}
    assert seen_or_not(told) == {
        frames[0].digest: "pinned, but not seen: shows nobody in the shot, only Pip",
        frames[1].digest: "not seen: shows nobody in the shot, only Pip",
        frames[2].digest: "seen: recent",
    }
    for label in range(4):
        assert thumbnails(contact_sheet(bank), label) == 1, label
        assert thumbnails(contact_sheet(told), label) == 1, label


def test_captions_say_what_why_and_whether_it_is_pinned():
    frame = MemoryFrame(
        noise_image(0), shot=6, frame=40, score=4.25, scorer="hpsv3", reason="why", pinned=True
    )
    assert caption(frame).splitlines() == ["shot 7, frame 40, pinned", "hpsv3 4.25", "why"]
    (hero,) = start_bank(torch.rand(1, 8, 8, 3)).frames
    assert caption(hero).splitlines() == ["reference 1, pinned", "reference picture"]


def test_an_empty_bank_has_a_sheet_that_says_so():
    assert contact_sheet(MemoryBank()).shape[0] > 100


def test_a_sheet_of_a_very_large_bank_stays_bounded():
    image = noise_image(0, 8, 8)
    bank = MemoryBank(tuple(MemoryFrame(image, shot=i) for i in range(1000)))
    assert contact_sheet(bank).shape[0] < 12_000


def places(sheet: torch.Tensor, colour) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns of the pixels of exactly this colour."""
    return torch.where((sheet == torch.tensor(colour, dtype=torch.uint8)).all(-1))


COLOUR = (250, 10, 200)  # nothing else in the sheet has it


@pytest.mark.parametrize("size", [(1, 1), (1, 150), (2000, 20), (480, 832)])
def test_frames_of_any_size_fit_their_box(size):
    height, width = size
    flat = torch.tensor(COLOUR, dtype=torch.uint8).expand(height, width, 3)
    sheet = contact_sheet(MemoryBank((MemoryFrame(flat),)))
    framed, frame_columns = places(sheet, KEPT)
    rows, columns = places(sheet, COLOUR)
    shown_height, shown_width = (
        int(rows.max() - rows.min()) + 1,
        int(columns.max() - columns.min()) + 1,
    )
    box_width, box_height = pictures.THUMBNAIL
    scale = min(box_width / width, box_height / height)  # as large as the box allows
    assert (shown_width, shown_height) == (round(width * scale) or 1, round(height * scale) or 1)
    assert len(rows) == shown_width * shown_height  # nothing lies over it
    assert framed.min() < rows.min() <= rows.max() < framed.max()
    assert frame_columns.min() < columns.min() <= columns.max() < frame_columns.max()


@pytest.mark.parametrize(
    "text",
    [
        "x" * 500,
        "W" * 500,
        "日本語の名前",
        "日本語" * 40,
        "a\nb\nc\nd\ne\nf\ng\nh",
        "a long name " * 9,
        "\t",
    ],
)
def test_any_name_is_drawn_below_its_own_picture(text):
    named, bare = MemoryFrame(noise_image(0), name=text, reason=text), MemoryFrame(noise_image(1))
    with_text, without = (contact_sheet(MemoryBank((frame, bare))) for frame in (named, bare))
    assert with_text.shape == without.shape
    bottom, right = (int(axis.max()) for axis in places(with_text, KEPT))
    left = int(places(with_text, KEPT)[1].min())
    assert right - left > 2 * pictures.THUMBNAIL[0]  # two pictures side by side
    # What differs is the first picture and the words below it, as wide as the picture at most.
    rows, columns = torch.where((with_text != without).any(-1))
    assert left <= columns.min() <= columns.max() < left + pictures.THUMBNAIL[0] + pictures.GAP
    assert rows.max() < bottom + 15 * pictures.CAPTION_LINES + pictures.GAP
    words = rows[rows > bottom]
    assert bool(len(words)) == bool(text.strip())


@pytest.mark.parametrize("title", ["W" * 400, "日本語" * 90])
def test_a_title_of_a_story_is_drawn_within_the_sheet(title):
    sheet = pictures.story_sheet([(title, [])])
    _, columns = places(sheet, pictures.TEXT)
    assert columns.max() < sheet.shape[1] - pictures.GAP + 1
    assert sheet.shape[0] > 3 * 20
