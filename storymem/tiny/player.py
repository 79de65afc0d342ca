"""Plays whole stories on the tiny model, all of them shot by shot in one batch.

Story, shots, bank, window, keyframe selection, continuity and positions are the library's own;
only the batching is this module's. ``Case`` says what is switched off or changed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from .. import keyframes
from ..aesthetics import SharpnessScorer
from ..conditioning import GREY
from ..continuity import GIVEN_FRAMES, take_given_frames
from ..embedders import LayoutEmbedder
from ..frames import quantise
from ..headless.sampling import draw_noise
from ..memory_bank import MemoryBank, MemoryFrame, start_bank
from ..shot_loop import LoopSettings, plan_shot
from ..story import Story, load_story
from . import corpus, demo, dit, picture, text, vae, world

SEED_STEP = 1000  # between the base seeds of two stories
CONTINUITY = {world.FIRST_FRAME: "last_frame", world.FIVE_FRAMES: "last_five_frames"}
CORRUPTED_FRAMES = 9  # at the beginning of a shot, where the first keyframe is looked for
BLUR = 8  # pixels
AT_ONCE = 64  # shots sampled together
logger = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class Request:
    """One shot to be made."""

    memory: tuple[MemoryFrame, ...]
    given: torch.Tensor | None  # [1 or 5, H, W, 3] in 0 ... 1
    prompt: str
    seed: int


@dataclass
class Played:
    """What came out, story-major."""

    shots: list[list[torch.Tensor]]  # [S][K] of uint8 [T, H, W, 3], repeated frames taken off
    given: list[list[int]]  # [S][K]: how many frames were given
    memory: list[list[tuple[MemoryFrame, ...]]]  # [S][K]: what the shot saw
    banks: list[MemoryBank]


class Painter:
    """Makes shots with the tiny model, many at once on one device."""

    def __init__(self, model, codec: corpus.LatentCodec, *, steps: int, cfg: float = 1.0):
        model.rope = dit.KnownPositions(model.rope)
        self.model = model.to(codec.device)
        self.codec, self.steps, self.cfg = codec, steps, cfg
        self._images: dict[str, torch.Tensor] = {}
        self._grey: torch.Tensor | None = None

    def __call__(self, requests: Sequence[Request], rope_shift: int) -> torch.Tensor:
        """Frames, float32 [N, T, H, W, 3] in 0 ... 1 on the CPU, given ones included."""
        clips: list[torch.Tensor | None] = [None] * len(requests)
        sizes = sorted({len(request.memory) for request in requests})
        for size in sizes:  # one batch has one number of memory frames
            who = [i for i, request in enumerate(requests) if len(request.memory) == size]
            for start in range(0, len(who), AT_ONCE):
                part = who[start : start + AT_ONCE]
                latents = self.latents([requests[i] for i in part], rope_shift)
                for i, clip in zip(part, self.codec.decode(latents).cpu(), strict=True):
                    clips[i] = clip
        return torch.stack(clips)

    def latents(self, requests: Sequence[Request], rope_shift: int) -> torch.Tensor:
        """[N, F, 16, h, w] of shots with the same number of memory frames."""
        device, count = self.codec.device, len(requests[0].memory)
        known = torch.cat([self._given(request.given) for request in requests])
        mask = torch.zeros(len(requests), known.shape[1])
        for row, request in zip(mask, requests, strict=True):
            given = 0 if request.given is None else len(request.given)
            row[: (given + 3) // 4] = 1  # 1 or 5 frames are 1 or 2 latents
        if count:
            memory = torch.stack([self._memory(request.memory) for request in requests])
            known = torch.cat([memory, known], 1)
            mask = torch.cat([torch.ones(len(requests), count), mask], 1)
        frames, side = known.shape[1] - count, known.shape[-1]
        noise = torch.cat([draw_noise(r.seed, count, frames, side, side) for r in requests])
        words = torch.stack([text.encode(request.prompt) for request in requests]).to(device)
        half = torch.bfloat16 if device.type == "cuda" else None
        with torch.autocast(device.type, half, enabled=half is not None):
            return dit.sample(
                self.model,
                mask.to(device),
                known,
                words,
                memory_frames=count,
                noise=noise.transpose(1, 2).to(device),  # BCFHW -> BFCHW
                rope_shift=rope_shift,
                steps=self.steps,
                empty_text=text.encode("").to(device).expand_as(words),
                cfg=self.cfg,
            )

    def _memory(self, frames: Sequence[MemoryFrame]) -> torch.Tensor:
        for frame in frames:
            if frame.digest not in self._images:
                pixels = frame.pixels()[None, None].to(self.codec.device)
                self._images[frame.digest] = self.codec.encode(pixels)[0, 0]
        return torch.stack([self._images[frame.digest] for frame in frames])

    def _given(self, given: torch.Tensor | None) -> torch.Tensor:
        if given is None and self._grey is not None:
            return self._grey
        video = torch.full((1, world.FRAMES, world.SIZE, world.SIZE, 3), GREY)
        if given is not None:
            video[0, : len(given)] = given
        latents = self.codec.encode(video.to(self.codec.device))
        if given is None:
            self._grey = latents
        return latents


def load_painter(model_file, vae_file, device, **how) -> Painter:
    """The tiny model of two files in the host's layout."""
    module = vae.build()
    vae.load_host_file(module, vae_file)
    codec = corpus.LatentCodec(module, torch.device(device))
    return Painter(dit.load_host_file(model_file), codec, **how)


