"""What regenerates a shot: one test for each row of docs/regeneration.md that needs no ComfyUI.

After each change the story is made once more in an empty store. The shots that were kept must then
be the same to the last bit, so that nothing was kept which should have been regenerated.
"""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from helpers.fakes import noise_image
from helpers.not_empty import not_empty
from storymem.files.hashing import digest_of
from storymem.loop.begin import bank_after, begin_shot, load_result
from storymem.loop.cache_keys import READS_RECONSTRUCT
from storymem.loop.opening_clip import OpeningClip
from storymem.loop.opening_memory import Chosen, remember_clip
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.reuse import describe_result, moved_results
from storymem.loop.shot_loras import LoraFiles, LoraMark
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps, lock_warnings
from storymem.memory.bank import start_bank
from storymem.memory.bank_folder import load_bank, save_bank
from storymem.memory.edits import BankEdits, LaterEdits
from storymem.memory.embedders import LayoutEmbedder
from storymem.memory.frame import MemoryFrame
from storymem.memory.picture import Picture
from storymem.script.prompt_weights import has_weights
from storymem.script.reader import load_story

pytestmark = pytest.mark.slow

DOCS = Path(__file__).resolve().parents[2] / "docs" / "regeneration.md"
PROMPTS = ("Mara walks.", "Mara sits.", "Pip barks.", "Mara rows.", "Pip swims.", "Mara sleeps.")
CUTS = (True, False, True, False, False, False)
PICTURES = [noise_image(i, 8, 8).float() / 255 for i in (71, 72)]
ALL = [1, 2, 3, 4, 5, 6]


def tale(prompts=PROMPTS, cuts=CUTS, *, title="Sea", **fields):
    """Fields of the story are given with an underscore before their name."""
    of_story = {name[1:]: fields.pop(name) for name in list(fields) if name.startswith("_")}
    scene = {"video_prompts": list(prompts), "cut": list(cuts), **fields}
    return load_story({"story_name": title, "scenes": [scene], **of_story})


def only(shot: int, value, other=None) -> list:
    """A value for one shot (from 1)."""
    return [value if i == shot else other for i in ALL]


@pytest.fixture
def loop(tmp_path):
    """Room for four frames, of which the first stays. Each shot adds one; the third is the last
    that sees all there is."""
    bank = start_bank(PICTURES, max_frames=4, sink=1, pinned=False)
    settings = LoopSettings(negative="blurry")
    return Loop(tale(), settings, bank, "body", ShotStore(tmp_path / "store"))


def with_bank(loop, **changes):
    return replace(loop, bank=replace(loop.bank, **changes))


def with_settings(loop, **changes):
    return replace(loop, settings=replace(loop.settings, **changes))


def body(loop, step, begun) -> tuple[torch.Tensor, MemoryFrame]:
    """Frames and a keyframe, which depend on all that a node between Open and Close may see."""
    plan, start = step.plan, loop.start_images.get(step.plan.shot.index)
    shot = plan.shot
    given = [] if begun.given is None else (begun.given * 255).round().to(torch.uint8)
    seen = [loop.body, plan.prompt, shot.negative, plan.seed(7), shot.length, shot.lora_strength]
    seen += [[f.digest for f in begun.bank.used()], [f.digest for f in begun.bank.frames]]
    seen += [[Picture(frame).digest for frame in given]]
    seen += [None if start is None else Picture(start).digest]
    seen += [loop.loras.key_of(shot)]  # as a node that applies them would
    seen += [] if plan.end is None else ["end", plan.end.digest]
    seen += ["weights"] if loop.story.prompt_weights and has_weights(plan.prompt) else []
    seed = int(digest_of(seen)[:8], 16)
    frames = torch.rand(12, 8, 8, 3, generator=torch.Generator().manual_seed(seed))
    return frames, MemoryFrame(
        noise_image(seed, 8, 8), shot=shot.index, story=loop.story.name, reason=str(seed)
    )


