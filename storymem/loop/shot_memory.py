"""What one shot sees of the story's memory, computed here and nowhere else.

The shot's key hashes this value (see :mod:`storymem.loop.cache_keys`), the sampler gets its frames
and the gallery shows its reasons, in ComfyUI and in the headless runner alike. Settings (how many
frames, which policy, the artist's clicks, names of references) are always those of the run, also
for a bank that an earlier run left on disk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..memory.bank import LEFT_OUT, MemoryBank
from ..memory.embedders import Embedder
from ..memory.frame import MemoryFrame
from ..memory.policies import BY_NAMES, POLICIES
from ..memory.retrieval import choose_frames, frames_to_names, has_to_choose
from ..memory.weights import heavy_and_light
from ..script.story import Shot, Story
from ..selection.keyframe_query import GLOBAL_FRAMES, POOL_FRAMES

WINDOW = POLICIES[0]
ROOM_FOR_ALL = "there was room for all"
PROVENANCE = ("story", "shot", "frame", "score", "scorer", "reason", "name", "prompt", "moment")


@dataclass(frozen=True, eq=False)
class ShotMemory:
    """The memory of one shot: all that its bank holds, and which of it the sampler gets."""

    bank: MemoryBank  # as the shot's nodes get it; ``bank.used()`` are the frames seen
    indices: tuple[int, ...]  # into ``bank.frames``, oldest first
    reasons: Mapping[int, str] = field(default_factory=dict)  # by index: why each is seen
    is_pool: bool = False  # whether the shot's nodes choose from it by themselves

    @property
    def frames(self) -> tuple[MemoryFrame, ...]:
        """The frames that the sampler gets, oldest first."""
        return tuple(self.bank.frames[i] for i in self.indices)

    @property
    def sampled_frames(self) -> int:
        """How many frames the sampler gets, as far as that is known before any are chosen."""
        if not self.is_pool:
            return len(self.indices)
        pinned = sum(frame.pinned for frame in self.bank.frames)
        most = max(POOL_FRAMES, pinned + GLOBAL_FRAMES)  # pins take local places first
        return min(most, self.bank.max_frames, len(self.indices))

    def digests(self) -> list[list[str]]:
        """Of the frames that the sampler gets, and of all in the bank, with which new keyframes are
        compared: all that a shot's pixels and what is kept of it depend on."""
        seen, known = ([f.digest for f in part] for part in (self.frames, self.bank.frames))
        if not self.is_pool:
            return [seen, known]
        # A choice depends on more than who the frames are.
        own = [f"{f.digest} {f.pool or 'both'}{' pinned' * f.pinned}" for f in self.bank.frames]
        return [seen, known, own]


def shot_memory(
    bank: MemoryBank, story: Story, shot: Shot, *, embedder: Embedder | None = None
) -> ShotMemory:
    """What ``shot`` of ``story`` sees of ``bank``, by the bank's own settings.

    A policy other than the window chooses as soon as there are more frames than places, and
    ``entities_only`` always; the window does where the script says what is worth remembering.

    Args:
        embedder: compares the prompt with pictures; only the policy ``relevant`` asks it.

    Raises:
        ValueError: for the policy ``relevant`` without an embedder that reads texts, and for more
            pinned frames than places.
    """
    bank = replace(bank, weights=heavy_and_light(bank, story), scored={})
    if bank.policy == WINDOW and not has_to_choose(bank):
        bank = replace(bank, choice=None, seen={})
        indices = bank.used_indices()
        return ShotMemory(bank, indices, window_reasons(bank, indices))
    if not has_to_choose(bank):
        indices = tuple(range(len(bank.frames)))
        reasons = dict.fromkeys(indices, ROOM_FOR_ALL)
        return ShotMemory(
            replace(bank, choice=None, seen=_by_digest(bank, reasons)), indices, reasons
        )
    choice = choose_frames(bank, story, shot, embedder)
    if not bank.weights and len(bank.frames) - len(choice.left_out) <= bank.max_frames:
        choice = replace(choice, reasons=dict.fromkeys(choice.indices, ROOM_FOR_ALL))
    left_out = {i: LEFT_OUT + why for i, why in choice.left_out.items()}
    # A picture may be in the bank twice: what the shot sees counts.
    seen = _by_digest(bank, left_out) | _by_digest(bank, choice.reasons)
    bank = replace(bank, choice=choice, seen=seen)
    return ShotMemory(bank, choice.indices, choice.reasons)


def whole_pool(bank: MemoryBank, story: Story) -> ShotMemory:
    """The whole bank, for a shot with Choose Memory, which chooses from all of it; nothing where
    shots see nothing.

    Raises:
        ValueError: for more pinned frames than a shot may see.
    """
    bank.pinned_indices()
    weights = heavy_and_light(bank, story)
    bank = replace(bank, choice=None, seen={}, scored={}, weights=weights)
    indices = range(len(bank.frames)) if bank.max_frames else ()
    return ShotMemory(bank, tuple(indices), is_pool=True)


def describe_settings(bank: MemoryBank) -> list:
    """What of a bank's settings and frames may decide what some shot sees: the same for two runs
    whose shots are the same."""
    described: list = [
        bank.policy,
        bank.max_frames,
        bank.sink,
        bank.embedder if bank.policy == "relevant" else "",
        [[kind, sorted(getattr(bank.edits, kind))] for kind in ("pin", "unpin", "drop", "keep")],
        [[f.digest, f.pinned, f.order] for f in bank.frames],
    ]
    if bank.edits.later:
        described.append(sorted(map(repr, bank.edits.later)))
    if bank.policy in BY_NAMES:
        described += [sorted(bank.edits.names), [[f.name, f.prompt] for f in bank.frames]]
    return described


def with_names(bank: MemoryBank, story: Story) -> MemoryBank:
    """``bank`` that can tell on the page whom its frames show, and what they weigh."""
    return replace(bank, shows=frames_to_names(bank, story), weights=heavy_and_light(bank, story))


def with_prompt(bank: MemoryBank, story: Story, shot: Shot) -> MemoryBank:
    """``bank`` whose frames from ``shot`` know its prompt, wherever the shot stands later."""

    def told(frame):
        own = frame.story == story.name and frame.shot == shot.index and not frame.prompt
        return replace(frame, prompt=shot.prompt) if own else frame

    frames, dropped = (tuple(map(told, part)) for part in (bank.frames, bank.dropped))
    return replace(bank, frames=frames, dropped=dropped)


def window_reasons(bank: MemoryBank, indices: tuple[int, ...]) -> dict[int, str]:
    """Why the window shows these of a bank's frames."""
    sink = min(bank.sink, bank.max_frames)
    return {
        i: "pinned"
        if bank.frames[i].pinned
        else "sink: one of the first frames"
        if i < sink
        else "recent"
        for i in indices
    }


def _by_digest(bank: MemoryBank, reasons: Mapping[int, str]) -> dict[str, str]:
    return {bank.frames[i].digest: why for i, why in reasons.items()}
