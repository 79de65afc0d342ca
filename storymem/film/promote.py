"""Promote: what shots of a film take over from a pass before it, as pictures and seeds.

What was taken over stays: the pictures are copied into the store and the film's ``story.json`` says
which they are, so that another draft changes no shot of the film. That the draft has changed since
is told, and promoting again takes the new pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from ..files.hashing import digest_of
from ..files.json_text import parse_json
from ..files.messages import listed, shown
from ..files.names import is_digest
from ..loop.plan import Loop
from ..loop.shot_record import DamagedError
from ..loop.shot_store import ShotStore
from ..memory.frame import MemoryFrame
from ..memory.picture import Picture
from ..script.fields import MAX_SEED
from ..script.promoted import Promoted
from ..script.story import Shot, Story
from .manifest import read_manifest, update_manifest
from .passes import film_folder, pass_folder_name, pass_of
from .rehearsal import PASS_WORDS
from .shown_shots import ShownShot, shown_shots, store_of

TABLE = "promoted"  # in story.json: by what was promoted, the pictures and the seed that it gave
MOST_KEPT = 10_000
Taken = tuple[list[MemoryFrame], int | None]  # pictures and a seed


@dataclass(frozen=True)
class Promotions:
    """What a film's shots take over, by index."""

    seeds: Mapping[int, int] = field(default_factory=dict)
    start_images: Mapping[int, torch.Tensor] = field(default_factory=dict)  # uint8 [H, W, 3]
    memory: Mapping[int, tuple[MemoryFrame, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # what the artist should know before the first shot
    table: Mapping[str, Mapping] = field(default_factory=dict)  # what is to be written down

    def keep(self, folder: Path, story: Story, store: ShotStore) -> None:
        """Copy the pictures into the store and write down which they are; none that are known.

        Args:
            folder: of the film, which is there.

        Raises:
            StoreError: when the disk refuses.
        """
        known = read_table(folder)
        if all(known.get(name) == entry for name, entry in self.table.items()):
            return
        frames = [frame for part in self.memory.values() for frame in part]
        frames += [MemoryFrame(pixels) for pixels in self.start_images.values()]
        store.keep_pictures(frames)
        kept = {**known, **self.table}
        update_manifest(folder, story, **{TABLE: dict(list(kept.items())[-MOST_KEPT:])})


def promotions(story: Story, folder: Path, store: ShotStore, *, again: bool = False) -> Promotions:
    """What the script's ``promote`` fields mean. Writes nothing.

    Args:
        folder: of the film, or of any of its passes, whether it is there or not.
        again: take the passes as they are now, also for what was promoted before.

    Raises:
        ValueError: naming the shot, for a pass or a shot of it that is not finished, a frame that
            it does not have, and a picture that is nowhere.
    """
    if not any(shot.promote for shot in story.shots):
        return Promotions()
    work = _Work(story, film_folder(folder), store, {} if again else read_table(folder))
    for shot in story.shots:
        for entry in shot.promote:
            try:
                work.add(shot, entry)
            except ValueError as error:
                if not (shot.lock or shot.take):  # which stays as it is
                    raise
                work.notes.append(str(error))
    return work.result()


def with_promotions(loop: Loop, folder: Path) -> tuple[Loop, Promotions]:
    """A loop whose shots take over what their script says; that of a pass before the film is as it
    was. A start image that the script names itself wins.

    Args:
        folder: of the film, whether it is there or not.

    Raises:
        ValueError: as ``promotions``.
    """
    if loop.settings.draft is not None:
        return loop, Promotions()
    found = promotions(loop.story, folder, loop.store)
    named = {shot.index for shot in loop.story.shots if shot.start_image}
    starts = {i: pixels for i, pixels in found.start_images.items() if i not in named}
    starts = {**loop.start_images, **starts}
    changes = {"start_images": starts, "promoted": found.memory, "seeds": found.seeds}
    return replace(loop, **changes, notes=(*loop.notes, *found.notes)), found


def read_table(folder: Path) -> dict[str, dict]:
    """What was promoted to a film before, as its ``story.json`` says; wrong entries left out."""
    table = read_manifest(folder).get(TABLE)
    return {
        name: entry
        for name, entry in (table.items() if isinstance(table, Mapping) else ())
        if isinstance(entry, dict)
        and isinstance(entry.get("key"), str)
        and _is_seed(entry.get("seed"))
        and isinstance(entry.get("pictures"), list)
        and all(map(is_digest, entry["pictures"]))
    }


def _is_seed(value: object) -> bool:
    return value is None or (type(value) is int and 0 <= value <= MAX_SEED)


def find_picture(store: ShotStore, digits: str) -> MemoryFrame | None:
    """The picture of the store whose digest begins with ``digits``, when it is the only one."""
    found = list((store.root / "pictures" / digits[:2]).glob(f"{digits}*.png"))
    if len(found) != 1:
        return None
    with suppress(DamagedError):
        return MemoryFrame(store.read_picture(found[0].stem))
    return None


class _Work:
    """One reading of a story's promotions; each pass is looked into once."""

    def __init__(self, story: Story, film: Path, store: ShotStore, known: Mapping[str, Mapping]):
        self.story, self.film, self.store, self.known = story, film, store, known
        self.notes: list[str] = []
        self._passes: dict[str, Mapping[int, ShownShot] | ValueError] = {}
        self._remade: dict[tuple[str, int], list[str]] = {}
        self._seeds: dict[int, int] = {}
        self._starts: dict[int, torch.Tensor] = {}
        self._memory: dict[int, list[MemoryFrame]] = {}
        self._table: dict[str, dict] = {}

    def add(self, shot: Shot, entry: Promoted) -> None:
        """Take over one thing.

        Raises:
            ValueError: when it is nowhere.
        """
        place = entry.shot or shot.index + 1
        what = self._words(entry, place)
        if place > len(self.story.shots):
            raise ValueError(
                f"{shot} promotes {what}, but the story has shots 1 to {len(self.story.shots)}"
            )
        try:
            frames, seed = self._find(shot, entry, place)
        except ValueError as error:
            raise ValueError(
                f"{shot} promotes {what}, which is not there: {error}; finish that pass first, or "
                "take promote out of the script"
            ) from error
        if entry.kind == "seed" and seed is not None:
            self._seeds[shot.index] = seed
        elif entry.kind == "start":
            self._starts[shot.index] = frames[0].image
        elif entry.kind == "memory":
            self._memory.setdefault(shot.index, []).extend(frames)

    def result(self) -> Promotions:
        for (source, place), shots in self._remade.items():
            self.notes.append(
                f"{PASS_WORDS[source]} shot {place} was made again since it was promoted to shot "
                f"{listed(dict.fromkeys(shots))}: the film keeps the earlier pictures; promote it "
                "again in the story editor to use the new ones"
            )
        memory = {index: _each_once(frames) for index, frames in self._memory.items()}
        return Promotions(self._seeds, self._starts, memory, tuple(self.notes), self._table)

    def _find(self, shot: Shot, entry: Promoted, place: int) -> Taken:
        """The pictures and the seed of an entry: those that it gave before, else as they are."""
        of = self.story.shots[place - 1]
        name = digest_of([*entry._replace(shot=0, name=""), of.prompt])[:24]
        known = self.known.get(name)
        present = self._present(entry.source, place)
        now = present.key if isinstance(present, ShownShot) else ""
        held = self._held(known) if known and _fits(known, entry) else None
        if held is not None:
            if now and known["key"] and now != known["key"] and not entry.picture:
                self._remade.setdefault((entry.source, place), []).append(str(shot.index + 1))
            self._table[name] = dict(known)
            return self._named(held, entry, place), known["seed"]
        if entry.picture and (picture := find_picture(self.store, entry.picture)):
            frames, seed = [picture], None
        elif isinstance(present, ValueError):
            raise present
        else:
            frames, seed = self._take(entry, present)
        self._table[name] = {"key": now, "pictures": [f.digest for f in frames], "seed": seed}
        return self._named(frames, entry, place), seed

    def _held(self, known: Mapping) -> list[MemoryFrame] | None:
        """The pictures of an entry of before; ``None`` where the store lost one."""
        digests = known["pictures"]
        if not self.store.has_pictures(digests):
            return None
        return [MemoryFrame(self.store.read_picture(digest)) for digest in digests]

    def _take(self, entry: Promoted, shot: ShownShot) -> Taken:
        """What a shot of a pass gives as it is now."""
        store = store_of(self._folder_of(entry.source), self.store)
        if entry.kind == "seed":
            return [], seed_of(store, shot)
        if entry.kind == "memory" and entry.frame is None:
            return keyframes_of(store, shot, self.story.name), None
        picture = MemoryFrame(shot.read_frame(entry.frame or 0))
        if entry.picture and not picture.digest.startswith(entry.picture):
            raise ValueError("the picture that was chosen is gone, and the pass shows another")
        return [picture], None

    def _folder_of(self, source: str) -> Path:
        return self.film.with_name(pass_folder_name(self.film.name, source))

    def _present(self, source: str, place: int) -> ShownShot | ValueError:
        if source not in self._passes:
            try:
                folder = self._folder_of(source)
                if folder.is_dir() and (found := pass_of(folder)) != source:  # a title ends so
                    raise ValueError(
                        f"{folder} holds a {found}, and not the {source} of "
                        f"{shown(self.story.name)}; choose another filename_prefix or title"
                    )
                found = shown_shots(folder, self.story, self.store)
                self._passes[source] = {shot.number: shot for shot in found}
            except ValueError as error:
                self._passes[source] = error
        shots = self._passes[source]
        if isinstance(shots, ValueError):
            return shots
        return shots.get(place) or ValueError(f"shot {place} of {source} is not finished")

    def _named(
        self, frames: Sequence[MemoryFrame], entry: Promoted, place: int
    ) -> list[MemoryFrame]:
        """Frames that say where they are from and whom they show."""
        of = self.story.shots[place - 1]
        what = self._words(entry, place)
        how = {"name": entry.name, "prompt": of.prompt, "story": self.story.name}
        return [replace(frame, reason=f"promoted: {what}", **how) for frame in frames]

    def _words(self, entry: Promoted, place: int) -> str:
        of = f"{PASS_WORDS[entry.source]} shot {place}"
        if entry.kind == "seed":
            return f"the seed of {of}"
        if entry.kind == "memory" and entry.frame is None and not entry.picture:
            return f"the keyframes of {of}"
        return f"frame {entry.frame or 0} of {of}"


def keyframes_of(store: ShotStore, shot: ShownShot, story: str) -> list[MemoryFrame]:
    """What a finished shot left in the memory.

    Raises:
        ValueError: when its record is gone, or it left nothing.
    """
    record = store.find(shot.key)
    if record is None:
        raise ValueError(f"the record of shot {shot.number} is gone from the store")
    index = record.facts.get("shot")
    frames = [
        MemoryFrame(Picture(frame.image))
        for frame in store.outline(record).frames
        if frame.shot == index and frame.frame >= 0 and frame.story in ("", story)
    ]
    if not frames:
        raise ValueError(f"shot {shot.number} kept no keyframe")
    return frames


def seed_of(store: ShotStore, shot: ShownShot) -> int:
    """The seed that a finished shot was sampled with.

    Raises:
        ValueError: when nothing tells it.
    """
    facts = store.find_facts(shot.key) or {}
    if isinstance(seed := facts.get("seed"), int):
        return seed
    bases: set[int] = set()
    with suppress(ValueError, TypeError):
        bases = set(_seeds_in(parse_json(store.find_body(facts.get("body", "")) or "null")))
    if len(bases) != 1 or not isinstance(index := facts.get("shot"), int):
        raise ValueError(
            f"nothing tells the seed of shot {shot.number}: its sampler was given it by a wire, or "
            "there are several"
        )
    return (bases.pop() + index) % 2**64


def _seeds_in(body: object) -> Iterator[int]:
    """Values of all inputs ``seed`` in what describes a loop's body."""
    if isinstance(body, str):
        with suppress(ValueError):
            yield from _seeds_in(parse_json(body)) if body[:1] in ("[", "{") else ()
    for name, value in body.items() if isinstance(body, dict) else ():
        if name == "seed" and isinstance(value, int) and not isinstance(value, bool):
            yield value
        else:
            yield from _seeds_in(value)
    for value in body if isinstance(body, list) else ():
        yield from _seeds_in(value)


def _fits(known: Mapping, entry: Promoted) -> bool:
    """Whether what an entry gave before, as a file says, is anything that it can give."""
    if entry.kind == "seed":
        return known["seed"] is not None
    return len(known["pictures"]) == 1 or (entry.kind == "memory" and bool(known["pictures"]))


def _each_once(frames: Sequence[MemoryFrame]) -> tuple[MemoryFrame, ...]:
    return tuple({frame.digest: frame for frame in frames}.values())