def run(loop, manifest, edit_bank=None) -> list[int]:
    """Make what is to be made, as the nodes do; numbers of the shots whose body ran."""
    steps, made, before = list_steps(loop, manifest), [], None
    manifest["shots"].update(moved_results(manifest["shots"], loop.story, steps))
    for step in steps:
        if step.record is None:
            begun = begin_shot(loop, step, before)
            step.begin(begun)
        if step.record is None:
            frames, kept = body(loop, step, begun)
            bank = begun.bank.remember([kept])
            bank = edit_bank(bank) if edit_bank else bank
            step.record, step.result = finish_shot(loop, step, frames, bank, crf=30)
            made.append(step.plan.shot.index + 1)
        before = step.result or load_result(loop, step.record)
        manifest["shots"][step.label] = describe_result(step)
    return made


def outcome(loop, manifest) -> list:
    """The last frames of every shot, and the memory of the story as it is in the end."""
    steps = list_steps(loop, manifest)
    bank = bank_after(loop, steps[-1])
    frames = [(f.digest, f.name, f.pinned, f.order, f.edited) for f in bank.frames]
    settings = [bank.max_frames, bank.sink, bank.policy, bank.seen]
    return [[step.record.tail for step in steps], frames, settings]


def made_after(before: Loop, after: Loop, *, is_same=True, edit_bank=None) -> list[int]:
    """Shots that are made when a finished story is changed; what is kept must be what a run that
    never saw the first story makes."""
    root, number = after.store.root, len(list(after.store.root.parent.iterdir()))
    store, empty = (ShotStore(root.with_name(f"{name}_{number}")) for name in ("store", "empty"))
    before, after = replace(before, store=store), replace(after, store=store)
    manifest: dict = {"shots": {}}
    run(before, manifest, edit_bank)
    made = run(after, manifest, edit_bank)
    assert run(after, manifest, edit_bank) == []
    if is_same:
        fresh, told = replace(after, store=empty), {"shots": {}}
        run(fresh, told, edit_bank)
        assert outcome(fresh, told) == outcome(after, manifest)
    return made


# --- the script ----------------------------------------------------------------------------------


def test_a_prompt(loop):
    prompts = [*PROMPTS[:3], "Mara rows slowly.", *PROMPTS[4:]]
    assert made_after(loop, replace(loop, story=tale(prompts))) == [4, 5, 6]


def test_a_shot_before_that_comes_out_the_same(loop):
    """What follows is asked for by what it sees, not by what was changed before it."""
    manifest = {"shots": {}}
    run(loop, manifest)
    step = list_steps(loop, manifest)[1]
    for path in not_empty(step.record.folder.iterdir()):
        path.unlink()
    assert run(loop, manifest) == [2]


def test_a_shot_before_that_leaves_the_same_memory(loop):
    """Its last frames are others: that counts for a shot that continues, and not for a cut."""

    def as_ever(bank):
        fixed = [
            replace(f, picture=Picture(noise_image(500 + f.shot, 8, 8))) if f.shot >= 0 else f
            for f in bank.frames
        ]
        return replace(bank, frames=tuple(fixed))

    for changed, made in ((2, [2]), (3, [3, 4, 5, 6]), (5, [5, 6])):
        prompts = [p + " Rain." if i == changed else p for i, p in enumerate(PROMPTS, 1)]
        after = replace(loop, story=tale(prompts))
        assert made_after(loop, after, edit_bank=as_ever) == made


def test_the_character(loop):
    assert made_after(loop, replace(loop, story=tale(_character="Mara is tall."))) == ALL


def test_the_title(loop):
    assert made_after(loop, replace(loop, story=tale(title="Land"))) == ALL


def test_a_seed(loop):
    assert made_after(loop, replace(loop, story=tale(seed=only(3, 5)))) == [3, 4, 5, 6]


def test_a_length(loop):
    assert made_after(loop, replace(loop, story=tale(length=only(5, 49)))) == [5, 6]


def test_a_lora_strength(loop):
    assert made_after(loop, replace(loop, story=tale(lora_strength=only(6, 0.5)))) == [6]


