"""What a run makes again after random edits of script, memory and settings, against a model that
knows the rules of docs/regeneration.md and nothing of the library: a shot is made when nobody has
made one that is the same and sees the same."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import SimpleNamespace

import pytest
import torch

from helpers.fakes import noise_image
from storymem.files.hashing import digest_of
from storymem.loop import shot_store
from storymem.loop.begin import bank_after, begin_shot, load_result
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.reuse import describe_result, moved_results
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps
from storymem.loop.state import LoopState
from storymem.memory.bank import start_bank
from storymem.memory.edits import BankEdits
from storymem.memory.frame import MemoryFrame
from storymem.memory.picture import Picture
from storymem.script.reader import load_story

pytestmark = pytest.mark.slow

PICTURES = {name: noise_image(i, 4, 4) for i, name in enumerate(("hero.png", "sea.png", "dog.png"))}
DIGESTS = {name: Picture(pixels).digest for name, pixels in PICTURES.items()}
BASE_SEED = 7


@lru_cache(maxsize=10_000)
def film(seen: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The frames of a shot and its keyframe, ``uint8``: other ones for all that it sees."""
    number = int(digest_of(seen)[:8], 16)
    frames = torch.stack([noise_image(number + i, 4, 4) for i in range(7)])
    return frames, noise_image(number + 9, 4, 4)


# --- the model -----------------------------------------------------------------------------------


@dataclass
class Desk:
    """What an artist has set, in plain values."""

    rows: list[dict]
    character: str = ""
    continuity: str = "last_frame"
    negative: str = "blurry"
    body: str = "nodes"
    pictures: list[str] = field(default_factory=list)  # that the memory begins with
    is_pinned: bool = False
    max_frames: int = 4
    sink: int = 1
    clicks: dict[str, list[str]] = field(default_factory=lambda: {"pin": [], "drop": []})
    known: list[str] = field(default_factory=list)  # keyframes, which can be clicked on


def in_view(bank: list[dict], max_frames: int, sink: int) -> list[str]:
    """The first and the last ones; a pinned one takes the place of the oldest of the last ones,
    then of the latest of the first ones."""
    if len(bank) <= max_frames:
        return [frame["digest"] for frame in bank]
    sink = min(sink, max_frames)
    first = list(range(sink))
    last = list(range(len(bank) - (max_frames - sink), len(bank)))
    for i in range(len(bank)):
        if bank[i]["pinned"] and i not in first + last:
            free = [j for j in last if not bank[j]["pinned"]]
            if free:
                last.remove(free[0])
            else:
                first.remove([j for j in first if not bank[j]["pinned"]][-1])
            first.append(i)
    return [bank[i]["digest"] for i in sorted(first + last)]


def expected(desk: Desk, made: set[str]) -> tuple[list[int], list[str]]:
    """Numbers of the shots that a run makes, and what each shot of the story is and sees."""
    bank = [
        {"digest": DIGESTS[name], "order": (-1, i), "pinned": desk.is_pinned}
        for i, name in enumerate(desk.pictures)
    ]
    tail: list[str] = []
    numbers, all_seen = [], []
    for index, row in enumerate(desk.rows):
        clicked = [
            {**frame, "pinned": frame["pinned"] or frame["digest"] in desk.clicks["pin"]}
            for frame in bank
            if frame["digest"] not in desk.clicks["drop"]
        ]
        for i, name in enumerate(row["references"]):
            if DIGESTS[name] not in [frame["digest"] for frame in clicked]:
                bank.append({"digest": DIGESTS[name], "pinned": False,
                             "order": (index, i - len(row["references"]))})  # fmt: skip
        bank.sort(key=lambda frame: frame["order"])
        clicked = [
            {**frame, "pinned": frame["pinned"] or frame["digest"] in desk.clicks["pin"]}
            for frame in bank
            if frame["digest"] not in desk.clicks["drop"]
        ]
        count = 0
        if index and not row["cut"] and not row["start"] and desk.continuity != "cut":
            count = 5 if (row["continuity"] or desk.continuity) == "last_five_frames" else 1
        text = f"{desk.character}\n{row['prompt']}" if desk.character else row["prompt"]
        seed = BASE_SEED + index if row["seed"] is None else row["seed"]
        seen = repr([
            index, text, seed, row["seed"] is None, row["length"], row["lora_strength"],
            desk.negative if row["negative"] is None else row["negative"], count,
            [DIGESTS[name] for name in row["references"]], row["start"] or None, desk.body,
            in_view(clicked, desk.max_frames, desk.sink), [f["digest"] for f in clicked],
            tail[len(tail) - count:],
        ])  # fmt: skip
        if seen not in made:
            numbers.append(index + 1)
        frames, kept = film(seen)
        tail = [Picture(frame).digest for frame in frames[-5:]]
        bank.append({"digest": Picture(kept).digest, "order": (index, 0), "pinned": False})
        all_seen.append(seen)
    return numbers, all_seen


