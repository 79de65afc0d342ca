"""``python -m storymem run``: options in, exit code out."""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

import torch

from ..files.images import read_picture
from ..files.messages import counted
from ..film.finished_story import read_script
from ..headless import parallel
from ..headless.adapters import find_lora_files
from ..headless.engine import Engine, ModelFiles
from ..headless.judges import SelectionModels
from ..headless.models import DTYPES, Placement
from ..headless.runner import STORE_FOLDER, RunSettings, ShotFailed, StoryRun
from ..headless.sampling import SCHEDULER_OF_SAMPLER, check_recipe
from ..loop.plan import LoopSettings, Step
from ..loop.shot_store import ShotStore
from ..memory.bank import MemoryBank, start_bank
from ..memory.bank_folder import load_bank
from ..memory.policies import BY_NAMES, POLICIES
from ..sampling.recipe import Recipe
from ..sampling.start_images import from_folder, pictures_of
from ..script.numbers import parse_ranges
from ..script.reader import load_story
from ..script.story import Story
from ..tiny import demo
from ..tiny import files as tiny_files
from ..views.story_sheet import save_story_sheet
from .exit_codes import DONE, INCOMPLETE, INTERRUPTED, REFUSED
from .opening_options import opening_clip
from .pass_options import draft_lora, draft_of, folder_of_pass, stages_of
from .rehearsal_options import opening_bank
from .run_options import add_options as add_options  # of this command, for the program
from .run_options import in_options, settle
from .sound_options import heard_of

logger = logging.getLogger(__name__)


def check(options: argparse.Namespace) -> tuple[ModelFiles, Placement, Recipe]:
    """Which models work, where and how, by the options alone; nothing big is read.

    Raises:
        ValueError: for what is missing, or does not go together.
    """
    settle(options)
    draft, recipe = draft_of(options), _recipe(options)
    if lora := draft_lora(options, draft, recipe):
        options.extra_lora_high, options.extra_lora_low = lora
    kind = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    files = _files(options)
    files.check()
    return files, _placement(options, kind), draft.recipe_of(recipe) if draft else recipe