def with_loras(loop, story, place="between loader and sampler", **files):
    """A loop with these LoRA files (marks by name), and the node that applies them."""
    entries = {entry for shot in story.shots for entry in shot.loras}
    marks = {entry: LoraMark(*[files.get(entry.key, entry.key)] * 2) for entry in entries}
    return replace(loop, story=story, loras=LoraFiles(place, marks))


def test_what_is_heard_and_read(loop):
    said = {
        "audio": only(2, "wind.wav"),
        "dialogue": only(3, "Mara: Go."),
        "subtitle": only(4, "x"),
    }
    assert made_after(loop, replace(loop, story=tale(**said))) == []
    assert made_after(replace(loop, story=tale(**said)), loop) == []


def test_the_persons_of_the_story(loop):
    of = [replace(loop, story=replace(loop.story, reconstruct=f"[Person A] {x}")) for x in "ab"]
    assert made_after(*of) == []
    assert made_after(loop, of[0]) == []
    reads = [replace(one, body=f'["body", "{READS_RECONSTRUCT}"]') for one in of]
    assert made_after(*reads) == [1, 2, 3, 4, 5, 6]


def test_a_length_of_audio(loop):
    def lasting(frames: int, name: str = "wind.wav"):
        story = tale(length=only(5, "audio"), audio=only(5, name))
        return replace(loop, story=story, sound_frames={4: frames})

    before = lasting(20)
    (plan,) = [step.plan for step in list_steps(before, {"shots": {}}) if step.plan.shot.index == 4]
    assert plan.shot.length == 21, "the next 4n+1 that holds them, and one of the shot before"
    assert made_after(before, lasting(18)) == []
    assert made_after(before, lasting(20, "rain.wav")) == []
    assert made_after(before, lasting(30)) == [5, 6]
    assert made_after(before, replace(loop, story=tale(length=only(5, 21)))) == []


def test_loras(loop):
    before = with_loras(loop, tale())
    assert made_after(before, with_loras(loop, tale(loras=only(6, ["ink:0.5"])))) == [6]
    styled = with_loras(loop, tale(loras=only(5, ["ink:0.5"])))
    assert made_after(styled, with_loras(loop, tale(loras=only(5, ["ink:0.6"])))) == [5, 6]
    assert made_after(styled, with_loras(loop, tale(loras=only(5, ["ink:0.5", "fog"])))) == [5, 6]
    assert made_after(styled, before) == [5, 6]


def test_loras_written_otherwise(loop):
    before = with_loras(loop, tale(loras=only(5, ["ink:0.5"])), **{"styles/ink": "ink"})
    again = tale(loras=only(5, [{"name": "styles/ink.safetensors", "strength": 0.5}]))
    assert made_after(before, with_loras(loop, again, **{"styles/ink": "ink"})) == []


def test_a_file_of_loras(loop):
    before = with_loras(loop, tale(loras=only(5, ["ink"])))
    assert made_after(before, with_loras(loop, before.story, ink="another")) == [5, 6]


def test_loras_that_nothing_applies(loop):
    assert made_after(loop, with_loras(loop, tale(loras=only(5, ["ink"])), place="")) == []


def test_loras_that_are_applied_from_now_on(loop):
    assert made_after(loop, with_loras(loop, tale())) == []
    before = replace(loop, story=tale(loras=only(5, ["ink"])))
    after = with_loras(loop, before.story)
    assert made_after(before, after) == [5, 6]
    assert made_after(after, with_loras(loop, before.story, "elsewhere")) == [5, 6]


def test_a_negative_prompt(loop):
    assert made_after(loop, replace(loop, story=tale(negative_prompt=only(5, "x")))) == [5, 6]


def test_a_negative_prompt_that_is_the_one_of_open(loop):
    same = replace(loop, story=tale(negative_prompt=only(2, "blurry")))
    assert made_after(loop, same) == []


def test_a_cut(loop):
    cuts = [*CUTS[:4], True, CUTS[5]]
    assert made_after(loop, replace(loop, story=tale(cuts=cuts))) == [5, 6]