# --- the library ---------------------------------------------------------------------------------


def loop_of(desk: Desk, store: ShotStore) -> Loop:
    fields = {
        "video_prompts": "prompt", "cut": "cut", "seed": "seed", "length": "length",
        "continuity": "continuity", "lora_strength": "lora_strength",
        "negative_prompt": "negative", "reference_images": "references",
    }  # fmt: skip
    scene = {name: [row[of_row] for row in desk.rows] for name, of_row in fields.items()}
    scene["cut"][0] = True
    script = {"story_name": "Tale", "scenes": [scene], "character": desk.character}
    bank = start_bank(
        [PICTURES[name].float() / 255 for name in desk.pictures], max_frames=desk.max_frames,
        sink=desk.sink, pinned=desk.is_pinned,
        edits=BankEdits(**{kind: tuple(digests) for kind, digests in desk.clicks.items()}),
    )  # fmt: skip
    settings = LoopSettings(desk.continuity, negative=desk.negative)
    starts = {i: PICTURES[row["start"]] for i, row in enumerate(desk.rows) if row["start"]}
    return Loop(load_story(script, quiet=True), settings, bank, desk.body, store, PICTURES, starts)


def seen_by(loop: Loop, body: str, plan, bank, given) -> str:
    """All that the nodes between Open and Close may see."""
    shot = plan.shot
    tail = [] if given is None else (given * 255).round().to(torch.uint8)
    starts = {DIGESTS[name]: name for name in DIGESTS}
    start = loop.start_images[shot.index] if plan.has_start else None
    return repr([
        shot.index, plan.prompt, plan.seed(BASE_SEED), shot.seed is None, shot.length,
        shot.lora_strength, shot.negative, plan.overlap_frames,
        [DIGESTS[name] for name in shot.references],
        None if start is None else starts[Picture(start).digest], body,
        [frame.digest for frame in bank.used()], [frame.digest for frame in bank.frames],
        [Picture(frame).digest for frame in tail],
    ])  # fmt: skip


def make(seen: str, shot, given: int, bank):
    frames, kept = film(seen)
    frames = torch.cat([frames[:1].expand(given, -1, -1, -1), frames]).float() / 255
    return frames, bank.remember([MemoryFrame(kept, story="Tale", shot=shot.index)])


def run(loop: Loop, manifest: dict) -> tuple[list[int], dict[int, str]]:
    """Make what is to be made, as the nodes do: numbers of the shots, and what each of them saw."""
    steps, seen, before = list_steps(loop, manifest), {}, None
    manifest["shots"].update(moved_results(manifest["shots"], loop.story, steps))
    for step in steps:
        if step.record is None:
            begun = begin_shot(loop, step, before)
            step.begin(begun)
        if step.record is None:
            what = seen_by(loop, loop.body, step.plan, begun.bank, begun.given)
            frames, bank = make(what, step.plan.shot, step.plan.overlap_frames, begun.bank)
            step.record, step.result = finish_shot(loop, step, frames, bank, crf=30)
            seen[step.plan.shot.index + 1] = what
        before = step.result or load_result(loop, step.record)
        manifest["shots"][step.label] = describe_result(step)
    return list(seen), seen


def run_on_one_wire(loop: Loop, body: str) -> tuple[list[int], list[str]]:
    """The same by the nodes of one wire: numbers of the shots that were made, and all keys."""
    state, made = LoopState(replace(loop, body=""), loop.bank), []
    while not state.is_done:
        plan, bank, given = state.begin()
        record = state.find(body)
        if record is not None:
            state = state.reuse(body, record)
            continue
        what = seen_by(loop, body, plan, bank, given)
        frames, bank = make(what, plan.shot, plan.overlap_frames, bank)
        state = state.finish(body, frames, bank, crf=30)
        made.append(plan.shot.index + 1)
    return made, [step.record.key for step in state.steps]


# --- an artist at work ---------------------------------------------------------------------------


def new_row(chance: random.Random) -> dict:
    row = {"prompt": chance.choice(["Mara sits.", "Pip barks.", "A gull."]), "seed": None}
    row |= {"cut": chance.random() < 0.4, "length": None, "continuity": None, "negative": None}
    return row | {"lora_strength": None, "references": [], "start": ""}


