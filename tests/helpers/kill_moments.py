"""When a process that makes a story is killed: at any time, at a new file, right before a file.

``kill_campaign.py`` uses it. A moment is drawn beforehand, from a seed; what the process does until
then is its own affair, so two campaigns of one seed aim alike but need not hit alike.
"""

from __future__ import annotations

import json
import os
import random
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

HOOK = Path(__file__).resolve().parent / "kill_hook"
POLL_SECONDS = 0.0005
MOST_SECONDS = 600  # that a moment may keep a campaign waiting
# How a moment is chosen, and the kind of file for those that wait for one. A campaign goes round
# and round in them; a short one has the first of them.
ROUND = (
    ("seen", "video"), ("time", ""), ("before", "bank"), ("before", "shot"), ("seen", "shot"),
    ("before", "folder"), ("before", "story.json"), ("before", "video"), ("seen", "bank"),
    ("time", ""), ("time", ""), ("seen", "story.json"), ("before", "shot"), ("time", ""),
)  # fmt: skip
DELAYS = (0, 0, 0.001, 0.005)  # at once, or some way into it
OF_SHOTS = ("", "folder", "shot", "story.json")  # wanted while there are shots to make


@dataclass(frozen=True)
class Moment:
    """``time``: after some time. ``seen``: just after a file of a kind appeared or changed.
    ``before``: right before a step with a file of that kind."""

    how: str
    kind: str
    chance: float  # 0 ... 1: how late, or before which of the steps
    delay: float  # seconds after what was seen

    @property
    def needs_shots(self) -> bool:
        return self.kind in OF_SHOTS

    def earlier(self) -> Moment:
        return replace(self, chance=self.chance / 2)

    def __str__(self) -> str:
        return f"{self.how} {self.kind}".strip()


def draw_moments(count: int, chance: random.Random) -> list[Moment]:
    """That many moments. In a round those of a story's end come last, and most are early, so that
    one story has many of them."""
    drawn: list[Moment] = []
    while len(drawn) < count:
        moments = [
            Moment(how, kind, chance.random() ** 2, chance.choice(DELAYS))
            for how, kind in ROUND[: count - len(drawn)]
        ]
        chance.shuffle(moments)
        drawn += sorted(
            moments, key=lambda moment: (not moment.needs_shots, moment.kind != "folder")
        )
    return drawn


@dataclass(frozen=True)
class Files:
    """The files below ``root`` that a story consists of, by kind."""

    root: Path
    folder: Path  # the story's own
    store: Path
    video: str  # name of the story video, without number and .mp4

    def patterns(self) -> dict[str, str]:
        """Of paths relative to ``root``, with those that are being written; first match counts."""
        store = re.escape(self.store.relative_to(self.root).as_posix())
        own = re.escape(self.folder.name)
        return {
            "bank": r"(^|/)bank(/|$)",
            "video": rf"(^|/)\.?{re.escape(self.video)}(_[0-9]{{5}}_)?\.(mp4|srt|vtt)",
            "story.json": r"(^|/)\.?story\.json",
            "shot": rf"^{store}(/|$)|(^|/)\.?shot_[0-9_]+\.mp4",
            "folder": rf"(^|/)(versions/|\.?script\.(json|txt)|\.storymem\.lock"
            rf"|\.{own}\.[^/]+\.part)",
        }

    def kind_of(self, path: str) -> str:
        fitting = (kind for kind, text in self.patterns().items() if re.search(text, path))
        return next(fitting, "other")

    def watched(self) -> dict[str, int]:
        """Files with the time of their last change, where things are written that are short-lived:
        few enough to look a thousand times a second."""
        found = {}
        for folder in (self.folder, self.folder / "bank", self.store / "writing"):
            try:
                for entry in os.scandir(folder):
                    path = os.path.relpath(entry.path, self.root).replace(os.sep, "/")
                    found[path] = entry.stat(follow_symlinks=False).st_mtime_ns
            except OSError:  # not there yet, or just gone
                continue
        return found


class Orders:
    """What the processes under ``kill_hook`` are told, in a file that all of them read."""

    def __init__(self, path: Path, files: Files):
        self.path, self.files = path, files

    @property
    def environment(self) -> dict[str, str]:
        search = os.pathsep.join(filter(None, (str(HOOK), os.environ.get("PYTHONPATH"))))
        return {"PYTHONPATH": search, "STORYMEM_KILL_ORDERS": str(self.path)}

    def give(self, pattern: str, number: int = 0, *, trace: bool = False) -> None:
        """Die before the ``number``-th step (from 1) with a file that fits; 0 never."""
        self._done().unlink(missing_ok=True)
        order = {
            "id": uuid.uuid4().hex,
            "root": str(self.files.root),
            "pattern": pattern,
            "number": number,
            "trace": trace,
        }
        fresh = self.path.with_suffix(".new")
        fresh.write_text(json.dumps(order))
        os.replace(fresh, self.path)

    def take_back(self) -> list[tuple[str, str]]:
        """No order any more; the steps that the last one met, as event and path."""
        self.path.unlink(missing_ok=True)
        done = self._done()
        lines = done.read_text().splitlines() if done.exists() else []
        done.unlink(missing_ok=True)
        return [tuple(line.split(" ", 1)) for line in lines]

    def _done(self) -> Path:
        return Path(f"{self.path}.done")


def wait_for_change(
    files: Files,
    kind: str,
    number: int,
    start: Callable[[], None],
    is_over: Callable[[], bool],
) -> bool:
    """Start, and whether the ``number``-th change of a file of a kind came before the story was
    over."""
    pattern = files.patterns()[kind]

    def look() -> set[tuple[str, int]]:
        return {item for item in files.watched().items() if re.search(pattern, item[0])}

    before, seen = look(), set()

    def has_come() -> bool:
        seen.update(look() - before)
        return len(seen) >= number

    start()
    return wait_until(has_come, is_over)


def wait_until(look_up: Callable[[], bool], is_over: Callable[[], bool]) -> bool:
    """Whether ``look_up`` became true before ``is_over``.

    Raises:
        RuntimeError: when neither did, after a long time.
    """
    deadline, next_look = time.monotonic() + MOST_SECONDS, 0.0
    while time.monotonic() < deadline:
        if look_up():
            return True
        if time.monotonic() > next_look:  # it costs the process more than a look at its files
            if is_over():
                return False
            next_look = time.monotonic() + 0.05
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"the story neither ended nor came to its moment in {MOST_SECONDS} s")