def test_continuity_of_a_shot(loop):
    five = replace(loop, story=tale(continuity=only(4, "last_five_frames")))
    assert made_after(loop, five) == [4, 5, 6]


def test_continuity_of_a_cut(loop):
    assert made_after(loop, replace(loop, story=tale(continuity=only(3, "last_frame")))) == []


def referring(loop, name="hero.png", picture=5):
    story = tale(reference_images=only(4, [name]))
    return replace(loop, story=story, references={name: noise_image(picture, 8, 8)})


def test_a_reference_image(loop):
    assert made_after(loop, referring(loop)) == [4, 5, 6]
    assert made_after(referring(loop), referring(loop, picture=6)) == [4, 5, 6]


def test_the_name_of_a_reference_image(loop):
    assert made_after(referring(loop), referring(loop, "heroine.png")) == []


def test_words_that_no_model_reads(loop):
    told = tale(first_frame_prompt=only(2, "A beach."), mood=only(2, "calm"), _story_overview="x")
    assert made_after(loop, replace(loop, story=told)) == []


def test_a_lock(loop):
    assert made_after(loop, replace(loop, story=tale(lock=only(3, True)))) == []


def test_the_memory_before_a_locked_shot(loop):
    """Another portrait is not seen behind a locked shot, which hands on the memory it had."""
    manifest = {"shots": {}}
    run(loop, manifest)

    def warnings(lock, prompts=PROMPTS, *, bank=loop.bank, **settings) -> list[str]:
        changed = replace(
            with_settings(loop, **settings), story=tale(prompts, lock=lock), bank=bank
        )
        return lock_warnings(changed, list_steps(changed, manifest))

    other = start_bank([PICTURES[0], noise_image(73, 8, 8).float() / 255], max_frames=4, sink=1)
    second = only(2, True)
    assert warnings(second) == []
    assert warnings(second, (PROMPTS[0], "Mara stands.", *PROMPTS[2:])) == []  # its own prompt
    words = "shot 2 is locked, and the shots after it see the memory as it was when it was made"
    for found in (
        warnings(second, bank=other),
        warnings(second, ("Mara runs.", *PROMPTS[1:])),
        warnings(second, redo=(0,)),
    ):
        assert len(found) == 1
        assert words in found[0]
    (found,) = warnings([True, True, False, False, False, False], bank=other)
    assert "shots 1 are locked" not in found
    assert "shot 1 is locked" in found
    assert warnings([True] * 6, bank=other) == []  # nothing comes after them
    assert warnings(only(6, True), bank=other) == []
    assert warnings([None] * 6, bank=other) == []


def test_a_lock_on_a_changed_shot(loop):
    prompts = ["Mara runs.", *PROMPTS[1:3], "Mara rows slowly.", *PROMPTS[4:]]
    locked = tale(prompts, lock=only(4, True))
    assert made_after(loop, replace(loop, story=locked), is_same=False) == [1, 2, 3]


def test_a_take_that_the_script_names(loop):
    """Of shot 3, which was made again since: those after it were made after either."""
    manifest: dict = {"shots": {}}
    run(loop, manifest)
    first = manifest["shots"]["01_03"]["key"]
    other = replace(loop, story=tale(seed=only(3, 5)))
    assert run(other, manifest) == [3, 4, 5, 6]
    back = replace(loop, story=tale(seed=only(3, 6), use_take=only(3, first[:16])))
    assert run(back, manifest) == []
    fresh = replace(loop, story=tale(seed=only(1, 6), use_take=only(3, first[:16])))
    assert run(fresh, manifest) == [1, 2]  # it hands on the memory that it was made with


def test_a_take_that_is_gone(loop):
    gone = replace(loop, story=tale(use_take=only(3, "0123456789abcdef")))
    assert made_after(loop, gone) == []


def test_numbers_of_scenes(loop):
    assert made_after(loop, replace(loop, story=tale(scene_num=7))) == []


def in_a_host(loop, story, **fields):
    """The loop in ComfyUI, whose text encoders read parentheses as weights."""
    return replace(loop, story=replace(story, **fields), reads_weights=True)