def edit(desk: Desk, chance: random.Random) -> None:
    rows = desk.rows
    row = chance.choice(rows)
    kind = chance.choice([
        "insert", "delete", "move", "prompt", "cut", "seed", "length", "negative", "lora_strength",
        "continuity of a shot", "references", "start", "clicks", "clicks", "clicks", "window",
        "pictures", "of all",
    ])  # fmt: skip
    names = chance.sample(list(PICTURES), 2)
    if kind == "insert" and len(rows) < 7:
        rows.insert(chance.randint(0, len(rows)), new_row(chance))
    elif kind == "delete" and len(rows) > 3:
        rows.remove(row)
    elif kind == "move":
        rows.insert(chance.randrange(len(rows)), rows.pop(chance.randrange(len(rows))))
    elif kind == "prompt":
        row["prompt"] = new_row(chance)["prompt"]
    elif kind == "cut":
        row["cut"] = not row["cut"]
    elif kind == "seed":
        row["seed"] = chance.choice([None, 0, BASE_SEED, 2**64 - 1])
    elif kind == "length":
        row["length"] = chance.choice([None, 13, 17])
    elif kind == "negative":
        row["negative"] = chance.choice([None, "", "rain", desk.negative])
    elif kind == "lora_strength":
        row["lora_strength"] = chance.choice([None, 0.0, 1.0])
    elif kind == "continuity of a shot":
        row["continuity"] = chance.choice([None, "last_frame", "last_five_frames"])
    elif kind == "references":
        row["references"] = chance.choice([[], names[:1], names])
    elif kind == "start":
        row["start"] = chance.choice(["", names[0]])
    elif kind == "clicks":
        frames = [*desk.known, *DIGESTS.values()]
        of_kind = chance.choice(["pin", "drop"])
        desk.clicks[of_kind] = chance.choice([[], [chance.choice(frames)]])
        both = {*desk.clicks["pin"]} & {*desk.clicks["drop"]}
        desk.clicks["pin"] = [digest for digest in desk.clicks["pin"] if digest not in both]
    elif kind == "window":
        desk.max_frames, desk.sink = chance.choice([(4, 1), (3, 0), (4, 2), (5, 5), (9, 3)])
    elif kind == "pictures":
        desk.pictures = chance.choice([[], names[:1], names])
        desk.is_pinned = chance.random() < 0.5
    elif kind == "of all":
        desk.character = chance.choice(["", "", "Mara is tall."])
        desk.continuity = chance.choice(["last_frame", "last_five_frames", "cut"])
        desk.negative = chance.choice(["blurry", "", "rain"])
        desk.body = chance.choice(["nodes", "nodes", "other nodes"])


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Real records, whose film is a byte for each frame."""

    def write(path, frames, **_):
        path.write_bytes(bytes(sum(1 for _ in frames)))

    monkeypatch.setattr(shot_store, "write_video", write)
    monkeypatch.setattr(
        shot_store, "read_info", lambda path: SimpleNamespace(frames=path.stat().st_size)
    )
    monkeypatch.setattr(shot_store, "sync_later", lambda path: None)
    return ShotStore(tmp_path)


@pytest.mark.parametrize(
    "seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))]
)
def test_after_any_edit_just_what_changed_is_made(store, seed):
    chance = random.Random(seed)
    desk = Desk([new_row(chance) for _ in range(5)])
    made: set[str] = set()
    manifest: dict = {"shots": {}}
    kept = 0
    for turn in range(12):
        loop = loop_of(desk, store)
        numbers, seen = expected(desk, made)
        has_starts = any(row["start"] for row in desk.rows)  # which one wire does not know
        is_made = turn % 3 == 2 and not has_starts
        if is_made:
            assert run_on_one_wire(loop, desk.body)[0] == numbers, desk
        told, saw = run(loop, manifest)
        assert told == ([] if is_made else numbers), desk
        assert saw == {number: seen[number - 1] for number in told}
        steps = list_steps(loop, manifest)
        keys = [step.key for step in steps]
        assert has_starts or run_on_one_wire(loop, desk.body) == ([], keys)
        assert None not in [step.record for step in steps]
        made |= set(seen)
        kept += len(seen) - len(numbers)
        bank = bank_after(loop, steps[-1])
        desk.known = sorted({f.digest for f in (*bank.frames, *bank.dropped)} - {*DIGESTS.values()})
        for _ in range(chance.choice([1, 1, 2])):
            edit(desk, chance)
    assert kept > 10
