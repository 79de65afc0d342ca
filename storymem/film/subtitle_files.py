"""Subtitles beside a film, as SRT and WebVTT: what is said in each shot, while it is seen.

A shot shows its ``subtitle``, else its ``dialogue``; its prompt only where the artist asks for it.
A WebVTT file that we wrote begins with a note that has the digest of what follows, so that one that
an artist changed is known, and kept.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from ..files.disk import write_whole
from ..files.hashing import digest_of
from ..files.video import as_rate, subtitles_text
from ..script.story import Shot, Story

VTT = ".vtt"
_NOTE = "NOTE by StoryMem "  # and the digest of the cues


@dataclass(frozen=True)
class Cue:
    """Text during frames of a film. ``speakers`` has, for each of ``lines``, who says it; empty for
    text that nobody says."""

    first: int
    last: int  # the frame after the last
    lines: tuple[str, ...]
    speakers: tuple[str, ...] = ()


def cue_of(story: Story, shot: Shot, first: int, last: int, *, prompts: bool) -> Cue | None:
    """What is shown during a shot; ``None`` for nothing.

    Args:
        first, last: the shot's frames in the film, ``last`` being the frame after.
        prompts: show the prompt of a shot that says nothing else.
    """
    if shot.subtitle or not shot.dialogue:
        text = story.spoken(shot.subtitle) or (shot.words if prompts else "")
        lines = _lines(text)
        return Cue(first, last, lines) if lines else None
    said = zip(shot.dialogue, story.said(shot).split("\n"), strict=True)
    pairs = [(line.who, " ".join(_lines(text))) for line, text in said]
    pairs = [(who, text) for who, text in pairs if text]
    names, lines = zip(*pairs, strict=True) if pairs else ((), ())
    return Cue(first, last, lines, names) if lines else None


def srt_text(cues: Sequence[Cue], fps: float) -> str:
    """An SRT file. It has no escapes: an arrow in a text loses a dash. Names stand before what is
    said where several people speak during one cue."""
    entries = []
    for cue in cues:
        is_named = len(set(cue.speakers)) > 1
        speakers = cue.speakers if is_named else [""] * len(cue.lines)
        said = zip(speakers, cue.lines, strict=True)
        lines = [f"{who}: {line}" if who else line for who, line in said]
        entries.append((cue.first, cue.last, "\n".join(lines)))
    return subtitles_text(entries, fps=fps)


def vtt_text(cues: Sequence[Cue], fps: float) -> str:
    """A WebVTT file, with who speaks as voices."""
    rate, blocks = as_rate(fps), []
    for cue in cues:
        speakers = cue.speakers or [""] * len(cue.lines)
        lines = [
            f"<v {_escaped(who)}>{_escaped(line)}" if who else _escaped(line)
            for who, line in zip(speakers, cue.lines, strict=True)
        ]
        times = f"{_clock(cue.first, rate)} --> {_clock(cue.last, rate)}"
        blocks.append("\n".join([times, *lines]))
    body = "\n\n".join(blocks) + "\n"
    return f"WEBVTT\n\n{_NOTE}{_digest(body)}\n\n{body}"


def is_own_vtt(path: Path) -> bool:
    """Whether a WebVTT file lies there as we wrote it."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    head, _, body = text.partition("\n\n" + _NOTE)
    digest, _, body = body.partition("\n\n")
    return head == "WEBVTT" and digest == _digest(body)


def put_vtt(film: Path, text: str | None) -> None:
    """Put a WebVTT file beside a film, or take away ours; an artist's own stays."""
    path = film.with_suffix(VTT)
    if path.exists() and not is_own_vtt(path):
        return
    if text is None:
        path.unlink(missing_ok=True)
    elif not path.exists() or path.read_bytes() != text.encode():
        write_whole(path, text.encode())


def _digest(body: str) -> str:
    return digest_of(["vtt", body])[:16]


def _lines(text: str) -> tuple[str, ...]:
    """Without empty lines, which would end the cue."""
    text = text.replace("\0", "")
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)


def _clock(frame: int, rate: Fraction) -> str:
    ms = round(frame * 1000 / rate)
    return f"{ms // 3600000:02d}:{ms // 60000 % 60:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"
