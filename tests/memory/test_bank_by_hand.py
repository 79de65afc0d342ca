"""An artist's hand in a bank's folder: pictures put in, moved out of ``dropped``, and dropped."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers.fakes import noise_image
from storymem.memory.bank import MemoryBank
from storymem.memory.bank_folder import load_bank, save_bank
from storymem.memory.edits import BankEdits
from storymem.memory.frame import MemoryFrame


def move_out(folder: Path) -> Path:
    """Move the one picture that is in ``dropped`` out of it."""
    (picture,) = (folder / "dropped").iterdir()
    return picture.rename(folder / picture.name)


def kept_and_dropped() -> MemoryBank:
    """A keyframe, and a dropped one of a later shot."""
    frames = (MemoryFrame(noise_image(0), "Tale", 0, 3, reason="differs"),)
    return MemoryBank(frames, dropped=(MemoryFrame(noise_image(1), "Tale", 1, 40, reason="known"),))


def places(frames) -> list[str]:
    return [frame.place for frame in frames]


# --- moved out of dropped ------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["number", "click"])
def test_what_was_moved_out_of_dropped_and_then_dropped_again_does_not_come_back(tmp_path, by):
    save_bank(tmp_path, kept_and_dropped())
    moved = move_out(tmp_path)
    bank = load_bank(tmp_path)
    assert places(bank.frames) == ["shot 1, frame 3", "shot 2, frame 40"]
    if by == "number":
        bank = bank.forget([1])
    else:
        bank = bank.with_edits(BankEdits(drop=(bank.frames[1].digest,)))
    for _ in range(2):
        save_bank(tmp_path, bank)
        loaded = load_bank(tmp_path)
        assert places(loaded.frames) == ["shot 1, frame 3"]
        assert [(f.place, f.why) for f in loaded.dropped] == [
            ("shot 2, frame 40", "dropped by hand")
        ]
    assert not moved.exists()
    assert '"forgotten"' not in (tmp_path / "bank.json").read_text()
    move_out(tmp_path)
    assert places(load_bank(tmp_path).frames) == ["shot 1, frame 3", "shot 2, frame 40"]


def test_what_was_moved_out_while_a_story_went_on_is_kept_after_its_next_save(tmp_path):
    save_bank(tmp_path, kept_and_dropped())
    moved = move_out(tmp_path)
    save_bank(tmp_path, kept_and_dropped())
    assert moved.exists()
    back = load_bank(tmp_path).frames[1]
    assert (back.place, back.story, back.reason) == ("shot 2, frame 40", "Tale", "kept by hand")
