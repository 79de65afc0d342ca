"""Memory that listens to the prompt, in the loop: what a shot sees, and which are regenerated."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from helpers.fakes import noise_image
from storymem.loop.begin import begin_shot, load_result
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.reuse import describe_result
from storymem.loop.run_memory import begin_memory, with_settings
from storymem.loop.seen import seen_by
from storymem.loop.shot_memory import shot_memory, with_names
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps
from storymem.memory.bank import MemoryBank, start_bank
from storymem.memory.edits import BankEdits
from storymem.memory.embedders import Embedder, LayoutEmbedder
from storymem.memory.frame import MemoryFrame
from storymem.memory.retrieval import known_names
from storymem.script.reader import load_story

CAST = "Mara is a woman in a raincoat.\nPip is a small terrier."
PROMPTS = ["Mara walks.", "Pip barks."] + ["Mara rows."] * 6 + ["Pip returns."]


def story(prompts=PROMPTS, **fields):
    scene = {"video_prompts": list(prompts), "cut": [True] * len(prompts)}
    return load_story({"story_name": "Sea", "character": CAST, "scenes": [scene], **fields})


def frame(shot: int, **facts) -> MemoryFrame:
    return MemoryFrame(noise_image(shot + 100, 8, 8), shot=shot, story="Sea", **facts)


def bank_after(count: int, **settings) -> MemoryBank:
    frames = settings.pop("frames", tuple(frame(shot) for shot in range(count)))
    return MemoryBank(frames, **{"max_frames": 4, "sink": 1, "policy": "entities", **settings})


def seen(bank: MemoryBank) -> list[int]:
    return [frame.shot for frame in bank.used()]


def listen(bank: MemoryBank, tale, shot, embedder=None) -> MemoryBank:
    """The bank as ``shot`` gets it."""
    memory = shot_memory(bank, tale, shot, embedder=embedder)
    assert [f.digest for f in memory.frames] == [f.digest for f in memory.bank.used()]
    return memory.bank


def test_someone_who_returns_is_in_view_again():
    tale = story()
    bank = listen(bank_after(8), tale, tale.shots[8])
    assert seen(bank) == [0, 1, 6, 7]
    assert bank.choice.reasons[1] == "shows Pip"
    assert seen(replace(bank, policy="window", choice=None)) == [0, 5, 6, 7]


def test_nothing_is_chosen_while_every_frame_has_a_place():
    tale = story()
    bank = listen(bank_after(4), tale, tale.shots[8])
    assert bank.choice is None
    assert bank.seen == {frame(shot).digest: "there was room for all" for shot in range(4)}
    assert listen(replace(bank, policy="window"), tale, tale.shots[8]).seen == {}


def test_those_who_are_not_in_the_shot_are_left_out_though_every_frame_has_a_place():
    tale = story()
    bank = bank_after(4, policy="entities_only", frames=(frame(0, pinned=True), frame(1), frame(2)))
    memory = shot_memory(bank, tale, tale.shots[8])
    assert memory.reasons == {1: "there was room for all"}
    assert [f.shot for f in memory.frames] == [1]
    other = "waits: shows nobody in the shot, only Mara"
    assert memory.bank.seen == {
        frame(0).digest: other,
        frame(1).digest: "there was room for all",
        frame(2).digest: other,
    }
    nobody = replace(tale.shots[8], prompt="She returns.")
    asked = shot_memory(replace(bank, policy="entities"), tale, nobody)
    memory = shot_memory(bank, tale, nobody)
    assert (memory.indices, memory.reasons) == (asked.indices, asked.reasons)
    assert memory.bank.seen == asked.bank.seen


def test_of_the_frames_that_remain_entities_only_chooses_as_entities_does():
    tale = story()
    bank = bank_after(8, policy="entities_only", max_frames=3)
    about_mara = listen(bank, tale, tale.shots[6])
    assert seen(about_mara) == [0, 6, 7]
    assert about_mara.choice.reasons[0] == "sink: one of the first frames"
    assert about_mara.seen[frame(1).digest] == "waits: shows nobody in the shot, only Pip"


def test_a_picture_that_is_in_the_bank_twice_is_seen_by_one_of_the_two():
    tale = story()
    twice = (frame(1, prompt="Mara walks."), replace(frame(1, prompt="Pip barks."), shot=2))
    bank = listen(bank_after(0, policy="entities_only", frames=twice), tale, tale.shots[8])
    assert bank.choice.indices == (1,)
    assert bank.seen == {frame(1).digest: "there was room for all"}


def test_the_character_block_is_no_mention():
    """It stands before every prompt and names everybody."""
    tale = story()
    assert seen(listen(bank_after(8), tale, tale.shots[3])) == [0, 5, 6, 7]


def test_labels_count_before_prompts():
    tale = story()
    pip = frame(0)
    bank = bank_after(8).with_edits(BankEdits(names=((pip.digest, "Pip"), (frame(1).digest, ""))))
    assert seen(listen(bank, tale, tale.shots[8])) == [0, 5, 6, 7]  # shot 2 shows nobody now
    by_name = replace(bank_after(8), frames=(frame(0, name="pip_front-02.png"), *bank.frames[1:]))
    by_name = by_name.with_edits(BankEdits(names=((frame(1).digest, "nobody"),)))
    chosen = listen(by_name, tale, tale.shots[8])
    assert chosen.choice.reasons[0] == "shows Pip"


def test_whom_an_artist_names_is_one_of_the_cast():
    tale = story(character="", prompts=["A woman walks.", *["Ada rows."] * 7, "A woman returns."])
    returns = replace(tale.shots[8], prompt="Ada returns with a heron & a cat.")
    assert known_names(bank_after(8), tale) == ()
    labels = ((frame(0).digest, "Ada and @heron, 7"), (frame(2).digest, "a cat"))
    bank = bank_after(8, sink=0).with_edits(BankEdits(names=labels))
    assert known_names(bank, tale) == ("Ada", "heron", "a cat")
    bank = listen(bank, tale, returns)
    assert {bank.choice.reasons[i] for i in (0, 2)} == {"shows heron", "shows a cat"}


def test_whom_the_frames_show_by_themselves_is_there_to_look_at():
    labels = BankEdits(names=((frame(0).digest, "Pip"),))
    bank = with_names(bank_after(2).with_edits(labels), story())
    assert bank.shows == {frame(0).digest: ("Mara",), frame(1).digest: ("Pip",)}
    nobody = story(character="", prompts=["Rain."])
    assert with_names(bank_after(2), nobody).shows == {}


def test_a_file_name_that_names_nobody_leaves_it_to_the_prompt():
    tale = story()
    bank = replace(
        bank_after(8), frames=(frame(0), frame(1, name="x.png"), *bank_after(8).frames[2:])
    )
    assert 1 in seen(listen(bank, tale, tale.shots[8]))


def test_frames_of_another_story_show_nobody_by_its_prompts():
    tale = story()
    others = tuple(replace(f, story="Land") for f in bank_after(8).frames)
    assert seen(listen(replace(bank_after(8), frames=others), tale, tale.shots[8])) == [0, 5, 6, 7]


def test_a_frame_shows_whom_its_prompt_named_wherever_its_shot_stands_now():
    tale = story(["Mara is new here.", *PROMPTS])
    bank = bank_after(9)
    frames = [frame(i, prompt=prompt) for i, prompt in enumerate(PROMPTS)]  # as if never moved
    told = replace(bank, frames=(*frames, frame(20, prompt="Pip swims.")))
    assert 1 in seen(listen(told, tale, tale.shots[9]))
    assert 20 in seen(listen(told, tale, tale.shots[9]))
    assert 1 not in seen(listen(bank, tale, tale.shots[9]))  # an earlier version's: shot 2 by place
    other = replace(told, frames=tuple(replace(f, story="Land") for f in told.frames))
    assert 1 not in seen(listen(other, tale, tale.shots[9]))


def test_names_of_reference_pictures_are_given_in_order():
    pictures = [torch.rand(8, 8, 3) for _ in range(3)]
    bank = start_bank(pictures, names=["Mara", "Pip"])
    assert [f.name for f in bank.frames] == ["Mara", "Pip", ""]
    with pytest.raises(ValueError, match="3 names"):
        start_bank(pictures[:2], names=["a", "b", "c"])


class WordEmbedder(Embedder):
    """A frame of shot n is one with the word for n; texts are about the shots that they number."""

    name = "words"

    def __init__(self):
        super().__init__()
        self.known = {frame(n).digest: n for n in range(20)}
        self.released = 0

    def release(self):
        self.released += 1

    def _embed(self, frames):
        shots = [self.known[MemoryFrame(picture).digest] for picture in frames]
        return torch.eye(20)[shots] + 0.1

    def _embed_text(self, text):
        vector = torch.zeros(20)
        for place, word in enumerate(text.split()):
            if word.isdigit():
                vector[int(word)] = 1.0 - 0.1 * place
        return vector + 0.01


def test_relevant_takes_what_the_prompt_speaks_of():
    tale = story(["x"] * 8 + ["about 5 and 2"])
    embedder = WordEmbedder()
    bank = listen(bank_after(8, policy="relevant"), tale, tale.shots[8], embedder)
    assert seen(bank) == [0, 2, 5, 7]
    assert bank.choice.reasons[5].startswith("related to the prompt (0.")
    assert embedder.released == 1


def test_relevant_without_an_embedder_of_words_is_told():
    tale = story()
    with pytest.raises(ValueError, match="connect Load Embedder"):
        listen(bank_after(8, policy="relevant"), tale, tale.shots[8])
    with pytest.raises(ValueError, match="cannot compare pictures with words"):
        listen(bank_after(8, policy="relevant"), tale, tale.shots[8], LayoutEmbedder())


def test_an_unknown_policy_is_told():
    with pytest.raises(ValueError, match="window, relevant, entities, entities_only,"):
        MemoryBank(policy="best")


def test_a_choice_holds_for_its_shot_only():
    tale = story()
    bank = listen(bank_after(8), tale, tale.shots[8])
    after = bank.remember([frame(8)])
    assert after.choice is None
    assert seen(after) == [0, 6, 7, 8]
    assert after.seen[frame(1).digest] == "shows Pip"  # for the gallery: why the shot saw it


# --- in the loop ---------------------------------------------------------------------------------


@pytest.fixture
def loop(tmp_path):
    """Room for four frames, of which the first stays; every shot adds one keyframe."""
    return Loop(story(), LoopSettings(), MemoryBank(max_frames=4, sink=1), "b", ShotStore(tmp_path))


def with_policy(loop, policy, embedder=None):
    name = embedder.full_name if embedder else ""
    return replace(loop, bank=replace(loop.bank, policy=policy, embedder=name), embedder=embedder)


def run(loop, until=99, manifest=None) -> dict[int, list[int]]:
    """Make what is to be made; what each shot whose body ran saw (shots from 0)."""
    made, before, manifest = {}, None, manifest or {"shots": {}}
    for step in list_steps(loop, manifest)[:until]:
        index = step.plan.shot.index
        if step.record is None:
            begun = begin_shot(loop, step, before)
            step.begin(begun)
            if step.record is None:
                bank = begun.bank
                made[index] = seen(bank)
                bank = bank.remember([frame(index)])
                step.record, _ = finish_shot(loop, step, torch.rand(4, 16, 16, 3), bank, crf=30)
        before = load_result(loop, step.record)
        manifest["shots"][step.label] = describe_result(step)
    return made


def test_another_policy_makes_anew_from_the_first_shot_that_sees_something_else(loop):
    assert list(run(loop)) == list(range(9))
    # Only the last shot speaks of Pip, whom the window has lost; the others see the same frames.
    assert run(with_policy(loop, "entities")) == {8: [0, 1, 6, 7]}
    assert run(loop) == {}
    assert run(with_policy(loop, "entities")) == {}


def test_entities_only_makes_anew_from_the_first_shot_that_had_others_in_view(loop):
    run(loop)
    only = with_policy(loop, "entities_only")
    # Pip's shot is now made without Mara, and Mara's without Pip until the window had lost him.
    assert run(only) == {1: [], 2: [0], 3: [0, 2], 4: [0, 2, 3], 8: [1]}
    assert run(only) == {}
    assert run(loop) == {}


def test_why_a_frame_was_left_out_outlives_a_restart(loop):
    only, manifest = with_policy(loop, "entities_only"), {"shots": {}}
    run(only, manifest=manifest)
    last = list_steps(only, manifest)[-1].record
    bank = with_settings(only, loop.store.load(last).bank)
    assert bank.seen[frame(0).digest] == "waits: shows nobody in the shot, only Mara"
    assert bank.seen[frame(1).digest] == "there was room for all"


def test_relevant_makes_anew_from_the_first_shot_that_has_to_choose(loop):
    run(loop)
    listening = with_policy(loop, "relevant", embedder=WordEmbedder())
    assert list(run(listening)) == [5, 6, 7, 8]
    assert run(listening) == {}


@pytest.mark.parametrize("policy", ["entities", "relevant"])
def test_a_run_that_was_cut_off_goes_on_where_it_was(loop, policy):
    listening = with_policy(loop, policy, embedder=WordEmbedder())
    first = run(listening, until=6)
    rest = run(listening)
    assert list(first) + list(rest) == list(range(9))
    assert run(listening) == {}


def test_the_frames_of_a_locked_shot_that_moved_keep_their_names(loop):
    """Its memory is the one of the old script, in which the second shot, not the third, was Pip."""
    listening, manifest = with_policy(loop, "entities"), {"shots": {}}
    run(listening, manifest=manifest)
    prompts = ["Mara is new here.", *PROMPTS, "Pip sleeps."]
    held = [{"prompt": text, "lock": text == "Pip returns."} for text in prompts]
    moved = replace(listening, story=story(held))
    step = list_steps(moved, manifest)[9]
    assert step.reason == "locked"
    for bank in (loop.store.load(step.record).bank, loop.store.outline(step.record)):
        memory = begin_memory(moved, moved.story.shots[10], bank)
        assert memory.reasons[1] == "shows Pip"


def test_labels_make_anew_only_what_they_change(loop):
    listening = with_policy(loop, "entities")
    run(listening)
    edits = BankEdits(names=((frame(3).digest, "Pip"),))
    relabelled = replace(listening, bank=listening.bank.with_edits(edits))
    # Shots 7 and 8 are about Mara, whose newest frames no longer have the fourth among them; shot
    # 8 had left that one out before.
    assert run(relabelled) == {6: [0, 2, 4, 5], 8: [0, 1, 3, 7]}


def test_what_the_last_shot_saw_and_the_policy_outlive_a_restart(loop):
    listening, manifest = with_policy(loop, "entities"), {"shots": {}}
    run(listening, manifest=manifest)
    last = list_steps(listening, manifest)[-1].record
    bank = with_names(with_settings(listening, loop.store.load(last).bank), listening.story)
    assert (bank.policy, bank.seen[frame(1).digest]) == ("entities", "shows Pip")
    assert [f.shot for f in bank.frames if f.digest in bank.seen] == [0, 1, 6, 7]
    assert bank.shows[frame(8).digest] == ("Pip",)
    assert with_settings(loop, bank).seen == {}  # the window tells by itself


def test_a_record_without_what_was_seen_is_still_read(loop):
    run(loop)
    last = list_steps(loop, {})[-1].record
    body = json.loads(json.loads((last.folder / "record.json").read_text())["record"])
    assert "seen" not in body["bank"]
    assert with_settings(with_policy(loop, "entities"), loop.store.load(last).bank).seen == {}


def test_window_asks_nobody(loop):
    class Untouchable(Embedder):
        def _embed(self, frames):
            raise AssertionError("the paper's window needs no embedder")

    assert len(run(with_policy(loop, "window", embedder=Untouchable()))) == 9


def test_another_clip_file_makes_anew_only_what_it_chooses_otherwise(loop):
    class Contrary(WordEmbedder):
        def _embed_text(self, text):
            vector = super()._embed_text(text)
            return -vector if "about" in text else vector

    one, other, contrary = WordEmbedder(), WordEmbedder(), Contrary()
    one.identity, other.identity, contrary.identity = "01ab", "77ff", "99cc"
    loop = replace(loop, story=story(["x"] * 8 + ["about 5 and 2"]))
    run(with_policy(loop, "relevant", embedder=one))
    assert run(with_policy(loop, "relevant", embedder=other)) == {}
    made = run(with_policy(loop, "relevant", embedder=contrary))
    assert list(made) == [8]
    assert 5 not in made[8]


def test_what_is_remembered_makes_anew_only_the_shots_that_see_something_else(loop):
    run(loop)
    scene = {
        "video_prompts": list(PROMPTS),
        "cut": [True] * len(PROMPTS),
        "remember": [None, [{"who": "Pip", "weight": 3}], *[None] * 7],
    }
    tale = load_story({"story_name": "Sea", "character": CAST, "scenes": [scene]})
    told = replace(loop, story=tale)
    # Four fit till the fifth shot; from the sixth on the window would have lost Pip.
    assert run(told) == {5: [0, 1, 3, 4], 6: [0, 1, 4, 5], 7: [0, 1, 5, 6], 8: [0, 1, 6, 7]}
    assert run(told) == {}
    assert run(loop) == {}
    steps = list_steps(told, {"shots": {}})
    bank = load_result(told, steps[-1].record).bank
    assert bank.seen[frame(1).digest] == "kept for Pip, weight 3"
    saw = seen_by(loop.store, steps[-1].record)
    assert saw.is_sure
    assert saw.bank.choice.reasons[1] == "kept for Pip, weight 3"
