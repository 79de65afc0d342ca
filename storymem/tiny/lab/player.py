"""Plays whole stories on the tiny model, all of them shot by shot in one batch.

Story, shots, bank, window, keyframe selection, continuity and positions are the library's own;
only the batching is this module's. ``Case`` says what is switched off or changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from einops import rearrange

from ...files.images import to_uint8
from ...loop.plan import LoopSettings, plan_shot
from ...loop.shot_memory import shot_memory, with_prompt
from ...memory.bank import MemoryBank, start_bank
from ...memory.embedders import Embedder, LayoutEmbedder
from ...memory.frame import MemoryFrame
from ...memory.retrieval import has_to_choose
from ...sampling.colour_match import match_overlap_frames
from ...sampling.continuity import OVERLAP_FRAMES, take_overlap_frames
from ...script.reader import load_story
from ...script.story import Story
from ...selection import keyframes
from ...selection.scorers import SharpnessScorer
from .. import demo, dit, picture, staging, world
from .painter import Request
from .painter import load_painter as load_painter

SEED_STEP = 1000  # between the base seeds of two stories
CONTINUITY = {world.FIRST_FRAME: "last_frame", world.FIVE_FRAMES: "last_five_frames"}
CORRUPTED_FRAMES = 9  # at the beginning of a shot, where the first keyframe is looked for
BLUR = 8  # pixels


@dataclass(frozen=True)
class Case:
    """How stories are played. The defaults are the full method."""

    name: str
    portraits: bool = True  # the memory begins with a picture of each character
    pinned: bool = True  # and they stay
    remembers: bool = True  # what was generated goes into memory
    max_frames: int = demo.MAX_MEMORY_FRAMES
    sink: int = 3
    rope_shift: int = 5
    selection: str = "semantic"  # or random
    filters: bool = True  # frames that are not sharp are never chosen
    corrupted: float = 0.0  # share of the shots that selection sees with spoilt frames
    begins: int | None = None  # how continuing shots begin, in place of the script's
    matches_colour: bool = False  # a continuing shot gets the colours of the one before
    threshold: float = demo.KEYFRAME_THRESHOLD  # below it a frame is another keyframe
    known: float = demo.KEYFRAME_THRESHOLD  # above it a keyframe is in the bank already
    sees: str = "layout"  # what keyframes are compared by, or stand_in, which stands in for CLIP
    policy: str = "window"  # which frames of the bank a shot sees
    refreshes: tuple[int, ...] | None = None  # steps in which memory runs along; None: all
    real_time: bool = False  # memory's positions are the latent frames since; rope_shift is unused


@dataclass
class Played:
    """What came out, story-major."""

    shots: list[list[torch.Tensor]]  # [S][K] of uint8 [T, H, W, 3], repeated frames taken off
    repeated: list[list[torch.Tensor]]  # [S][K] of uint8 [0, 1 or 5, H, W, 3]: those taken off
    memory: list[list[tuple[MemoryFrame, ...]]]  # [S][K]: what the shot saw
    banks: list[MemoryBank]

    @property
    def given(self) -> list[list[int]]:
        """[S][K]: how many frames were given."""
        return [[len(frames) for frames in shots] for shots in self.repeated]


def tell(stories: world.Stories, number: int, case: Case) -> Story:
    """A drawn story, read by the library's own parser."""
    return load_story(script_of(stories, number, case))


def script_of(stories: world.Stories, number: int, case: Case) -> dict:
    """A drawn story as a script in ST-Bench's form."""
    begins = stories.begins[number].tolist()
    if case.begins is not None:
        begins = [case.begins if value != world.CUT else value for value in begins]
    shots = []
    for shot, value in enumerate(begins):
        entry = {"prompt": stories.prompt(number, shot), "cut": value == world.CUT}
        if value != world.CUT:
            entry["continuity"] = CONTINUITY[value]
        shots.append(entry)
    scenes = [{"video_prompts": shots}]
    cast = list(names(stories, number))
    return {"story_name": f"story {number}", "cast": cast, "scenes": scenes}


def names(stories: world.Stories, number: int) -> tuple[str, ...]:
    """Of the story's characters in the order of kinds."""
    kinds = stories.cast[number].nonzero()[:, 0].tolist()
    return tuple(world.NAMES[kind][int(stories.name[number, kind])] for kind in kinds)


def portraits(stories: world.Stories, number: int) -> list[torch.Tensor]:
    """Of the story's characters in the order of kinds, float32 [96, 96, 3]."""
    look = stories.look[number]
    kinds = stories.cast[number].nonzero()[:, 0].tolist()
    return [picture.render(world.portraits(look[[k]], k))[0, 0] for k in kinds]