def test_prompt_weights(loop):
    prompts = [*PROMPTS[:2], "Pip barks (twice:2).", "Mara rows :)", *PROMPTS[4:]]
    off, on = (in_a_host(loop, tale(prompts), prompt_weights=is_on) for is_on in (False, True))
    assert made_after(off, on) == [3, 4, 5, 6]
    assert made_after(on, off) == [3, 4, 5, 6]
    dark = (in_a_host(with_settings(loop, negative="(dark)"), tale(), prompt_weights=is_on)
            for is_on in (False, True))  # fmt: skip
    assert made_after(*dark, is_same=False) == ALL
    locked = in_a_host(loop, tale(prompts, lock=only(3, True)), prompt_weights=True)
    assert made_after(off, locked, is_same=False) == []


def test_prompt_weights_without_parentheses(loop):
    prompts = [*PROMPTS[:2], "Pip \\ barks :)", *PROMPTS[3:]]
    off, on = (in_a_host(loop, tale(prompts), prompt_weights=is_on) for is_on in (False, True))
    assert made_after(off, on) == []


def test_parentheses_in_films_of_earlier_versions(loop):
    """Those handed every text on as typed, in ComfyUI; headless runs never read weights."""
    prompts = [*PROMPTS[:2], "Pip barks \\(loudly\\).", *PROMPTS[3:]]
    earlier = replace(loop, story=tale(prompts))
    assert made_after(earlier, in_a_host(loop, tale(prompts)), is_same=False) == [3]
    on = in_a_host(loop, tale(prompts), prompt_weights=True)
    assert made_after(earlier, on, is_same=False) == []
    assert made_after(loop, in_a_host(loop, tale())) == []
    headless = replace(loop, story=replace(tale(prompts), prompt_weights=True))
    assert made_after(headless, earlier, is_same=False) == []


def test_cast_under_the_window(loop):
    assert made_after(loop, replace(loop, story=tale(_cast=["Mara", "Pip"]))) == []


def test_a_handle_that_becomes_a_name(loop):
    typed = [prompt if i != 2 else f"{prompt} @mara" for i, prompt in enumerate(PROMPTS)]
    loop = replace(loop, story=tale(typed))
    assert made_after(loop, replace(loop, story=tale(typed, _cast=["Mara"])))[0] == 3
    capital = [prompt.replace("@mara", "@Mara") for prompt in typed]  # a name by itself
    loop = replace(loop, story=tale(capital))
    assert made_after(loop, replace(loop, story=tale(capital, _cast=["Mara"]))) == []


def test_cast_under_entities(loop):
    loop = with_bank(loop, policy="entities")
    assert made_after(loop, replace(loop, story=tale(_cast=["Mara", "Pip"]))) == [6]
    loop = with_bank(loop, policy="entities_only")
    assert made_after(loop, replace(loop, story=tale(_cast=["Mara", "Pip"])))[0] == 3


def test_shots_put_in_or_taken_out(loop):
    more = tale([*PROMPTS[:4], "A gull.", *PROMPTS[4:]], [*CUTS[:4], True, *CUTS[4:]])
    assert made_after(loop, replace(loop, story=more)) == [5, 6, 7]
    fewer = tale(PROMPTS[:5], CUTS[:5])
    assert made_after(loop, replace(loop, story=fewer)) == []


# --- Memory Bank ---------------------------------------------------------------------------------


def start(loop, **changes):
    how = {"max_frames": 4, "sink": 1, "pinned": False, **changes}
    return replace(loop, bank=start_bank(how.pop("pictures", PICTURES), **how))


def test_reference_pictures(loop):
    assert made_after(loop, start(loop, pictures=PICTURES[:1])) == ALL
    assert made_after(loop, start(loop, pictures=PICTURES[::-1])) == ALL


def test_max_frames(loop):
    assert made_after(loop, with_bank(loop, max_frames=3)) == [3, 4, 5, 6]
    assert made_after(loop, with_bank(loop, max_frames=5)) == [4, 5, 6]


