"""What a finished shot saw, read back from the store, against what its sampler got."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers.fakes import noise_image
from helpers.record_files import body_of, write_body
from storymem.files.hashing import digest_of
from storymem.loop.begin import begin_shot, load_result
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.seen import SAW, seen_by
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps
from storymem.memory.bank import start_bank
from storymem.memory.edits import BankEdits, LaterEdits
from storymem.memory.frame import MemoryFrame
from storymem.script.reader import load_story
from storymem.views.seen import view_seen, view_shots

PROMPTS = ["Mara at sea", "Pip at home", "Mara", "Pip", "Mara and Pip", "nobody"]


def story(**fields):
    scene = {"video_prompts": PROMPTS, "cut": [True, False, False, True, False, False], **fields}
    return load_story({"story_name": "Tale", "cast": ["Mara", "Pip"], "scenes": [scene]})


def make_loop(root, *, policy="window", edits=None, **fields) -> Loop:
    references = [torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(1))]
    bank = start_bank(references, max_frames=3, sink=1, pinned=False, names=["Mara"], policy=policy)
    bank = bank.with_edits(edits) if edits else bank
    pictures = {"extra.png": noise_image(77, 8, 8)}
    return Loop(story(**fields), LoopSettings(), bank, "body", ShotStore(root), pictures)


def run(loop, edit_bank=None) -> list[tuple]:
    """The records of all shots, each with the digests that its sampler got."""
    made, before = [], None
    for step in list_steps(loop, {}):
        begun = begin_shot(loop, step, before)
        step.begin(begun)
        if step.record is None:
            index, seed = step.plan.shot.index, int(digest_of([step.key])[:6], 16)
            frames = torch.rand(8, 8, 8, 3, generator=torch.Generator().manual_seed(seed))
            kept = MemoryFrame(noise_image(seed, 8, 8), shot=index, story="Tale")
            turned_down = MemoryFrame(noise_image(seed + 1, 8, 8), shot=index, frame=3, reason="no")
            bank = begun.bank.remember([kept], dropped=[turned_down])
            bank = edit_bank(bank) if edit_bank else bank
            step.record, _ = finish_shot(loop, step, frames, bank, crf=30)
        made.append((step.record, [frame.digest for frame in begun.memory.frames]))
        before = load_result(loop, step.record)
    return made


def digests(seen) -> list[str]:
    return [frame.digest for frame in seen.bank.used()]


def as_of_an_earlier_version(store, record):
    body = body_of(record.folder)
    del body["facts"][SAW]
    write_body(record.folder, body)
    return store.find(record.key)


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize("policy", ["window", "entities", "entities_only"])
def test_every_shot_tells_what_its_sampler_got(tmp_path, policy, is_old):
    loop = make_loop(tmp_path, policy=policy, reference_images=[[], [], ["extra.png"], [], [], []])
    for record, got in run(loop):
        if is_old:
            record = as_of_an_earlier_version(loop.store, record)
        seen = seen_by(loop.store, record)
        assert (digests(seen), seen.is_sure) == (got, True)
        assert not any(f.shot == record.facts["shot"] and f.frame >= 0 for f in seen.bank.frames)
        assert not any(f.shot == record.facts["shot"] for f in seen.bank.dropped)


def test_clicks_are_those_that_held_when_the_shot_was_made(tmp_path):
    loop = make_loop(tmp_path)
    keyframe = next(f for f in load_result(loop, run(loop)[-1][0]).bank.frames if f.shot == 1)
    later = LaterEdits("01_05", drop=(keyframe.digest,))
    edited = replace(loop, bank=loop.bank.with_edits(BankEdits(later=(later,))))
    found = [seen_by(loop.store, record) for record, _ in run(edited)]
    assert [keyframe.digest in [f.digest for f in one.bank.dropped] for one in found] == [
        False, False, False, False, True, True,
    ]  # fmt: skip
    assert [one.is_sure for one in found] == [True] * 6


def test_frames_that_the_shot_itself_took_out_of_the_memory_were_seen_all_the_same(tmp_path):
    loop = make_loop(tmp_path)
    made = run(loop, lambda bank: bank.forget([0]) if len(bank) > 3 else bank)
    for record, got in made:
        seen = seen_by(loop.store, record)
        assert (digests(seen), seen.is_sure) == (got, True)


def test_what_cannot_be_known_of_an_earlier_version_is_not_told_as_sure(tmp_path):
    loop = make_loop(tmp_path)
    made = run(loop, lambda bank: bank.forget([0]) if len(bank) > 3 else bank)
    record = as_of_an_earlier_version(loop.store, made[-1][0])
    assert not seen_by(loop.store, record).is_sure


@pytest.mark.parametrize("said", [5, ["no digest"], [7], {"a": 1}, [], ["ab" * 32]])
def test_a_record_may_say_anything(tmp_path, said):
    loop = make_loop(tmp_path)
    record, got = run(loop)[3]
    body = body_of(record.folder)
    body["facts"][SAW] = said
    write_body(record.folder, body)
    record = loop.store.find(record.key)
    seen = seen_by(loop.store, record)
    assert set(digests(seen)) <= set(got)
    assert view_seen(loop.store, loop.story, record.key)["count"] == len(seen.bank.frames)


def test_the_page_is_told_roles_reasons_and_places(tmp_path):
    loop = make_loop(tmp_path)
    made = run(loop)
    shown = view_seen(loop.store, loop.story, made[4][0].key)
    assert (shown["tell"], shown["count"], shown["is_sure"]) == ("shot", 5, True)
    assert [(f["role"], f["position"], f["seen"]) for f in shown["frames"]] == [
        ("sink", 1, "sink: one of the first frames"),
        ("waiting", 0, ""),
        ("waiting", 0, ""),
        ("window", 2, "recent"),
        ("window", 3, "recent"),
    ]
    assert [f["reason"] for f in shown["dropped"]] == ["no"] * 4
    by_name = make_loop(tmp_path / "names", policy="entities_only")
    shown = view_seen(by_name.store, by_name.story, run(by_name)[3][0].key)
    assert [(f["role"], f["left_out"]) for f in shown["frames"]] == [
        ("waiting", "shows nobody in the shot, only Mara"),
        ("waiting", "shows nobody in the shot, only Mara"),
        ("seen", ""),
        ("waiting", "shows nobody in the shot, only Mara"),
    ]


def test_a_shot_without_a_whole_record_has_nothing_to_tell(tmp_path):
    loop = make_loop(tmp_path)
    record, _ = run(loop)[0]
    for key in ("", "no key", "ab" * 32):
        assert view_seen(loop.store, loop.story, key) is None
    record.video.write_bytes(b"")
    assert view_seen(loop.store, loop.story, record.key) is None
    shots = view_shots(loop.story, [record.key, *[""] * 5])
    assert [(s["label"], bool(s["record"])) for s in shots][:2] == [
        ("01_01", True),
        ("01_02", False),
    ]