def run(options: argparse.Namespace) -> int:
    """The whole command; its exit code."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger(__package__.split(".")[0]).setLevel(
        logging.WARNING if options.quiet else logging.INFO
    )
    if options.rehearsals:
        return _rehearse(options)
    try:
        files, placement, recipe = check(options)
        options.out = folder_of_pass(options.out, draft_of(options))
    except ValueError as error:
        logger.error("error: %s", in_options(error))
        return REFUSED
    if parallel.world_size() == 1:
        return _drive(options, _engine(options)(files, placement, recipe))
    if options.tiny:
        logger.error("error: --tiny works in one process; start it without torchrun")
        return REFUSED
    try:
        device = parallel.join(placement.device.type)
    except ValueError as error:
        logger.error("error: %s", error)
        return REFUSED
    engine = Engine(files, Placement(device, placement.dtype, placement.offload), recipe)
    try:
        if parallel.rank() > 0:
            parallel.serve(lambda job: engine.take_part(*job))
            code = DONE
        else:
            try:
                code = _drive(options, engine)
            finally:
                parallel.send(None)
    finally:
        parallel.leave()
    parallel.end(code)


def _rehearse(options: argparse.Namespace) -> int:
    """Drafts, each from the frames of the one before, then the film from those of the last."""
    engine = before = None
    try:
        if parallel.world_size() > 1:
            raise ValueError("--rehearsals works in one process; start it without torchrun")
        settle(options)
        stages = stages_of(options, _story(options))
        checked = [check(stage) for stage in stages]
        for stage, (files, placement, recipe) in zip(stages, checked, strict=True):
            stage.out = folder_of_pass(options.out, draft_of(stage))
            stage.rehearsed = before
            if engine is None or engine.files != files:
                engine = None  # its models go before others come
                engine = _engine(options)(files, placement, recipe)
            engine.recipe = recipe
            if code := _drive(stage, engine):
                return code
            before = stage.out
    except ValueError as error:
        logger.error("error: %s", in_options(error))
        return REFUSED
    return DONE


def _drive(options: argparse.Namespace, engine: Engine) -> int:
    """The process that reads, decides and writes."""
    try:
        story = _story(options)
        work = _work(options, story, engine)
        steps = work.plan()
    except ValueError as error:
        logger.error("error: %s", in_options(error))
        return REFUSED
    todo = sum(step.record is None for step in steps)
    bars = Bars(todo, engine.recipe.steps, quiet=options.quiet)
    work.progress = bars.tell
    try:
        with bars.beside_log():
            video = work.run(steps)
    except ShotFailed as error:
        bars.close()
        logger.error("error: %s", in_options(error))
        logger.debug("", exc_info=True)
        return INCOMPLETE
    except KeyboardInterrupt:
        bars.close()
        logger.error("interrupted; run again with --resume to continue")
        return INTERRUPTED
    bars.close()
    logger.info("finished: %s", video)
    try:
        logger.info("contact sheet: %s", save_story_sheet(options.out))
    except (ValueError, OSError) as error:  # the story is there, and whole
        logger.warning("no contact sheet could be drawn: %s", error)
    return DONE


def _engine(options: argparse.Namespace) -> type[Engine]:
    if not options.tiny:
        return Engine
    from ..tiny.engine import TinyEngine

    return TinyEngine


class Bars:
    """tqdm: shots of the story, and sampling steps of the shot; in a file they would be noise."""

    def __init__(self, shots: int, steps: int, *, quiet: bool):
        from tqdm import tqdm

        self._has_bars = sys.stderr.isatty()
        off = quiet or shots == 0 or not self._has_bars
        self._shots = tqdm(total=shots, desc="shots", disable=off)
        self._steps = tqdm(total=steps, desc="steps", disable=off, leave=False)

    def tell(self, step: Step, done: int, total: int) -> None:
        """Move the bars on: ``done`` of ``total`` sampling steps of a shot are finished."""
        if done == 1:
            self._steps.reset(total)
            self._steps.set_description(f"shot {step.label}", refresh=False)
            if not self._has_bars:
                logger.info("shot %s: sampling, %s", step.label, counted(total, "step"))
        self._steps.update()
        if done == total:
            self._shots.update()

    @staticmethod
    def beside_log():
        """A context in which log lines go above the bars, not through them."""
        from tqdm.contrib.logging import logging_redirect_tqdm

        return logging_redirect_tqdm()

    def close(self) -> None:
        """Close both bars."""
        self._steps.close()
        self._shots.close()


def _files(options: argparse.Namespace) -> ModelFiles:
    if options.tiny:
        return _tiny_files(options)
    if options.model is None:
        raise ValueError("pass --model with a Wan2.2 folder, or --tiny for the tiny demo model")
    lora = find_lora_files(options.lora) if options.lora else None
    pair = _pair(options.lora_high, options.lora_low, "--lora")
    if lora and pair:
        raise ValueError("pass either --lora or --lora-high and --lora-low, not both")
    extra = _pair(options.extra_lora_high, options.extra_lora_low, "--extra-lora")
    return ModelFiles(
        i2v=options.model,
        t2v=options.t2v,
        lora=lora or pair,
        lora_scale=options.lora_scale,
        extra_lora=extra,
        vae_tiling=options.vae_tiling,
    )


def _tiny_files(options: argparse.Namespace) -> ModelFiles:
    from ..tiny.engine import TinyFiles

    loras = ("lora", "lora_high", "lora_low", "extra_lora_high", "extra_lora_low")
    for name in ("model", "t2v", *loras):
        if getattr(options, name):
            raise ValueError(f"pass either --tiny or --{name.replace('_', '-')}, not both")
    if options.tiny_weights and not options.tiny_weights.is_dir():
        raise ValueError(f"there is no folder {options.tiny_weights}; check --tiny-weights")
    tiny_files.check_own(options.tiny_weights)
    return TinyFiles.find(options.tiny_weights)


def _pair(high: Path | None, low: Path | None, name: str) -> tuple[Path, Path] | None:
    if (high is None) != (low is None):
        raise ValueError(f"pass both {name}-high and {name}-low: each expert has its own file")
    return None if high is None else (high, low)


def _recipe(options: argparse.Namespace) -> Recipe:
    names = ("steps", "cfg", "cfg_low", "cfg_cut", "shift", "boundary", "sampler", "rope_shift",
             "memory_refresh", "refresh_steps")  # fmt: skip
    recipe = Recipe(
        **{name: getattr(options, name) for name in names},
        scheduler=SCHEDULER_OF_SAMPLER[options.sampler],
    )
    check_recipe(recipe)
    return recipe


def _placement(options: argparse.Namespace, kind: str) -> Placement:
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda was asked for, but torch sees no GPU; use --device cpu")
    dtype = options.dtype or ("float32" if kind == "cpu" else "bfloat16")
    offload = options.offload or ("none" if kind == "cpu" else "model")
    return Placement(torch.device(kind), DTYPES[dtype], offload)


def _story(options: argparse.Namespace) -> Story:
    if options.script is None:
        if not options.tiny:
            raise ValueError("pass a story script, such as story.txt")
        return load_story(demo.SCRIPT, character=options.character)
    story = read_script(options.script)
    character = "\n".join(part for part in (story.character, options.character) if part)
    return replace(story, character=character)


def _bank(options: argparse.Namespace) -> MemoryBank:
    if options.memory == "off":
        if options.bank or options.references or options.policy != POLICIES[0]:
            raise ValueError("--memory off goes with neither --bank, --references nor --policy")
        return MemoryBank()
    if options.bank and options.references:
        raise ValueError("pass either --bank or --references: a bank can hold references, too")
    if options.bank:
        given = options.given & {"max_frames", "sink"}
        wanted = {name: getattr(options, name) for name in given}
        return replace(load_bank(options.bank), policy=options.policy, **wanted)
    pictures = [read_picture(path).float() / 255 for path in options.references]
    if options.tiny and not pictures:
        pictures = demo.portraits(options.tiny_looks)
    by_name = options.policy in BY_NAMES or options.rehearsal is not None
    names = [path.stem for path in options.references] if by_name else ()
    return start_bank(
        pictures,
        names=names,
        max_frames=options.max_frames,
        sink=options.sink,
        policy=options.policy,
    )


def _opening(options: argparse.Namespace, story: Story) -> MemoryBank:
    """The memory that the story begins with, and what a rehearsal before it gives."""
    folder = getattr(options, "rehearsed", None)
    if folder is None:
        return opening_bank(options, story, _bank(options))
    options = argparse.Namespace(**{**vars(options), "rehearsal": folder})
    return opening_bank(options, story, _bank(options), ShotStore(folder / STORE_FOLDER))


def _reconstruct(options: argparse.Namespace, story: Story) -> str:
    """The text of the identity frame; empty without."""
    if options.reconstruct and not story.reconstruct_prompt:
        raise ValueError(
            "--reconstruct draws what the script's reconstruct_target says, but the script has "
            "none; write who is in the story there, a line for each, or leave --reconstruct away"
        )
    return story.reconstruct_prompt if options.reconstruct else ""


def _work(options: argparse.Namespace, story: Story, engine: Engine) -> StoryRun:
    has_memory = options.memory == "on"
    settings = RunSettings(
        out=options.out,
        has_memory=has_memory,
        reconstruct=_reconstruct(options, story),
        loop=LoopSettings(
            continuity=options.continuity if has_memory else "cut",
            keep_later=not has_memory,  # no shot depends on another one
            negative=options.negative,
            start_shot=options.start_shot,
            end_shot=options.end_shot,
            redo=parse_ranges(options.redo, "redo_shots", shots=len(story.shots)),
            take=options.take,
            draft=draft_of(options),
        ),
        **{
            name: getattr(options, name)
            for name in (
                "width", "height", "length", "size_rule", "seed", "lora_strength", "method",
                "selection", "threshold", "max_keyframes", "start_image", "fps", "resume",
            )
        },
    )  # fmt: skip
    models = SelectionModels(
        options.embedder, options.clip, options.scorer, options.scorer_threshold,
        options.laion_clip, options.laion_head, options.hpsv3,
    )  # fmt: skip
    names = {name for shot in story.shots for name in shot.references}
    folder = options.script.parent if options.script else Path()
    references = {name: folder / name for name in sorted(names)}
    if any(shot.references for shot in story.shots) and not has_memory:
        raise ValueError("--memory off, but the script names reference images; take them out")
    pictures = from_folder(options.start_images, story) if options.start_images else {}
    own = {shot.index: folder / shot.start_image for shot in story.shots if shot.start_image}
    pictures |= {index: read_picture(path) for index, path in own.items()}
    ends = {shot.index: folder / shot.end_image for shot in story.shots if shot.end_image}
    ends = {index: read_picture(path) for index, path in ends.items()}
    return StoryRun(
        story, settings, engine, models, _opening(options, story), references, pictures,
        may_keep_sampler=not options.tiny and "sampler" not in options.given,
        end_images=pictures_of(ends), heard=heard_of(options, story, folder),
        loras=options.loras, opening=opening_clip(options, story),
    )  # fmt: skip