def test_max_frames_that_no_shot_reaches(loop):
    wide = with_bank(loop, max_frames=10)
    assert made_after(wide, with_bank(loop, max_frames=7)) == []


def test_sink(loop):
    assert made_after(loop, with_bank(loop, sink=2)) == [4, 5, 6]


def test_sink_while_every_frame_has_a_place(loop):
    assert made_after(with_bank(loop, max_frames=9), with_bank(loop, max_frames=9, sink=3)) == []


def test_pin_references(loop):
    assert made_after(loop, start(loop, pinned=True)) == [4, 5, 6]
    assert made_after(start(loop, pinned=True), loop) == [4, 5, 6]


def test_pin_references_that_are_seen_anyway(loop):
    wide = start(loop, max_frames=9)
    assert made_after(wide, start(loop, max_frames=9, pinned=True)) == []
    assert made_after(start(loop, max_frames=9, pinned=True), wide) == []


def test_pins_of_nodes_between(loop):
    """Edit Memory Bank after Remember, say: its pins hold whatever Memory Bank says meanwhile."""

    def pinning(bank):
        return bank.with_pins(pin=[1]) if len(bank.frames) == 3 else bank

    wide = start(replace(loop, body="pins"), max_frames=9)
    for after in (wide, start(wide, max_frames=9, names=["Mara"]), start(wide, max_frames=3)):
        made_after(wide, after, edit_bank=pinning)


def test_clicks_in_the_gallery(loop):
    manifest = {"shots": {}}
    run(loop, manifest)
    second = next(f for f in bank_after(loop, list_steps(loop, manifest)[-1]).frames if f.shot == 1)
    for kind, made in (("pin", [6]), ("drop", [3, 4, 5, 6])):
        clicked = with_bank(loop, edits=BankEdits(**{kind: (second.digest,)}))
        assert made_after(loop, clicked) == made


def test_clicks_from_a_shot_on(loop):
    manifest = {"shots": {}}
    run(loop, manifest)
    second = next(f for f in bank_after(loop, list_steps(loop, manifest)[-1]).frames if f.shot == 1)
    labels = [shot.label for shot in loop.story.shots]
    for kind, number, made in (("drop", 5, [5, 6]), ("pin", 5, [6]), ("drop", 1, [3, 4, 5, 6])):
        later = LaterEdits(labels[number - 1], **{kind: (second.digest,)})
        assert made_after(loop, with_bank(loop, edits=BankEdits(later=(later,)))) == made


def test_clicks_from_a_shot_on_leave_every_file_before_it_as_it_is(loop):
    manifest = {"shots": {}}
    run(loop, manifest)
    steps = list_steps(loop, manifest)
    first = loop.bank.frames[0].digest
    later = LaterEdits(loop.story.shots[4].label, drop=(first,))
    known = {path: path.read_bytes() for path in files_of(steps[:4])}
    assert run(with_bank(loop, edits=BankEdits(later=(later,))), manifest) == [5, 6]
    assert {path: path.read_bytes() for path in files_of(steps[:4])} == known
    assert run(loop, manifest) == []


def files_of(steps) -> list[Path]:
    return [path for step in steps for path in sorted(step.record.folder.iterdir())]


def test_clicks_from_a_shot_that_is_gone(loop):
    first = loop.bank.frames[0].digest
    edits = BankEdits(later=(LaterEdits("09_01", drop=(first,)),))
    assert made_after(loop, with_bank(loop, edits=edits)) == []
    changed = with_bank(loop, edits=edits)
    (line,) = lock_warnings(changed, list_steps(changed, {}))
    assert "shot 09_01 on have no effect" in line


def test_clicks_that_change_no_view(loop):
    first = loop.bank.frames[0].digest  # seen by every shot as it is
    assert made_after(loop, replace(loop, bank=loop.bank.with_edits(BankEdits(pin=(first,))))) == []


def test_pictures_added_in_the_gallery(loop):
    assert made_after(loop, start(loop, added={"new.png": noise_image(9, 8, 8)})) == ALL


