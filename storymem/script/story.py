"""A story as a value: its shots in order, each with the prompt it is sampled with."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from ..files.messages import short
from .cast import strip_mentions

DEFAULT_NAME = "story"  # for a script that does not say its name


@dataclass(frozen=True)
class Shot:
    """One shot of a story.

    ``index`` counts all shots of the story from 0; ``scene`` and ``number`` are what file names
    show (both count from 1). Optional fields are ``None`` or empty where the script sets none.
    """

    index: int
    scene: int
    number: int
    prompt: str
    cut: bool
    seed: int | None = None
    length: int | None = None  # pixel frames, 4n+1
    negative: str | None = None
    continuity: str | None = None  # one of storymem.script.continuity.CONTINUED
    lora_strength: float | None = None
    references: tuple[str, ...] = ()  # image files in the host's input folder
    first_frame_prompt: str = ""
    lock: bool = False  # keep the last finished result, whatever changed
    row: str = ""  # id of the row, as the story editor gives it to a locked shot

    @property
    def label(self) -> str:
        """Scene and shot as file names and reports show them: ``02_05``."""
        return f"{self.scene:02d}_{self.number:02d}"

    def __str__(self) -> str:
        beginning = short(self.prompt, 80)
        return f"shot {self.index + 1} (scene {self.scene}, shot {self.number}: '{beginning}')"


@dataclass(frozen=True)
class Story:
    """A whole script. ``shots`` is every shot in order."""

    name: str
    shots: tuple[Shot, ...]
    overview: str = ""
    character: str = ""  # put before every prompt
    source: str = field(default="", repr=False)  # the script as it was given
    warnings: tuple[str, ...] = ()  # what was read but not understood
    cast: tuple[str, ...] = ()  # names, as the script lists them (see storymem.script.cast)

    def prompt_of(self, shot: Shot) -> str:
        """The prompt to encode: the character description, then the shot's own prompt; a name
        that is marked ``@Mara`` stands there as ``Mara``."""
        prompt = strip_mentions(shot.prompt)
        return f"{_described(self.character)}\n{prompt}" if self.character else prompt


_described = lru_cache(maxsize=4)(strip_mentions)  # of a character: the same for all shots


def summarise(story: Story) -> str:
    """The story as a list for people."""
    scenes = len({shot.scene for shot in story.shots})
    lines = [f"{story.name}: {len(story.shots)} shots in {scenes} scenes"]
    lines += [f"warning: {warning}" for warning in story.warnings]
    lines += [story.overview] if story.overview else []
    for shot in story.shots:
        lines.append(
            f"{shot.index + 1}. [{shot.label}{'' if shot.cut else ', continues'}] {shot.prompt}"
        )
    return "\n".join(lines)
