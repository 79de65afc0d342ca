"""Stories, scenes and shots: what a script says, parsed and validated."""

from __future__ import annotations

from dataclasses import dataclass, field

CONTINUITY_MODES = ("last_frame", "last_five_frames")  # MI2V and MM2V


@dataclass(frozen=True)
class Shot:
    """One shot of a story.

    ``index`` counts all shots of the story from 0; ``scene`` and ``number`` are what file names show
    (both count from 1). Optional fields are ``None`` or empty when the script does not set them.
    """

    index: int
    scene: int
    number: int
    prompt: str
    cut: bool
    seed: int | None = None
    length: int | None = None  # pixel frames, 4n+1
    negative: str | None = None
    continuity: str | None = None  # one of CONTINUITY_MODES
    lora_strength: float | None = None
    references: tuple[str, ...] = ()  # image files in the host's input folder
    first_frame_prompt: str = ""

    @property
    def label(self) -> str:
        return f"{self.scene:02d}_{self.number:02d}"


@dataclass(frozen=True)
class Story:
    """A whole script. ``shots`` is every shot in order."""

    name: str
    shots: tuple[Shot, ...]
    overview: str = ""
    character: str = ""  # put before every prompt
    source: str = field(default="", repr=False)  # the script as it was given

    def prompt_of(self, shot: Shot) -> str:
        """The prompt to encode: the character description, then the shot's own prompt."""
        return f"{self.character}\n{shot.prompt}" if self.character else shot.prompt
