"""A report on a setup: findings in plain sentences, which can be pasted without names or paths.

A finding is an English sentence with ``{placeholders}``. Their ``values`` are numbers, versions and
words of this package; what belongs to the artist (names of files, paths) is ``private`` and stands
beside the sentence, on the page and with ``--names`` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LEVELS = ("ok", "note", "warning", "error")  # from fine to what stops a run
MARKS = {"ok": "ok", "note": "note", "warning": "WARNING", "error": "ERROR"}  # in the text


@dataclass(frozen=True)
class Finding:
    """One sentence about the setup.

    Args:
        level: ``ok``, ``note`` (worth knowing), ``warning`` (may cost time or quality) or ``error``
            (a run stops, or what was asked for is not there).
        text: an English sentence with ``{placeholders}``.
        values: for the placeholders; nothing in them is the artist's.
        private: names and paths, by what they are: ``file``, ``path``, ``node`` ...
    """

    level: str
    text: str
    values: Mapping[str, object] = field(default_factory=dict)
    private: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self):
        if self.level not in LEVELS:
            raise ValueError(f"level must be one of {', '.join(LEVELS)}, but it is {self.level!r}")
        self.text.format_map(self.values)  # a sentence whose values are missing is never told

    def sentence(self, *, names: bool = False) -> str:
        """The sentence with its values; with ``names`` the private ones stand behind it."""
        said = self.text.format_map(self.values)
        told = ", ".join(_plain(value) for value in self.private.values())
        return f"{said} [{told}]" if names and told else said

    def as_dict(self, *, names: bool = True) -> dict:
        """For the page, or, without ``names``, for anybody."""
        private = self.private if names else {}
        return {
            "level": self.level,
            "text": self.text,
            "values": dict(self.values),
            "private": {name: _plain(value) for name, value in private.items()},
        }


@dataclass(frozen=True)
class Section:
    """Findings on one subject, under a title; ``key`` is its permanent name."""

    key: str
    title: str
    findings: tuple[Finding, ...] = ()

    @property
    def level(self) -> str:
        """The worst of its findings."""
        return max((f.level for f in self.findings), key=LEVELS.index, default=LEVELS[0])

    def as_dict(self, *, names: bool = True) -> dict:
        """For the page, or, without ``names``, for anybody."""
        return {
            "key": self.key,
            "title": self.title,
            "level": self.level,
            "findings": [finding.as_dict(names=names) for finding in self.findings],
        }


@dataclass(frozen=True)
class Report:
    """All that was found, section by section."""

    sections: tuple[Section, ...]

    @property
    def level(self) -> str:
        """The worst of all findings."""
        return max((s.level for s in self.sections), key=LEVELS.index, default=LEVELS[0])

    def as_text(self, names: bool = False) -> str:
        """The report as plain text, to be pasted: without names of files, paths or prompts.

        Args:
            names: whether the artist's names and paths stand behind their sentences.
        """
        lines = []
        for section in self.sections:
            lines += ["", section.title] if lines else [section.title]
            for finding in section.findings:
                lines.append(f"  {MARKS[finding.level]:<8}{finding.sentence(names=names)}")
        return "\n".join(lines) + "\n"

    def as_dict(self, *, names: bool = True) -> dict:
        """For the page: the sections, and the text that is pasted. Without ``names``, for
        anybody."""
        return {
            "level": self.level,
            "sections": [section.as_dict(names=names) for section in self.sections],
            "text": self.as_text(),
        }


def _plain(value: object) -> str:
    """A name in one line; bytes that are no text, and marks that steer a terminal or turn the
    direction of a line, are written as escapes."""
    line = " ".join(str(value).split())
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in line)