def tell(stories: world.Stories, number: int, case: Case) -> Story:
    """A drawn story as a script, read by the library's own parser."""
    begins = stories.begins[number].tolist()
    if case.begins is not None:
        begins = [case.begins if value != world.CUT else value for value in begins]
    shots = []
    for shot, value in enumerate(begins):
        entry = {"prompt": stories.prompt(number, shot), "cut": value == world.CUT}
        if value != world.CUT:
            entry["continuity"] = CONTINUITY[value]
        shots.append(entry)
    script = {"story_name": f"story {number}", "scenes": [{"video_prompts": shots}]}
    return load_story(script)


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
) -> Played:
    """Play every story to its end."""
    count, shots = stories.place.shape
    tales = [tell(stories, s, case) for s in range(count)]
    banks = []
    for s in range(count):
        faces = portraits(stories, s) if case.portraits else []
        size = {"max_frames": case.max_frames, "sink": case.sink}
        banks.append(start_bank(faces, pinned=case.pinned, **size))
    played = Played(*([[] for _ in range(count)] for _ in range(3)), banks)
    settings = LoopSettings()
    with ThreadPoolExecutor(workers) as pool:
        for k in range(shots):
            plans = [plan_shot(t, settings, t.shots[k], has_previous=k > 0) for t in tales]
            requests = []
            for s, plan in enumerate(plans):
                before = played.shots[s][-1].float() / 255 if k else None
                given = take_given_frames(plan.mode, before)
                base = seed + SEED_STEP * s
                requests.append(Request(banks[s].used(), given, plan.prompt, plan.seed(base)))
            clips = paint(requests, case.rope_shift)
            for s, plan in enumerate(plans):
                played.shots[s].append(quantise(clips[s])[GIVEN_FRAMES[plan.mode] :])
                played.given[s].append(GIVEN_FRAMES[plan.mode])
                played.memory[s].append(requests[s].memory)
            if case.remembers:
                jobs = ((played.shots[s][k], banks[s], case, s, k) for s in range(count))
                banks[:] = pool.map(lambda job: remember(*job), jobs)
    return played


def remember(
    frames: torch.Tensor, bank: MemoryBank, case: Case, story: int, shot: int
) -> MemoryBank:
    """The bank after a shot ``uint8 [T, H, W, 3]``."""
    draw = torch.Generator().manual_seed(SEED_STEP * story + shot)
    if torch.rand(1, generator=draw) < case.corrupted:
        frames = corrupt(frames)
    is_random = case.selection == "random"
    chosen = keyframes.choose_keyframes(
        frames,
        LayoutEmbedder(),
        scorer=SharpnessScorer() if case.filters else None,
        bank=None if is_random else bank,
        shot=shot,
        threshold=demo.KEYFRAME_THRESHOLD,
        known_threshold=demo.KEYFRAME_THRESHOLD,
    )
    kept = chosen.frames
    if is_random:  # as many, from anywhere in the shot, whether known or not
        places = torch.randperm(len(frames), generator=draw)[: len(kept)].sort().values
        kept = tuple(
            replace(frame, image=frames[i].contiguous(), frame=i)
            for frame, i in zip(kept, places.tolist(), strict=True)
        )
    return bank.remember(kept)


def corrupt(frames: torch.Tensor) -> torch.Tensor:
    """The first frames of a shot as a failed decoding leaves them: a blur in which nobody is seen.

    ``uint8 [T, H, W, 3]`` both ways.
    """
    spoilt = frames[:CORRUPTED_FRAMES].permute(0, 3, 1, 2).float()  # THWC -> TCHW
    spoilt = F.interpolate(F.avg_pool2d(spoilt, BLUR), scale_factor=BLUR, mode="bilinear")
    spoilt = spoilt.round().to(torch.uint8).permute(0, 2, 3, 1)
    return torch.cat([spoilt, frames[CORRUPTED_FRAMES:]])


def returning(
    count: int, *, shots: int, absent: int, seed: int, characters: int = 2
) -> tuple[world.Stories, torch.Tensor]:
    """Stories of cuts in which somebody is away for ``absent`` shots and then comes back.

    The one who returns is there in the first shot and again after the absence, with one of the
    others; meanwhile the others are there, or nobody where there are no others.

    Returns:
        the stories, and bool [S, K, P]: the returning character's shots after the absence.
    """
    drawn = world.sample_stories(count, shots=shots, seed=seed, characters=characters)
    draw = torch.Generator().manual_seed(seed + 1)
    chance = torch.rand(count, shots, len(world.KINDS), generator=draw)
    who = torch.where(drawn.cast, chance[:, 0], 2.0).argmin(-1)
    returner = torch.zeros_like(drawn.cast)
    returner[torch.arange(count), who] = True
    others = drawn.cast & ~returner
    rank = torch.where(others[:, None], chance, 2.0).argsort(-1).argsort(-1)
    is_away = torch.zeros(shots, 1, dtype=torch.bool)
    is_away[1 : 1 + absent] = True
    there = others[:, None] & (rank < torch.where(is_away, world.ON_STAGE, world.ON_STAGE - 1))
    visible = torch.where(is_away, there, there | returner[:, None])
    back = returner[:, None] & (torch.arange(shots) > absent)[:, None]
    stories = replace(
        drawn,
        visible=visible,
        begins=torch.zeros_like(drawn.begins),
        scenes=replace(drawn.scenes, visible=visible.flatten(0, 1)),
    )
    return stories, back