def play(
    stories: world.Stories,
    case: Case,
    paint: Callable[[Sequence[Request], int], torch.Tensor],
    *,
    seed: int = 0,
    workers: int = 1,
    embedder: Embedder | None = None,
) -> Played:
    """Play every story to its end.

    Args:
        embedder: of pictures and prompts, for the policy ``relevant`` and for ``sees``.
    """
    count = len(stories.place)
    tales = [tell(stories, s, case) for s in range(count)]
    banks = [
        begin_bank(
            case,
            portraits(stories, s) if case.portraits else [],
            names(stories, s) if case.portraits else (),
        )
        for s in range(count)
    ]
    seeds = seeds_of(count, seed)
    return play_tales(tales, banks, seeds, case, paint, workers=workers, embedder=embedder)


def seeds_of(count: int, seed: int) -> list[int]:
    """The base seed of each of ``count`` stories."""
    return [seed + SEED_STEP * s for s in range(count)]


def begin_bank(case: Case, faces: Sequence[torch.Tensor], known: Sequence[str]) -> MemoryBank:
    """The memory with which a story is played: pictures of its characters, and their names."""
    how = {"max_frames": case.max_frames, "sink": case.sink, "policy": case.policy}
    return start_bank(list(faces), **how, pinned=case.pinned, names=tuple(known))


def play_tales(
    tales: Sequence[Story],
    banks: list[MemoryBank],
    seeds: Sequence[int],
    case: Case,
    paint: Callable[[Sequence[Request], int], torch.Tensor],
    *,
    workers: int = 1,
    embedder: Embedder | None = None,
    starts: Sequence[Mapping[int, torch.Tensor]] | None = None,
) -> Played:
    """Play stories of equally many shots to their ends, each from a bank and a seed of its own.

    Args:
        starts: of each story by the shot's index: the picture that is a shot's first frame, uint8
            ``[H, W, 3]``; such a shot begins with a cut.
    """
    count, shots = len(tales), len(tales[0].shots)
    played = Played(*([[] for _ in range(count)] for _ in range(3)), banks)
    layouts = [LayoutEmbedder() for _ in range(count)]  # each knows the frames of its own bank
    eyes = [embedder] * count if case.sees == "stand_in" else layouts
    with ThreadPoolExecutor(workers) as pool:
        for k in range(shots):
            first = [None if starts is None else starts[s].get(k) for s in range(count)]
            plans = [
                plan_shot(
                    tale,
                    LoopSettings(),
                    tale.shots[k],
                    has_previous=k > 0,
                    has_start=first[s] is not None,
                )
                for s, tale in enumerate(tales)
            ]
            if case.policy == "relevant":  # all new pictures at once
                waiting = [f for bank in banks if has_to_choose(bank) for f in bank.frames]
                if waiting:
                    embedder.embed_each(waiting)
            requests = []
            for s, plan in enumerate(plans):
                before = played.shots[s][-1].float() / 255 if k else None
                given = take_overlap_frames(plan.mode, before)
                if first[s] is not None:
                    given = first[s][None].float() / 255
                shot = tales[s].shots[k]
                memory = shot_memory(banks[s], tales[s], shot, embedder=embedder).frames
                moments = None
                if case.real_time:
                    repeated = 0 if given is None else len(given)
                    moments = moments_of(memory, played.shots[s], repeated)
                request = Request(memory, given, plan.prompt, plan.seed(seeds[s]), moments)
                requests.append(request)
            clips = paint(requests, case.rope_shift)
            if case.matches_colour:
                given = [request.given for request in requests]
                clips = torch.stack(list(pool.map(_match_colour, clips.cpu(), given)))
            for s, clip in enumerate(_in_eight_bits(clips)):
                taken_off = OVERLAP_FRAMES[plans[s].mode]
                played.shots[s].append(clip[taken_off:])
                played.repeated[s].append(clip[:taken_off])
                played.memory[s].append(requests[s].memory)
            if case.remembers:
                jobs = [
                    (played.shots[s][k], banks[s], case, s, k, tales[s].name, eyes[s])
                    for s in range(count)
                ]
                grown = pool.map(lambda job: remember(*job), jobs)
                banks[:] = [with_prompt(bank, tales[s], tales[s].shots[k])
                            for s, bank in enumerate(grown)]  # fmt: skip
    return played


