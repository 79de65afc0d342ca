"""A story that begins from a clip: what its first shot is given, what changes, what is told."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
import torch

from helpers.fakes import noise_image
from storymem.files.hashing import digest_of
from storymem.files.video import read_frames, read_info
from storymem.film.head import FilmHead, head_of
from storymem.film.output import StoryExport, VideoOptions
from storymem.loop.begin import begin_shot
from storymem.loop.opening import NO_EFFECT, with_opening
from storymem.loop.opening_clip import OpeningClip
from storymem.loop.opening_memory import (
    Chosen,
    choice_key,
    chosen_of,
    find_choice,
    keep_choice,
    remember_clip,
)
from storymem.loop.plan import Loop, LoopSettings, plan_in
from storymem.loop.regeneration import find_regenerations
from storymem.loop.reuse import describe_result
from storymem.loop.seen import seen_by
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps, lock_warnings
from storymem.memory.bank import start_bank
from storymem.memory.frame import MemoryFrame
from storymem.memory.picture import Picture
from storymem.sampling.draft import Draft
from storymem.script.reader import load_story

CONTINUED = "[continue]\na\n---\n[continue]\nb\n---\nc"
CUT = "a\n---\n[continue]\nb\n---\nc"


def clip_of(count: int = 9, seed: int = 0, height: int = 16, width: int = 16, **settings):
    frames = [noise_image(100 * seed + i, height, width) for i in range(count)]
    return OpeningClip(torch.stack(frames), **settings)


@pytest.fixture
def loop(tmp_path):
    story = load_story(CONTINUED, default_name="Tale")
    settings = LoopSettings(continuity="last_five_frames")
    bank = start_bank([noise_image(7, 16, 16).float() / 255])
    return Loop(story, settings, bank, "body", ShotStore(tmp_path / "store"), opening=clip_of())


def run(loop: Loop, manifest: dict) -> list[int]:
    """Make what is to be made; the numbers of the shots that were made."""
    steps, made, before = list_steps(loop, manifest), [], None
    for step in steps:
        if step.record is None:
            begun = begin_shot(loop, step, before)
            step.begin(begun)
        if step.record is None:
            seen = [step.plan.prompt, *(frame.digest for frame in begun.bank.used())]
            seen += [] if begun.given is None else [str(begun.given.double().sum().item())]
            seed = int(digest_of(seen)[:8], 16)
            frames = torch.rand(14, 16, 16, 3, generator=torch.Generator().manual_seed(seed))
            bank = begun.bank.remember([MemoryFrame(noise_image(seed), story=loop.story.name,
                                                    shot=step.plan.shot.index)])  # fmt: skip
            step.record, step.result = finish_shot(loop, step, frames, bank, crf=30)
            made.append(step.plan.shot.index + 1)
        before = step.result or loop.store.load(step.record)
        manifest["shots"][step.label] = describe_result(step)
    return made


def begun_first(loop: Loop):
    step = list_steps(loop, {"shots": {}})[0]
    return step, begin_shot(loop, step, None)


@pytest.mark.parametrize(("continuity", "count"), [("last_frame", 1), ("last_five_frames", 5)])
def test_the_first_shot_is_given_the_clips_last_frames(loop, continuity, count):
    loop = replace(loop, settings=LoopSettings(continuity=continuity))
    step, begun = begun_first(loop)
    assert step.plan.overlap_frames == count
    assert begun.given.dtype == torch.float32
    assert torch.equal((begun.given * 255).round().byte(), loop.opening.frames[-count:])
    assert step.key == begun.key, "known before it begins, so that it is found"


def test_a_cut_takes_nothing_of_the_clip_and_keeps_its_key(loop):
    for change in (
        {"story": load_story(CUT, default_name="Tale")},
        {"settings": LoopSettings(continuity="cut")},
        {"settings": replace(loop.settings, draft=Draft("stills"))},
        {"start_images": {0: noise_image(1)}},
    ):
        with_clip, without = (
            begun_first(replace(loop, **change, opening=clip)) for clip in (loop.opening, None)
        )
        assert with_clip[1].given is None, change
        assert with_clip[1].key == without[1].key, change


def test_only_the_frames_that_are_given_count(loop):
    frames = loop.opening.frames.clone()
    frames[:4] = 0
    key = begun_first(loop)[1].key
    assert begun_first(replace(loop, opening=OpeningClip(frames)))[1].key == key
    frames[4] = 0
    assert begun_first(replace(loop, opening=OpeningClip(frames)))[1].key != key


def test_a_finished_story_is_found_again_and_another_clip_makes_it_anew(loop):
    manifest = {"shots": {}}
    assert run(loop, manifest) == [1, 2, 3]
    assert run(loop, manifest) == []
    other = replace(loop, opening=clip_of(seed=1))
    steps = list_steps(other, manifest)
    assert [step.record is None for step in steps] == [True, True, True]
    reasons = find_regenerations(other, steps)[0].reasons
    assert reasons == ("the clip that the story begins from changed",)
    assert run(other, manifest) == [1, 2, 3]
    assert run(loop, {"shots": {}}) == [], "those of the first clip are still there"


def test_a_record_tells_what_its_shot_was_given(loop):
    manifest = {"shots": {}}
    run(loop, manifest)
    first, second, _ = list_steps(loop, manifest)
    assert first.record.facts["opening"] == [Picture(f).digest for f in loop.opening.frames[-5:]]
    assert "opening" not in second.record.facts
    assert first.record.facts["saw"], "one without it is judged by its key"
    old = replace(first.record, facts={k: v for k, v in first.record.facts.items() if k != "saw"})
    assert seen_by(loop.store, old).is_sure
    wrong = replace(old, facts={**old.facts, "opening": []})
    assert not seen_by(loop.store, wrong).is_sure


def test_a_clip_that_is_gone_is_told_as_how_the_shot_begins(loop):
    manifest = {"shots": {}}
    run(loop, manifest)
    cut = replace(loop, opening=None, story=load_story(CUT, default_name="Tale"))
    told = find_regenerations(cut, list_steps(cut, manifest))[0].reasons
    assert told == ("how it begins changed from 'last_five_frames' to 'a cut'",)


# --- what is refused, and what is told ------------------------------------------------------------


def test_a_first_shot_that_continues_needs_a_clip(loop):
    with pytest.raises(ValueError, match=r"first shot of the story \(scene 1\) continues from a"):
        with_opening(replace(loop, opening=None))
    assert with_opening(loop) == loop
    cut = replace(loop, opening=None, story=load_story(CUT))
    assert with_opening(cut) == cut


def test_a_short_clip_is_refused_where_its_frames_are_needed(loop):
    short = replace(loop, opening=clip_of(4))
    with pytest.raises(ValueError, match=r"last 5 frames .* opening_frames holds 4 frames"):
        with_opening(short)
    with pytest.raises(ValueError, match="holds 1 frame;"):
        with_opening(replace(loop, opening=clip_of(1)))
    with_opening(replace(loop, opening=clip_of(5)))
    with_opening(replace(short, settings=LoopSettings(continuity="last_frame")))
    with_opening(replace(short, story=load_story(CUT)))


def test_a_clip_without_effect_is_told_and_one_with_any_is_not(loop):
    cut = replace(loop, story=load_story(CUT))
    assert with_opening(cut).notes == (NO_EFFECT,)
    assert NO_EFFECT in lock_warnings(with_opening(cut), list_steps(cut, {"shots": {}}))
    for how in ("is_remembered", "is_in_film"):
        assert with_opening(replace(cut, opening=clip_of(**{how: True}))).notes == ()
    assert with_opening(loop).notes == ()
    started = replace(loop, start_images={0: noise_image(1)}, notes=("before",))
    assert with_opening(started).notes == ("before", NO_EFFECT)


def test_a_clip_of_nothing_is_refused():
    with pytest.raises(ValueError, match="opening_frames holds no frame"):
        OpeningClip.of_images(torch.zeros(0, 8, 8, 3))
    with pytest.raises(ValueError, match="opening_frames"):
        OpeningClip.of_images(torch.full((1, 8, 8, 3), float("nan")))
    made = OpeningClip.of_images(torch.full((2, 8, 8, 3), 0.5), is_in_film=True)
    assert made.frames.dtype == torch.uint8
    assert (made.is_in_film, made.is_remembered) == (True, False)


def test_of_a_long_clip_only_what_is_used_is_kept():
    images = torch.stack([noise_image(i) for i in range(9)]).float() / 255
    images[0] = float("nan")  # nobody looks at it
    assert len(OpeningClip.of_images(images).frames) == 5
    images[0] = 0.5
    whole = OpeningClip.of_images(images, is_remembered=True)
    assert torch.equal(OpeningClip.of_images(images).frames, whole.frames[-5:])
    pixels = whole.frames.numpy()
    assert whole.frames.shape == images.shape
    text = "x".join(map(str, pixels.shape)).encode() + b":" + pixels.tobytes()
    assert whole.digest == hashlib.sha256(text).hexdigest()  # that of choices on disk


# --- its keyframes --------------------------------------------------------------------------------


def test_its_keyframes_begin_the_memory(loop):
    chosen = [Chosen(2, "first frame of the shot"), Chosen(6, "similarity", 5.5, "laion", 0.25)]
    bank = remember_clip(loop.bank, loop.opening, chosen)
    assert [frame.digest for frame in bank.frames] == [
        loop.bank.frames[0].digest,
        *(Picture(loop.opening.frames[i]).digest for i in (2, 6)),
    ]
    last = bank.frames[2]
    assert (last.shot, last.frame, last.pinned) == (-1, 2, False)
    assert (last.score, last.scorer, last.similarity) == (5.5, "laion", 0.25)
    assert last.reason == "frame 6 of the clip that the story begins from: similarity"
    again = remember_clip(bank, loop.opening, chosen)
    assert len(again) == 3, "none comes twice"
    empty = remember_clip(replace(loop.bank, frames=()), loop.opening, chosen)
    assert [frame.frame for frame in empty.frames] == [0, 1]


def test_remembered_keyframes_are_seen_by_every_shot_and_count(loop):
    remembering = replace(loop, bank=remember_clip(loop.bank, loop.opening, [Chosen(3)]))
    _, begun = begun_first(remembering)
    assert begun.memory.frames[1].digest == Picture(loop.opening.frames[3]).digest
    assert begun.key != begun_first(loop)[1].key


def test_a_choice_is_found_by_clip_memory_and_selector(loop):
    chosen = chosen_of([MemoryFrame(noise_image(3), frame=4, reason="r", similarity=0.5)])
    key = choice_key(loop.opening, loop.bank, "clip 0.9")
    assert find_choice(loop.store, loop.opening, key) is None
    keep_choice(loop.store, key, chosen)
    assert find_choice(loop.store, loop.opening, key) == [Chosen(4, "r", None, "", 0.5)]
    others = {
        choice_key(clip_of(seed=3), loop.bank, "clip 0.9"),
        choice_key(loop.opening, replace(loop.bank, frames=()), "clip 0.9"),
        choice_key(loop.opening, loop.bank, "clip 0.8"),
    }
    assert len(others | {key}) == 4
    same = OpeningClip(loop.opening.frames.clone(), is_in_film=True)
    assert choice_key(same, loop.bank, "clip 0.9") == key


GOOD = {"frame": 4, "reason": "r", "score": None, "scorer": "", "similarity": 0.5}


@pytest.mark.parametrize(
    "entries",
    [
        "{", "7", json.dumps([7]), json.dumps([{**GOOD, "frame": 9}]),
        json.dumps([{**GOOD, "frame": -1}]), json.dumps([{**GOOD, "frame": True}]),
        json.dumps([{**GOOD, "score": "x"}]), json.dumps([{**GOOD, "reason": 5}]),
        json.dumps([{**GOOD, "reason": "x" * 2000}]), json.dumps([GOOD, {}]),
        json.dumps([{**GOOD, "more": 1}]), " " * (1 << 20) + "[]",
    ],
)  # fmt: skip
def test_a_choice_that_somebody_wrote_is_not_taken(loop, entries):
    key = choice_key(loop.opening, loop.bank, "x")
    keep_choice(loop.store, key, [Chosen(4)])
    path = loop.store.root / "openings" / f"{key}.json"
    path.write_text(entries)
    assert find_choice(loop.store, loop.opening, key) is None


# --- at the film's head ---------------------------------------------------------------------------


def film_of(loop: Loop, folder, manifest: dict, **options) -> tuple[StoryExport, object]:
    steps = list_steps(loop, manifest)
    folder.mkdir(exist_ok=True)
    export = StoryExport(
        folder, loop.story, loop.settings, VideoOptions(crf=30, **options), head=head_of(loop)
    )
    return export, export.finish(steps, {}, None)


def test_the_clip_stands_at_the_films_head(loop, tmp_path):
    manifest = {"shots": {}}
    assert run(loop, manifest) == [1, 2, 3]
    counts = [step.record.frames for step in list_steps(loop, manifest)]
    assert counts == [9, 9, 14]
    _, plain = film_of(loop, tmp_path / "film", manifest)
    assert read_info(plain).frames == sum(counts)
    greys = torch.stack([torch.full((16, 16, 3), 20 * i) for i in range(9)]).byte()
    greys[-5:] = loop.opening.frames[-5:]
    headed = replace(loop, opening=OpeningClip(greys, is_in_film=True))
    assert list_steps(headed, manifest)[0].record is not None, "no shot is made again for it"
    _, film = film_of(headed, tmp_path / "film", manifest)
    assert film.name != plain.name, "another film"
    frames = list(read_frames(film))
    assert len(frames) == 9 + sum(counts)
    error = [
        abs(frame.astype(int) - clip.numpy().astype(int)).mean()
        for frame, clip in zip(frames[:4], greys[:4], strict=True)
    ]
    assert max(error) < 4, "the clip's own frames, lossy"
    alone = list(read_frames(plain))
    assert all((a == b).all() for a, b in zip(frames[9:], alone, strict=True)), "copied packets"
    _, again = film_of(headed, tmp_path / "film", manifest)
    assert again == film, "the same film stays"


def test_a_damaged_clip_at_the_head_is_written_again(loop):
    head = FilmHead(clip_of(is_in_film=True), loop.store.root)
    path = head.video(16, 16)
    whole = path.read_bytes()
    for damaged in (whole[:1000], b""):
        path.write_bytes(damaged)
        assert head.video(16, 16) == path
        assert path.read_bytes() == whole


def test_subtitles_begin_after_the_clip_and_a_cut_fades_from_it(loop, tmp_path):
    cut = replace(loop, story=load_story(CUT, default_name="Tale"))
    cut = replace(cut, opening=clip_of(16, is_in_film=True))
    manifest = {"shots": {}}
    run(cut, manifest)
    _, film = film_of(cut, tmp_path / "film", manifest, prompt_subtitles=True)
    text = film.with_suffix(".srt").read_text()
    assert text.startswith("1\n00:00:01,000 --> "), text[:40]
    assert text.count("-->") == 3
    counts = [step.record.frames for step in list_steps(cut, manifest)]
    _, faded = film_of(cut, tmp_path / "faded", manifest, fade_frames=4)
    assert read_info(faded).frames == 16 + sum(counts) - 4 - 4
    continued = replace(loop, opening=clip_of(16, is_in_film=True))
    run(continued, manifest)
    counts = [step.record.frames for step in list_steps(continued, manifest)]
    _, one = film_of(continued, tmp_path / "one", manifest, fade_frames=4)
    assert read_info(one).frames == 16 + sum(counts) - 4, "no fade into a shot that continues"


def test_a_clip_of_another_size_is_resized_as_start_images_are(loop, tmp_path):
    head = FilmHead(clip_of(3, height=32, width=48), tmp_path)
    path = head.video(16, 32)
    info = read_info(path)
    assert (info.width, info.height, info.frames) == (16, 32, 3)
    written = path.stat().st_mtime_ns
    assert head.video(16, 32).stat().st_mtime_ns == written, "written once"
    assert head.video(32, 32) != path
    assert head_of(loop) is None


def test_a_part_of_the_story_that_does_not_begin_it_has_no_head(loop, tmp_path):
    headed = replace(loop, opening=replace(loop.opening, is_in_film=True))
    manifest = {"shots": {}}
    run(headed, manifest)
    part = replace(headed, settings=replace(headed.settings, start_shot=2))
    _, film = film_of(part, tmp_path / "film", manifest)
    counts = [step.record.frames for step in list_steps(headed, manifest)]
    assert read_info(film).frames == sum(counts[1:])


def test_a_plan_says_that_the_first_shot_continues(loop):
    modes = [plan_in(loop, shot, has_previous=shot.index > 0).mode for shot in loop.story.shots]
    assert modes == ["mm2v", "mm2v", "m2v"]
    third = plan_in(loop, replace(loop.story.shots[1], index=1), has_previous=False)
    assert third.mode == "m2v", "the clip is before the first shot alone"
