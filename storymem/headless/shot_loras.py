"""LoRAs of single shots on diffusers' Wan: found in a folder, put on for a shot and taken off."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..files.packages import explain_missing
from ..loop.plan import Step
from ..loop.shot_loras import LoraFiles, LoraMark, of_shots
from ..sampling.lora_names import FoundLora, LoraNameError, check_once, find_lora
from ..script.loras import EXTENSIONS, ShotLora
from ..script.story import Shot, Story
from .adapters import check_extra_lora
from .extra_lora import ExtraLora, identity_note, load_extra_lora, put_on
from .identity import identify_weights
from .lora_places import places_of, places_of_config
from .models import read_config

EXPERTS = "both experts"  # where they are applied, in a shot's key
FOR_TEXT = (
    "LoRAs of single shots go on the I2V experts: a first shot that --t2v makes from text alone is "
    "made without them"
)
logger = logging.getLogger(__name__)

OnExpert = tuple[tuple[Path, float], ...]  # files and strengths, in the script's order


class StoryLoras:
    """The files that a story's LoRAs mean in one folder.

    Args:
        folder: holds them, at any depth; ``None`` when nobody said which.
        engine: an ``Engine``, which knows the model's folder.
    """

    def __init__(self, story: Story, folder: Path | None, engine):
        entries = {entry for shot in story.shots for entry in shot.loras}
        i2v = engine.files.i2v if entries and engine.takes_loras else None
        self._folder, self._i2v = folder, i2v
        files = _files_in(folder) if folder and entries else []
        self._found: dict[ShotLora, FoundLora] = {}
        self._faults: dict[ShotLora, str] = {}
        for entry in entries if i2v else ():
            try:
                self._found[entry] = find_lora(entry, files)
            except LoraNameError as error:
                self._faults[entry] = str(error)
        marks = {entry: self._mark(found) for entry, found in self._found.items()}
        self.files = LoraFiles(EXPERTS, marks) if entries and i2v else LoraFiles()

    def check(self, steps: Sequence[Step], *, has_t2v: bool) -> list[str]:
        """What an artist should know of the LoRAs of shots that are to be made.

        Args:
            has_t2v: whether a shot from text alone is made by other experts.

        Raises:
            ValueError: for a name that means no file, or several, and for files of another model.
        """
        shots: dict[ShotLora, list[int]] = {}
        for step in steps:
            for entry in step.plan.shot.loras if step.record is None else ():
                shots.setdefault(entry, []).append(step.plan.shot.index + 1)
        if not shots:
            return []
        numbers = of_shots(sorted({number for of in shots.values() for number in of}))
        if self._i2v is None:
            return [f"the LoRAs of {numbers} have no effect: the tiny model takes none"]
        if self._folder is None:
            raise ValueError(
                f"the script has LoRAs for {numbers}: pass --loras with the folder of their files"
            )
        try:
            import peft  # noqa: F401
        except ImportError as error:
            raise ValueError(explain_missing(["peft"])) from error
        config = read_config(self._i2v, "transformer")
        for entry, of in shots.items():
            if fault := self._faults.get(entry):
                raise ValueError(f"the LoRAs of {of_shots(of)} cannot be applied: {fault}")
            for file in self._found[entry].files:
                check_extra_lora(self._folder / file, config)
        for step in steps:
            if step.record is None:
                check_once({entry: self._found[entry] for entry in step.plan.shot.loras})
        notes = [note for entry in shots if (note := self._found[entry].note)]
        return [*notes, FOR_TEXT] if has_t2v and any(1 in of for of in shots.values()) else notes

    def of(self, shot: Shot) -> tuple[OnExpert, OnExpert]:
        """What the high- and the low-noise expert get for a shot."""
        pairs: tuple[list, list] = ([], [])
        for entry in shot.loras if self._i2v else ():
            found = self._found[entry]
            for files, file, strength in zip(
                pairs, (found.high, found.low), (entry.high, entry.low), strict=True
            ):
                if file:
                    files.append((self._folder / file, strength))
        return tuple(pairs[0]), tuple(pairs[1])

    def _mark(self, found: FoundLora) -> LoraMark:
        places = places_of_config(read_config(self._i2v, "transformer"))

        def mark(file: str) -> str:
            path = self._folder / file
            try:
                return identify_weights(path) + identity_note(path, places) if file else ""
            except (OSError, ValueError):
                return "unreadable"  # told when a shot needs it

        return LoraMark(mark(found.high), mark(found.low))


@dataclass
class _Worn:
    """What one expert has for a shot."""

    adapters: dict[Path, str]  # names in peft; of files with pairs alone
    loras: dict[Path, ExtraLora]
    originals: dict[str, torch.Tensor]  # of parameters that are changed as a whole


class ShotAdapters:
    """Puts LoRAs of a shot on experts and takes them off again, exactly."""

    def __init__(self):
        self._worn: dict[int, _Worn] = {}

    def forget(self) -> None:
        """Other experts come."""
        self._worn.clear()

    def put(self, expert: torch.nn.Module, files: OnExpert) -> dict[str, float]:
        """Have ``expert`` wear these files alone; strengths by the adapters' names, in order.

        A file that it wears already is not read again.
        """
        worn = self._worn.get(id(expert))
        if worn is None:
            if not files:
                return {}
            worn = self._worn[id(expert)] = _Worn({}, {}, {})
        strengths = dict(files)
        parameters = _parameters(expert)
        for name, original in worn.originals.items():
            parameters[name].data = original.to(parameters[name].device)
        worn.originals.clear()
        for path in [path for path in worn.loras if path not in strengths]:
            del worn.loras[path]
            if name := worn.adapters.pop(path, ""):
                expert.delete_adapters(name)
        for path in strengths:
            if path not in worn.loras:
                self._add(expert, worn, path)
        parameters = _parameters(expert)
        for path, strength in files:
            for name, change in worn.loras[path].changes.items():
                data = parameters[name].data
                worn.originals.setdefault(name, data)
                changed = data.float() + strength * change.to(data.device).float()
                parameters[name].data = changed.to(data.dtype)
        return {worn.adapters[path]: strengths[path] for path, _ in files if path in worn.adapters}

    def _add(self, expert: torch.nn.Module, worn: _Worn, path: Path) -> None:
        lora = load_extra_lora(path, places_of(expert))
        if lora.pairs:
            taken = set(worn.adapters.values())
            name = next(n for i in range(len(taken) + 1) if (n := f"shot_{i}") not in taken)
            put_on(expert, replace(lora, changes={}), name)
            worn.adapters[path] = name
        worn.loras[path] = replace(lora, pairs={}, scales={}, biases={})
        logger.info("%s: %s", path.name, lora.describe())


def _parameters(expert: torch.nn.Module) -> Mapping[str, torch.nn.Parameter]:
    return {name.replace(".base_layer.", "."): p for name, p in expert.named_parameters()}


def _files_in(folder: Path) -> list[str]:
    """LoRA files of a folder and those in it, from there on.

    Raises:
        ValueError: when it is no folder.
    """
    if not folder.is_dir():
        raise ValueError(f"there is no folder {folder}; check --loras")
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix.lower() in EXTENSIONS and path.is_file()
    )