def test_names_given_in_the_gallery(loop):
    labels = BankEdits(names=((loop.bank.frames[1].digest, "Pip"),))
    assert made_after(loop, with_bank(loop, edits=labels)) == []
    listening = with_bank(loop, policy="entities")
    assert made_after(listening, with_bank(listening, edits=labels)) == [5, 6]
    cast = replace(loop, story=tale(_cast=["Mara", "Pip"]))
    only = with_bank(cast, policy="entities_only")  # no shot of Mara's sees the portrait now
    assert made_after(only, with_bank(only, edits=labels))[0] == 1


def test_reference_names(loop):
    named = start(loop, names=["Mara", "Pip"])
    assert made_after(loop, named) == []
    cast = replace(loop, story=tale(_cast=["Mara", "Pip"]))
    listening = with_bank(cast, policy="entities")
    named = with_bank(replace(named, story=cast.story), policy="entities")
    assert made_after(listening, named) == [5, 6]


def test_policy(loop):
    cast = replace(loop, story=tale(_cast=["Mara", "Pip"]))
    assert made_after(cast, with_bank(cast, policy="entities")) == [6]
    # The third shot is Pip's, and the first that had somebody else in view.
    assert made_after(cast, with_bank(cast, policy="entities_only"))[0] == 3
    one = replace(loop, story=tale(["Mara walks."] * 6, _cast=["Mara", "Pip"]))
    assert made_after(one, with_bank(one, policy="entities_only")) == []


def test_policy_while_every_frame_has_a_place(loop):
    wide = with_bank(loop, max_frames=9)
    assert made_after(wide, with_bank(wide, policy="entities")) == []
    assert made_after(wide, with_bank(wide, policy="entities_only")) == []  # nobody is known
    cast = replace(wide, story=tale(_cast=["Mara", "Pip"]))
    assert made_after(cast, with_bank(cast, policy="entities_only"))[0] == 3


class Reader(LayoutEmbedder):
    """Says that a text is like the picture with the middle colour of its own."""

    def __init__(self, identity: str, sign: float):
        super().__init__()
        self.identity, self.sign = identity, sign

    def _embed_text(self, text):
        size = self._embed(noise_image(1, 8, 8)[None]).shape[-1]
        return self.sign * torch.rand(size, generator=torch.Generator().manual_seed(len(text)))


def test_embedder(loop):
    def relevant(embedder):
        bank = replace(loop.bank, policy="relevant", embedder=embedder.full_name)
        return replace(loop, bank=bank, embedder=embedder)

    same, contrary = relevant(Reader("b", 1.0)), relevant(Reader("c", -1.0))
    assert made_after(relevant(Reader("a", 1.0)), same) == []
    assert made_after(relevant(Reader("a", 1.0)), contrary) == [4, 5, 6]


def test_a_bank_from_another_folder(loop, tmp_path):
    save_bank(tmp_path / "one", loop.bank)
    loaded = load_bank(save_bank(tmp_path / "two", loop.bank))
    one = replace(loop, bank=load_bank(tmp_path / "one"))
    assert made_after(one, replace(loop, bank=loaded)) == []
    next((tmp_path / "two").glob("reference*.png")).unlink()
    assert made_after(one, replace(loop, bank=load_bank(tmp_path / "two"))) == ALL


# --- Shot Loop Open ------------------------------------------------------------------------------


def test_continuity(loop):
    five = with_settings(loop, continuity="last_five_frames")
    assert made_after(loop, five) == [2, 3, 4, 5, 6]


def test_continuity_in_a_story_of_cuts(loop):
    loop = replace(loop, story=tale(cuts=[True] * 6))
    assert made_after(loop, with_settings(loop, continuity="last_five_frames")) == []


def test_negative(loop):
    own = replace(loop, story=tale(negative_prompt=["a", "b", "c", "d", None, "f"]))
    assert made_after(own, with_settings(own, negative="dark")) == [5, 6]


def test_filename_prefix(loop):
    assert made_after(loop, with_settings(loop, prefix="other")) == []


def test_the_part_to_work_on(loop):
    for part in ({"start_shot": 3}, {"end_shot": 4}, {"preview": True}):
        assert made_after(loop, with_settings(loop, **part), is_same=False) == []