def moments_of(
    memory: Sequence[MemoryFrame], shots: Sequence[torch.Tensor], given: int
) -> tuple[int, ...]:
    """The positions of ``memory`` in real time, for the shot that follows ``shots`` and repeats
    the last ``given`` frames: latent frames from its begin, -512 to -1. What is of no shot is as
    far away as can be."""
    begins = [0]
    for shot in shots:
        begins.append(begins[-1] + len(shot))
    now = (begins[-1] - given) // 4
    return tuple(
        -dit.FURTHEST
        if frame.shot < 0
        else min(-1, max(-dit.FURTHEST, (begins[frame.shot] + frame.frame) // 4 - now))
        for frame in memory
    )


def _match_colour(clip: torch.Tensor, given: torch.Tensor | None) -> torch.Tensor:
    return clip if given is None else match_overlap_frames(clip, given, len(given))


def _in_eight_bits(clips: torch.Tensor) -> torch.Tensor:
    """``to_uint8`` of many clips on their own device, uint8 on the CPU."""
    if not torch.isfinite(clips).all():
        to_uint8(clips, "a shot")  # says what is wrong
    return clips.clamp(0, 1).mul(255).round().to(torch.uint8).cpu()


def remember(
    frames: torch.Tensor,
    bank: MemoryBank,
    case: Case,
    story: int,
    shot: int,
    name: str = "",
    embedder: Embedder | None = None,
) -> MemoryBank:
    """The bank after a shot ``uint8 [T, H, W, 3]``; ``name`` is the story's."""
    draw = torch.Generator().manual_seed(SEED_STEP * story + shot)
    if torch.rand(1, generator=draw) < case.corrupted:
        frames = corrupt(frames)
    is_random = case.selection == "random"
    chosen = keyframes.choose_keyframes(
        frames,
        embedder or LayoutEmbedder(),
        scorer=SharpnessScorer() if case.filters else None,
        bank=None if is_random else bank,
        story=name,
        shot=shot,
        threshold=case.threshold,
        known_threshold=case.known,
    )
    kept = chosen.frames
    if is_random:  # as many, from anywhere in the shot, whether known or not
        places = torch.randperm(len(frames), generator=draw)[: len(kept)].sort().values
        kept = tuple(
            replace(frame, picture=frames[i].contiguous(), frame=i)
            for frame, i in zip(kept, places.tolist(), strict=True)
        )
    return bank.remember(kept)


def corrupt(frames: torch.Tensor) -> torch.Tensor:
    """The first frames of a shot as a failed decoding leaves them: a blur in which nobody is seen.

    ``uint8 [T, H, W, 3]`` both ways.
    """
    spoilt = rearrange(frames[:CORRUPTED_FRAMES], "t h w c -> t c h w").float()
    spoilt = F.interpolate(F.avg_pool2d(spoilt, BLUR), scale_factor=BLUR, mode="bilinear")
    spoilt = rearrange(spoilt.round().to(torch.uint8), "t c h w -> t h w c")
    return torch.cat([spoilt, frames[CORRUPTED_FRAMES:]])


def returning(
    count: int,
    *,
    shots: int,
    absent: int,
    seed: int,
    characters: int = 2,
    first: int = 0,
    alone: float = 0.0,
) -> tuple[world.Stories, torch.Tensor]:
    """Stories of cuts in which somebody is away for ``absent`` shots and then comes back.

    The one who returns is there in shot ``first`` (from 0) and again after the absence, with one of
    the others; in the other shots the others are there, or nobody where there are no others.

    Args:
        alone: share of those other shots that show one of the others only.

    Returns:
        the stories, and bool [S, K, P]: the returning character's shots after the absence.
    """
    drawn = staging.sample_stories(count, shots=1, seed=seed, characters=characters)
    draw = torch.Generator().manual_seed(seed + 1)
    chance = torch.rand(count, shots, len(world.KINDS), generator=draw)
    who = torch.where(drawn.cast, chance[:, 0], 2.0).argmin(-1)
    returner = torch.zeros_like(drawn.cast)
    returner[torch.arange(count), who] = True
    others = drawn.cast & ~returner
    rank = torch.where(others[:, None], chance, 2.0).argsort(-1).argsort(-1)
    is_away = torch.zeros(shots, dtype=torch.bool)
    is_away[:first] = is_away[first + 1 : first + 1 + absent] = True
    room = torch.where(torch.rand(count, shots, generator=draw) < alone, 1, world.ON_STAGE)
    room = torch.where(is_away, room, world.ON_STAGE - 1)
    there = others[:, None] & (rank < room[..., None])
    visible = torch.where(is_away[:, None], there, there | returner[:, None])
    stories = staging.sample_stories(
        count, shots=shots, seed=seed, characters=characters, visible=visible
    )
    back = returner[:, None] & (torch.arange(shots) > first + absent)[:, None]
    return stories, back


def join(parts: Sequence[world.Stories]) -> world.Stories:
    """The stories of all parts as one; as many shots in each."""

    def joined(name: str):
        values = [getattr(part, name) for part in parts]
        if name == "scenes":
            return world.Scenes(
                *(torch.cat([getattr(v, f.name) for v in values]) for f in fields(world.Scenes))
            )
        return torch.cat(values)

    return world.Stories(**{f.name: joined(f.name) for f in fields(world.Stories)})
