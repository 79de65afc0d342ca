"""What is in a shot's key and what is not, field by field: one that is missing keeps a shot that
should be regenerated, one too many regenerates every artist's films."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from helpers.fakes import noise_image
from helpers.not_empty import not_empty
from storymem.files.hashing import digest_of
from storymem.headless.judges import SelectionModels
from storymem.headless.runner import RunSettings, StoryRun
from storymem.loop import render_version
from storymem.loop.cache_keys import is_plain_text, own_key, shot_key, shot_pictures, telling_facts
from storymem.loop.memory_choice import CHOOSES
from storymem.loop.neutral_inputs import NEUTRAL
from storymem.loop.plan import Loop, LoopSettings, Step, plan_shot
from storymem.loop.render_version import PARTS, PARTS_OF_NODES, Part
from storymem.loop.run_memory import begin_memory
from storymem.loop.shot_memory import ShotMemory, describe_settings
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import way_of
from storymem.memory.bank import MemoryBank
from storymem.memory.edits import BankEdits
from storymem.memory.frame import MemoryFrame
from storymem.memory.policies import BY_NAMES, POLICIES
from storymem.sampling.continuity import ShotPlan
from storymem.sampling.recipe import Recipe
from storymem.script.story import Shot, Story

SHOT = Shot(3, 2, 1, "Mara (sits:1.2)", False, 0, 13, "rain", "last_frame", 0.5, ("hero.png",))
PLAN = ShotPlan(SHOT, "Tale", "Tall.\nMara (sits:1.2)", "mi2v")
HERO, START = noise_image(5), noise_image(6)
FRAMES = tuple(MemoryFrame(noise_image(i), shot=i, story="Tale") for i in range(4))
# A change of these regenerates every finished film: hours of every artist's card.
OWN = "ae5ce59331b61a08"
SEEN = "450d9b2eaabeb9fa"
OWN_PLAIN = "fe3a5b04bb185b59"  # of a text with parentheses, in ComfyUI
OWN_STARTED = "168ff241ba21791e"  # of a shot with a start image


@pytest.fixture
def loop(tmp_path):
    shots = tuple(replace(SHOT, index=i, number=i + 1) for i in range(5))
    return Loop(
        Story("Tale", shots), LoopSettings(), MemoryBank(FRAMES, max_frames=3, sink=1), "body",
        ShotStore(tmp_path), {"hero.png": HERO, "copy.png": HERO, "other.png": START}, {3: START},
    )  # fmt: skip


def other_shot(**fields) -> ShotPlan:
    return replace(PLAN, shot=replace(SHOT, **fields))


def test_keys_are_what_they_always_were(loop):
    own = own_key(loop, PLAN)
    memory = ShotMemory(loop.bank, (0, 2, 3))
    assert own[:16] == OWN
    assert shot_key(own, memory, [FRAMES[1].digest])[:16] == SEEN
    assert own_key(replace(loop, reads_weights=True), PLAN)[:16] == OWN_PLAIN
    assert own_key(loop, replace(PLAN, has_start=True))[:16] == OWN_STARTED


# --- what a shot is -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"index": 4},
        {"prompt": "Mara stands"},
        {"seed": None},
        {"seed": 1},
        {"length": None},
        {"length": 17},
        {"negative": None},
        {"negative": ""},
        {"lora_strength": None},
        {"lora_strength": 0.25},
        {"references": ()},
        {"references": ("other.png",)},
        {"references": ("hero.png", "other.png")},
    ],
)
def test_what_shows_in_a_shots_pixels_is_in_its_key(loop, fields):
    assert own_key(loop, other_shot(**fields)) != own_key(loop, PLAN)


@pytest.mark.parametrize(
    "fields",
    [
        {"scene": 7},
        {"number": 9},
        {"cut": True},
        {"continuity": None},
        {"first_frame_prompt": "a boat"},
        {"lock": True},
        {"row": "r1"},
        {"start_image": "a.png"},  # its picture is, once it is read
        {"references": ("copy.png",)},  # the same picture
    ],
)
def test_what_shows_nowhere_is_not(loop, fields):
    assert own_key(loop, other_shot(**fields)) == own_key(loop, PLAN)


@pytest.mark.parametrize(
    "fields",
    [{"story": "Else"}, {"prompt": "Short.\nMara (sits:1.2)"}, {"mode": "mm2v"}, {"mode": "m2v"}],
)
def test_what_the_loop_decides_is_in_the_key(loop, fields):
    assert own_key(loop, replace(PLAN, **fields)) != own_key(loop, PLAN)


def test_the_nodes_and_the_order_of_pictures_are_in_the_key(loop):
    assert own_key(replace(loop, body="other"), PLAN) != own_key(loop, PLAN)
    there, back = (other_shot(references=names) for names in
                   (("hero.png", "other.png"), ("other.png", "hero.png")))  # fmt: skip
    assert own_key(loop, there) != own_key(loop, back)


def test_a_start_image_counts_where_the_shot_begins_with_it(loop):
    """It is no reference image, even where it is the same picture."""
    begun = replace(PLAN, has_start=True)
    hero, start = (MemoryFrame(pixels).digest for pixels in (HERO, START))
    assert shot_pictures(loop, PLAN) == [hero]
    assert shot_pictures(loop, begun) == [hero, f"start {start}"]
    other = replace(loop, start_images={3: noise_image(7), 4: START})
    assert own_key(other, PLAN) == own_key(loop, PLAN)
    keys = {own_key(loop, PLAN), own_key(loop, begun), own_key(other, begun)}
    assert len(keys) == 3


@pytest.mark.parametrize(
    ("prompt", "negative", "reads", "told", "is_plain"),
    [
        ("(sits:1.2)", None, True, False, True),
        ("sits", "(rain)", True, False, True),
        ("sits", "rain", True, False, False),
        ("sits", None, True, False, False),
        ("(sits:1.2)", "(rain)", True, True, False),  # Load Story says that they are weights
        ("(sits:1.2)", "(rain)", False, False, False),  # the encoders know no weights
    ],
)
def test_text_with_parentheses_is_told_apart_where_its_encoder_would_read_weights(
    loop, prompt, negative, reads, told, is_plain
):
    """Films of before were made with weights; texts without parentheses keep their key."""
    plan = replace(other_shot(negative=negative), prompt=prompt)
    story = replace(loop.story, prompt_weights=told)
    loop = replace(loop, story=story, reads_weights=reads)
    assert is_plain_text(loop, plan) is is_plain
    assert telling_facts(loop, plan).get("text") == ("plain" if is_plain else None)
    before = own_key(replace(loop, reads_weights=False), plan)
    assert (own_key(loop, plan) != before) is is_plain


@dataclass(frozen=True)
class LaterShot(Shot):
    later: str = "as before"


@dataclass(frozen=True)
class LaterPlan(ShotPlan):
    later: str = "as before"


@pytest.mark.parametrize("kind", ["Shot", "ShotPlan"])
def test_what_a_later_version_adds_counts_where_it_changes_the_shot(loop, monkeypatch, kind):
    """Once its neutral value is listed: films of before keep their keys."""

    def plan(**later) -> ShotPlan:
        if kind == "Shot":
            return replace(PLAN, shot=LaterShot(**vars(SHOT), **later))
        return LaterPlan(**vars(PLAN), **later)

    assert own_key(loop, plan())[:16] != OWN, "a field that is not listed counts always"
    monkeypatch.setitem(NEUTRAL, kind, {**NEUTRAL[kind], "later": "as before"})
    assert own_key(loop, plan())[:16] == OWN
    assert own_key(loop, plan(later="otherwise"))[:16] != OWN


# --- what it sees -------------------------------------------------------------------------------


def seen_key(indices, frames=FRAMES, given=(), own="own") -> str:
    return shot_key(own, ShotMemory(MemoryBank(tuple(frames)), tuple(indices)), given)


def test_a_key_holds_the_frames_seen_those_compared_with_and_those_continued_from():
    a, b, c, d = FRAMES
    keys = [
        seen_key([0, 1]),
        seen_key([1, 0]),
        seen_key([0]),
        seen_key([0, 2]),
        seen_key([0, 1], [a, b, c]),
        seen_key([0, 1], [a, b, d, c]),
        seen_key([0, 1], given=["x", "y"]),
        seen_key([0, 1], given=["y", "x"]),
        seen_key([0, 1], given=["y"]),
        seen_key([0, 1], own="another"),
        # All three are lists of pictures: which is which counts.
        seen_key([0, 1], [a, b]),
        seen_key([], [a, b], given=[a.digest, b.digest]),
        seen_key([0, 1], [a, b], given=[a.digest, b.digest]),
    ]
    assert len(set(keys)) == len(keys)
    assert seen_key([0, 1], given=("x",)) == seen_key([0, 1], given=["x"])


def test_where_a_frame_is_from_and_why_it_is_seen_is_in_no_key():
    told = [replace(f, shot=9, score=1.0, reason="r", pinned=True, name="n") for f in FRAMES]
    assert seen_key([0, 1], told) == seen_key([0, 1])


def test_settings_that_lead_to_the_same_frames_give_the_same_key(loop):
    wide = replace(loop, bank=replace(loop.bank, max_frames=4, sink=1))
    wider = replace(loop, bank=replace(loop.bank, max_frames=9, sink=3, policy="entities"))
    keys = [
        shot_key("own", begin_memory(one, replace(SHOT, references=()), one.bank), [])
        for one in (loop, wide, wider)
    ]
    assert keys[1] == keys[2] != keys[0]


# --- in which way a run makes its story ---------------------------------------------------------

RELEVANT = MemoryBank(FRAMES, max_frames=3, sink=1, policy="relevant", embedder="clip 1")


@pytest.mark.parametrize(
    "change",
    [
        {"policy": "entities"},
        {"policy": "entities_only"},
        {"policy": "window"},
        {"max_frames": 4},
        {"max_frames": 0},
        {"sink": 0},
        {"sink": 2},
        {"embedder": "clip 2"},
        {"frames": FRAMES[:3]},
        {"frames": FRAMES[::-1]},
        {"frames": (replace(FRAMES[0], pinned=True), *FRAMES[1:])},
        {"frames": (replace(FRAMES[0], shot=-1), *FRAMES[1:])},
        {"frames": (replace(FRAMES[0], frame=5), *FRAMES[1:])},
        *({"edits": BankEdits(**{kind: ("ab" * 6,)})} for kind in ("pin", "unpin", "drop", "keep")),
    ],
)
def test_two_runs_differ_by_what_may_decide_what_a_shot_sees(loop, change):
    one, two = (replace(loop, bank=bank) for bank in (RELEVANT, replace(RELEVANT, **change)))
    assert describe_settings(one.bank) != describe_settings(two.bank)
    assert way_of(one, []) != way_of(two, [])
    assert way_of(one, []) == way_of(replace(one, bank=replace(RELEVANT)), [])


@pytest.mark.parametrize("policy", POLICIES)
def test_an_embedder_counts_where_it_is_asked_and_names_where_they_are_read(policy):
    bank = MemoryBank(FRAMES, policy=policy)
    described = describe_settings(bank)
    other = describe_settings(replace(bank, embedder="clip 2"))
    assert (other != described) is (policy == "relevant")
    named = BankEdits(names=(("ab" * 6, "Mara"),))
    changed = [
        replace(bank, edits=named),
        replace(bank, frames=(replace(FRAMES[0], name="Mara"), *FRAMES[1:])),
        replace(bank, frames=(replace(FRAMES[0], prompt="Mara sits"), *FRAMES[1:])),
    ]
    for other in changed:
        assert (describe_settings(other) != described) is (policy in BY_NAMES)


def test_the_order_of_clicks_counts_nowhere():
    clicks = ("ab" * 6, "cd" * 6)
    one, two = (
        describe_settings(replace(RELEVANT, edits=BankEdits(pin=pins)))
        for pins in (clicks, clicks[::-1])
    )
    assert one == two


def test_two_runs_differ_by_their_nodes_and_their_shots(loop):
    steps = [Step(PLAN, "one"), Step(PLAN, "two")]
    ways = [
        way_of(loop, steps),
        way_of(replace(loop, body="other"), steps),
        way_of(loop, steps[::-1]),
        way_of(loop, steps[:1]),
    ]
    assert len({digest_of(way) for way in ways}) == 4


# --- what a record keeps beside its key ---------------------------------------------------------


def test_a_record_says_what_its_key_was_made_of(loop):
    clicks = BankEdits(pin=("cd" * 6, "ab" * 6), drop=("ef" * 6,))
    pinned = replace(FRAMES[2], pinned=True)
    bank = replace(RELEVANT, frames=(*FRAMES[:2], pinned, FRAMES[3]), edits=clicks)
    told = telling_facts(replace(loop, bank=bank), replace(PLAN, has_start=True))
    hero, start = (MemoryFrame(pixels).digest for pixels in (HERO, START))
    assert told == {
        "length": 13,
        "lora_strength": 0.5,
        "pictures": [hero, f"start {start}"],
        "memory": {
            "max_frames": 3,
            "sink": 1,
            "policy": "relevant",
            "embedder": "clip 1",
            "clicks": digest_of([["ab" * 6, "cd" * 6], [], ["ef" * 6], []]),
            "pins": digest_of([pinned.digest]),
        },
        "start": [frame.digest for frame in FRAMES],
    }
    window = replace(bank, policy="window")
    assert telling_facts(replace(loop, bank=window), PLAN)["memory"]["embedder"] == ""


# --- the shot's plan ----------------------------------------------------------------------------


def take_of(loop, shot, **settings) -> int:
    settings = LoopSettings(redo=(shot.index,), **settings)
    return plan_shot(loop.story, settings, shot, has_previous=True).shot.seed


def test_every_take_of_every_shot_has_a_seed_of_its_own(loop):
    seeds = [
        take_of(loop, replace(SHOT, index=index, seed=seed), take=take)
        for index in (0, 1)
        for seed in (None, 0, 1)
        for take in (1, 2)
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**32 for seed in seeds)
    assert take_of(loop, SHOT) == int(digest_of(["take", 1, 3, 0])[:8], 16)
    others = plan_shot(loop.story, LoopSettings(redo=(2, 4)), SHOT, has_previous=True)
    assert others.shot.seed == 0


# --- what made it, in words ---------------------------------------------------------------------


def headless_body(
    tmp_path, monkeypatch, policy="relevant", parts=render_version.HEADLESS, method="storymem"
) -> dict:
    files = SimpleNamespace(
        method=lambda: method, has_query=lambda: method == "memento",
        i2v=tmp_path, t2v=None, vae=None, lora=None, extra_loras=list, lora_scale=2.0,
        vae_tiling=True,
    )  # fmt: skip
    placement = SimpleNamespace(dtype=torch.float32, device=torch.device("cpu"))
    engine = SimpleNamespace(files=files, placement=placement, recipe=Recipe(), render_parts=parts)
    embedder = SimpleNamespace(full_name="clip 1", embed_text=lambda text: None)
    monkeypatch.setattr(SelectionModels, "check", lambda self: None)
    monkeypatch.setattr(SelectionModels, "load", lambda self, device: (embedder, None))
    bank = MemoryBank(FRAMES, policy=policy)
    run = StoryRun(
        Story("Tale", (SHOT,)), RunSettings(tmp_path), engine, SelectionModels(), bank, {}
    )
    assert run.loop.bank.embedder == ("clip 1" if policy == "relevant" else "")
    return json.loads(run.loop.body)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_versions_of_the_code_are_in_the_keys_of_headless_runs(tmp_path, monkeypatch, policy):
    assert headless_body(tmp_path, monkeypatch, policy)["code"] == render_version.render_versions(
        render_version.HEADLESS
    )
    for part in render_version.HEADLESS:
        monkeypatch.setitem(render_version.PARTS, part, Part(PARTS[part].version + 7, ()))
        assert part in headless_body(tmp_path, monkeypatch, policy)["code"]
    monkeypatch.setitem(render_version.PARTS, "colour", Part(9, ()))  # no part of such runs
    assert "colour" not in headless_body(tmp_path, monkeypatch, policy)["code"]


def test_a_choice_by_mementos_query_is_in_the_keys_of_its_own_films_alone(tmp_path, monkeypatch):
    plain = headless_body(tmp_path, monkeypatch, "window")
    monkeypatch.setitem(render_version.PARTS, "choice", Part(9, ()))
    assert headless_body(tmp_path, monkeypatch, "window") == plain
    chosen = headless_body(tmp_path, monkeypatch, "window", method="memento")
    assert (chosen["choice"], chosen["code"]["choice"]) == (CHOOSES, 9)
    assert not {"method", "reconstruct", "selection"} & set(plain["settings"])


def test_every_node_counts_the_parts_that_its_code_belongs_to():
    """The file or class of a node names its parts; the samplers' conditioning is shared."""
    pack, found = Path(render_version.__file__).parents[2], {}
    for path in not_empty((pack / "nodes").rglob("*.py")):
        name = path.relative_to(pack).as_posix()
        for one in ast.parse(path.read_text(encoding="utf-8")).body:
            ids = re.findall(r"node_id='(\w+)'", ast.unparse(one))
            if isinstance(one, ast.ClassDef) and ids:
                wanted = {name, f"{name}::{one.name}"}
                parts = {part for part, of in PARTS.items() if wanted & set(of.sources)}
                found |= {node: parts for node in ids if parts}
    samplers = {f"StoryMemM2V{name}" for name in ("Sampler", "Conditioning", "ModelPatch")}
    assert {node: set(parts) for node, parts in PARTS_OF_NODES.items()} == {
        node: parts | ({"conditioning"} if node in samplers else set())
        for node, parts in found.items()
    }