def test_redo_shots(loop):
    again = with_settings(loop, redo=(3,), take=2)
    assert made_after(loop, again) == [4, 5, 6]


def test_redo_shots_and_keep_later(loop):
    again = with_settings(loop, redo=(3,), take=2, keep_later=True)
    assert made_after(loop, again, is_same=False) == [4]


def test_start_images(loop):
    def beginning(**pictures):
        images = {int(name[1]) - 1: noise_image(seed, 8, 8) for name, seed in pictures.items()}
        return replace(loop, start_images=images)

    assert made_after(loop, beginning(s5=1)) == [5, 6]
    assert made_after(beginning(s5=1), beginning(s5=2)) == [5, 6]


def test_end_images(loop):
    def ending(seed, shot=5):
        return replace(loop, end_images={shot - 1: Picture(noise_image(seed, 8, 8))})

    assert made_after(loop, ending(1)) == [5, 6]
    assert made_after(ending(1), ending(2)) == [5, 6]
    assert made_after(ending(1), loop) == [5, 6]


def opened(loop, seed, **settings):
    """The loop whose story begins from a clip, and continues it."""
    frames = torch.stack([noise_image(100 * seed + i, 8, 8) for i in range(6)])
    story = tale(cuts=(False, *CUTS[1:]))
    return replace(loop, story=story, opening=OpeningClip(frames, **settings))


def test_opening_frames(loop):
    assert made_after(loop, opened(loop, 1)) == ALL
    assert made_after(opened(loop, 1), opened(loop, 2)) == ALL


def test_opening_frames_that_no_shot_continues_from(loop):
    for story in (tale(), tale(cuts=[True] * 6)):
        cut = replace(loop, story=story)
        assert made_after(cut, replace(opened(loop, 1), story=story)) == []


def test_opening_in_film(loop):
    assert made_after(opened(loop, 1), opened(loop, 1, is_in_film=True)) == []


def test_remember_opening(loop):
    clip = opened(loop, 1, is_remembered=True)
    bank = remember_clip(loop.bank, clip.opening, [Chosen(2)])
    assert made_after(opened(loop, 1), replace(clip, bank=bank)) == ALL


def promoted(loop, shot, seed, **words):
    """What a draft gives a shot (from 1) for its memory."""
    return replace(loop, promoted={shot - 1: (MemoryFrame(noise_image(seed, 8, 8), **words),)})


def test_promoted_pictures(loop):
    assert made_after(loop, promoted(loop, 5, 1)) == [5, 6]
    assert made_after(promoted(loop, 5, 1), promoted(loop, 5, 2)) == [5, 6]
    assert made_after(promoted(loop, 5, 1), loop) == [5, 6]


def test_promoted_pictures_under_other_words(loop):
    named = promoted(loop, 5, 1, name="Mara", reason="frame 3")
    assert made_after(promoted(loop, 5, 1), named, is_same=False) == []


def test_promoted_seed(loop):
    assert made_after(loop, replace(loop, seeds={4: 99})) == [5, 6]
    assert made_after(replace(loop, seeds={4: 99}), replace(loop, seeds={4: 98})) == [5, 6]


# --- what lies between ---------------------------------------------------------------------------


def test_nodes_between_open_and_close(loop):
    assert made_after(loop, replace(loop, body="other")) == ALL


# --- the table -----------------------------------------------------------------------------------


def test_every_row_of_the_table_is_a_test_and_every_test_a_row():
    here = Path(__file__)
    rows = re.findall(r"^\|.*\| `(test_\w+)` \|$", DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    tests = []
    for path in (here, here.parents[1] / "host" / "loop" / here.name):
        names = [
            n.name for n in ast.parse(path.read_text(encoding="utf-8")).body if hasattr(n, "name")
        ]
        tests += [name for name in names if name.startswith("test_")]
    tests.remove("test_every_row_of_the_table_is_a_test_and_every_test_a_row")
    assert len(rows) == len(set(rows))
    assert sorted(rows) == sorted(tests)
