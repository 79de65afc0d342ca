"""What the loop is told, and what each of its shots is: plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch

from ..files.hashing import digest_of
from ..files.messages import shown
from ..memory.bank import MemoryBank
from ..memory.edits import NO_EDITS
from ..memory.embedders import Embedder
from ..memory.frame import MemoryFrame
from ..memory.picture import Picture
from ..sampling.continuity import LOOP_CONTINUITY, ShotPlan, choose_mode
from ..sampling.draft import Draft
from ..script.story import LENGTH_OF_AUDIO, Shot, Story
from .audio_length import next_length
from .opening_clip import OpeningClip
from .passes import pass_name
from .shot_loras import LoraFiles
from .shot_memory import ShotMemory
from .shot_record import Record
from .shot_store import ShotResult, ShotStore


@dataclass(frozen=True)
class Begun:
    """What a shot starts from, and its finished result where an earlier run made the same."""

    key: str
    memory: ShotMemory
    given: torch.Tensor | None = None  # float [n, H, W, 3] that it continues from; None after a cut
    record: Record | None = None
    result: ShotResult | None = None  # of ``record``
    begin: int = 0  # the moment of its first frame: see ``storymem.loop.moments``

    @property
    def bank(self) -> MemoryBank:
        """The memory bank that the shot begins with."""
        return self.memory.bank


@dataclass(frozen=True)
class LoopSettings:
    """What the artist sets on Shot Loop Open."""

    continuity: str = "last_frame"
    prefix: str = "storymem"
    negative: str = ""  # for shots whose script says none
    start_shot: int = 1
    end_shot: int = 0  # 0: the last one
    preview: bool = False  # stop after the first shot of the range
    redo: tuple[int, ...] = ()  # shot indices, from 0
    take: int = 1  # another take, another seed
    keep_later: bool = False  # keep shots of which only what came before changed
    draft: Draft | None = None  # of a pass before the film; None: the film

    @property
    def pass_name(self) -> str:
        """Which pass is made: ``film`` or a draft's name."""
        return pass_name(self.draft)

    def range(self, story: Story) -> range:
        """Indices of the shots to work on.

        Raises:
            ValueError: for a range that the story does not have.
        """
        count = len(story.shots)
        end = self.end_shot or count
        if not 1 <= self.start_shot <= count:
            raise ValueError(
                f"start_shot is {self.start_shot}, but the story has shots 1 to {count}; choose "
                f"one of them"
            )
        if not self.start_shot <= end <= count:
            raise ValueError(
                f"end_shot is {self.end_shot}, but it must be between start_shot "
                f"({self.start_shot}) and the story's last shot ({count}), or 0 for the last one"
            )
        return range(self.start_shot - 1, self.start_shot if self.preview else end)


@dataclass
class Step:
    """One shot on the loop's list: finished (``record``) or to be computed."""

    plan: ShotPlan
    own: str  # hash of what the shot is, without what came before it
    before: Step | None = field(default=None, repr=False, compare=False)  # the shot it follows
    key: str = ""  # empty while the shot before it is to be made
    record: Record | None = None
    reason: str = ""  # why an older result is kept
    result: ShotResult | None = None  # of a finished shot that something follows on
    seen: Mapping[str, str] | None = None  # digest -> why the shot sees it; None: not known yet
    saw: tuple[str, ...] | None = None  # digests of the frames that it gets, in their order
    has_earlier: bool = False  # whether the folder knows a result of this very shot
    # What the folder knows of its latest result, also when that was made of something else.
    earlier: Mapping = field(default_factory=dict, repr=False, compare=False)

    @property
    def previous(self) -> str:
        """Key of the shot it follows; empty for the first."""
        return self.before.key if self.before else ""

    @property
    def label(self) -> str:
        """Scene and number of its shot, such as ``01_02``."""
        return self.plan.shot.label

    @property
    def is_undecided(self) -> bool:
        """Whether it was made before, and the shot before it decides whether it is again."""
        return self.record is None and not self.key and self.has_earlier

    @property
    def depends_on(self) -> Step | None:
        """Of an undecided shot, the nearest one before it that is sure to be made."""
        step = self if self.is_undecided else None
        while step is not None and step.is_undecided:
            step = step.before
        return step

    def begin(self, begun: Begun) -> None:
        """Write down what is known now that its turn has come."""
        self.plan = replace(self.plan, begin=begun.begin)
        self.key, self.seen = begun.key, begun.memory.bank.seen
        self.saw = tuple(frame.digest for frame in begun.memory.frames)
        self.record, self.result = begun.record, begun.result


