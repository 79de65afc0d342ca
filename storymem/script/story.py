"""A story as a value: its shots in order, each with the prompt it is sampled with."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from ..files.messages import counted, listed, short
from .captions import describe_within, has_captions, words_of
from .cast import MAX_NAMES, handles_of, named_in, names_of, speak_names
from .dialogue import Line, spoken
from .loras import ShotLora
from .promoted import Promoted
from .remembered import Remembered

DEFAULT_NAME = "story"  # for a script that does not say its name
LENGTH_OF_AUDIO = "audio"  # of a shot that is as long as its sound file


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
    length: int | str | None = None  # pixel frames, 4n+1; LENGTH_OF_AUDIO: as the file lasts
    negative: str | None = None
    continuity: str | None = None  # one of storymem.script.continuity.CONTINUED
    lora_strength: float | None = None
    references: tuple[str, ...] = ()  # image files in the host's input folder
    first_frame_prompt: str = ""
    lock: bool = False  # keep the last finished result, whatever changed
    row: str = ""  # id of the row, as the story editor gives it to a locked shot
    take: str = ""  # the finished result to use, whatever changed: its key, or how that begins
    start_image: str = ""  # image file in the host's input folder: the shot's first frame
    end_image: str = ""  # likewise: the shot's last frame
    promote: tuple[Promoted, ...] = ()  # what it takes over from a pass before the film
    remember: tuple[Remembered, ...] = ()  # whom and what its frames are kept for, how long
    audio: str = ""  # sound file in the host's input folder
    dialogue: tuple[Line, ...] = ()
    subtitle: str = ""  # what is read under its pictures; empty: the dialogue
    loras: tuple[ShotLora, ...] = ()  # on top of the models' own, its scene's included

    @property
    def label(self) -> str:
        """Scene and shot as file names and reports show them: ``02_05``."""
        return f"{self.scene:02d}_{self.number:02d}"

    @property
    def words(self) -> str:
        """What happens in it, for people: of a prompt with captions, the shot's own."""
        return words_of(self.prompt)

    def __str__(self) -> str:
        beginning = short(self.words, 80)
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
    prompt_weights: bool = False  # whether parentheses are meant as weights
    reconstruct: str = ""  # who is in it, a line for each: the text of Memento's identity frame

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Everybody in the story; see :mod:`storymem.script.cast`."""
        return names_of(self.cast, self.character, (shot.prompt for shot in self.shots))

    @cached_property
    def remembers(self) -> bool:
        """Whether any shot says what is worth remembering."""
        return any(shot.remember for shot in self.shots)

    @cached_property
    def _handles(self) -> frozenset[str]:
        return handles_of(self.names)

    @cached_property
    def _described(self) -> str:
        return self.spoken(self.character)

    def spoken(self, text: str) -> str:
        """A text of the story as it is encoded: a name that is marked ``@Mara`` stands there as
        ``Mara``, and a handle of nobody in the story stays as typed."""
        return speak_names(text, self._handles)

    def prompt_of(self, shot: Shot) -> str:
        """The whole prompt: the character description, then the shot's own prompt. By it finished
        shots are known, and all parts of it stand in :meth:`encoded`."""
        prompt = self.spoken(shot.prompt)
        return f"{self._described}\n{prompt}" if self.character else prompt

    def encoded(self, prompt: str) -> str:
        """What :meth:`prompt_of` gives as the text encoder gets it: a prompt in Memento's form
        begins with its global caption, which then has the character description in it."""
        if not self.character or not prompt.startswith(begins := f"{self._described}\n"):
            return prompt
        own = prompt.removeprefix(begins)
        return describe_within(own, self._described) if has_captions(own) else prompt

    @property
    def reconstruct_prompt(self) -> str:
        """The text of Memento's identity frame, as it is encoded; empty where the script has
        none."""
        return self.spoken(self.reconstruct)

    def said(self, shot: Shot) -> str:
        """What is said in a shot, for a voice: a line for each, with the names of those whom it
        marks (``@Pip``) and without who says it."""
        text = spoken(shot.dialogue)
        return speak_names(text, self._handles | handles_of(names_of((), "", [text])))

    def who(self, shot: Shot) -> tuple[str, ...]:
        """Those whom the memory knows a shot's prompt to speak of."""
        return named_in(shot.prompt, self.names[:MAX_NAMES])


def summarise(story: Story) -> str:
    """The story as a list for people."""
    scenes = len({shot.scene for shot in story.shots})
    lines = [f"{story.name}: {counted(len(story.shots), 'shot')} in {counted(scenes, 'scene')}"]
    lines += [f"warning: {warning}" for warning in story.warnings]
    lines += [story.overview] if story.overview else []
    for shot in story.shots:
        facts = [shot.label, *([] if shot.cut else ["continues"])]
        if who := story.who(shot):
            facts.append(f"with {listed(who)}")
        lines.append(f"{shot.index + 1}. [{', '.join(facts)}] {shot.prompt}")
    return "\n".join(lines)