@dataclass(frozen=True)
class Loop:
    """A story with everything that decides its shots."""

    story: Story
    settings: LoopSettings
    bank: MemoryBank
    body: str  # describes the nodes that make a shot; any change in it makes another shot
    store: ShotStore
    # Pictures, uint8 [H, W, 3]: by file name; by index of the shot whose first frame they are.
    references: Mapping[str, torch.Tensor] = field(default_factory=dict)
    start_images: Mapping[int, torch.Tensor] = field(default_factory=dict)
    embedder: Embedder | None = None  # compares prompts with pictures, for the policy relevant
    # Digests of an edited shot's last frames, by the key of the record (see ``shot_files``).
    edits: Mapping[str, Sequence[str]] = field(default_factory=dict)
    reads_weights: bool = False  # whether its encoders do (see ``storymem.script.prompt_weights``)
    # From a pass before the film, by index of the shot: what its memory gets, and its seed.
    promoted: Mapping[int, Sequence[MemoryFrame]] = field(default_factory=dict)
    seeds: Mapping[int, int] = field(default_factory=dict)
    loras: LoraFiles = field(default_factory=LoraFiles)  # of single shots
    notes: tuple[str, ...] = ()  # what the artist should know of it before the first shot
    # Frames that a sound file lasts, by index of the shot whose length is its own.
    sound_frames: Mapping[int, int] = field(default_factory=dict)
    # Pictures that shots end with, by index of the shot.
    end_images: Mapping[int, Picture] = field(default_factory=dict)
    opening: OpeningClip | None = None  # the clip that the story begins from

    @cached_property
    def reference_digests(self) -> dict[str, str]:
        """Who the pictures of ``references`` are, by file name."""
        return {name: MemoryFrame(pixels).digest for name, pixels in self.references.items()}

    @cached_property
    def start_frames(self) -> tuple[MemoryFrame, ...]:
        """The frames that the story starts from, before any click."""
        return self.bank.with_edits(NO_EDITS).frames


def plan_shot(
    story: Story,
    settings: LoopSettings,
    shot: Shot,
    *,
    has_previous: bool,
    has_start: bool = False,
    end: Picture | None = None,
) -> ShotPlan:
    """What the body is told about a shot: prompt, negative prompt, mode and seed are decided
    here. A shot that has a start image begins with that, and so with a cut; so does every still,
    which shows the one before it by memory alone, and has no last frame to be given."""
    if settings.continuity not in LOOP_CONTINUITY:
        raise ValueError(
            f"continuity must be one of {', '.join(LOOP_CONTINUITY)}, but it is "
            f"{shown(settings.continuity)}"
        )
    negative = settings.negative if shot.negative is None else shot.negative
    shot = replace(shot, negative=negative)
    if shot.index in settings.redo:
        seed = int(digest_of(["take", settings.take, shot.index, shot.seed])[:8], 16)
        shot = replace(shot, seed=seed)
    draft = settings.draft
    is_still = draft is not None and draft.is_stills
    has_previous = has_previous and not has_start and not is_still
    mode = choose_mode(shot, settings.continuity, has_previous=has_previous)
    end = None if is_still else end
    return ShotPlan(shot, story.name, story.prompt_of(shot), mode, has_start, draft, end)


def plan_in(loop: Loop, shot: Shot, *, has_previous: bool) -> ShotPlan:
    """``plan_shot`` of a shot of a loop, which knows the start and end images of its shots, whether
    a clip is before the first one, and how long those are that last as long as their sound: it is
    heard while the shot's own frames are seen, and not with those that repeat the shot before."""
    has_previous = has_previous or (shot.index == 0 and loop.opening is not None)
    has_start = shot.index in loop.start_images
    shot = replace(shot, seed=loop.seeds.get(shot.index, shot.seed))
    how = {"has_previous": has_previous, "has_start": has_start}
    plan = plan_shot(loop.story, loop.settings, shot, **how, end=loop.end_images.get(shot.index))
    if shot.length != LENGTH_OF_AUDIO:
        return plan
    length = next_length(loop.sound_frames[shot.index] + plan.overlap_frames)
    return replace(plan, shot=replace(plan.shot, length=length))
