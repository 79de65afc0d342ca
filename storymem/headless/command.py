"""``python -m storymem run``: options in, exit code out."""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace
from pathlib import Path

import torch

from ..bank_store import load_bank, read_picture
from ..continuity import GIVEN_FRAMES
from ..memory_bank import MAX_MEMORY_FRAMES, SINK_FRAMES, MemoryBank, start_bank
from ..memory_policy import POLICIES
from ..rope import MEMORY_ROPE_SHIFT
from ..shot_loop import LoopSettings, Step, parse_shot_numbers
from ..start_images import from_folder
from ..story import Story, load_story
from ..story_sheet import save_story_sheet
from ..tiny import demo
from ..tiny import files as tiny_files
from . import parallel
from .adapters import find_lora_files
from .engine import Engine, ModelFiles
from .judges import EMBEDDERS, SCORERS, Judges
from .models import DTYPES, OFFLOADS, Placement
from .runner import SIZE_RULES, RunSettings, ShotFailed, StoryRun
from .sampling import SAMPLERS, Recipe

DONE, BROKEN, REFUSED, SHOT_FAILED, INTERRUPTED = 0, 1, 2, 3, 130
EXIT_CODES = """exit codes:
  0    the story is finished
  1    an unexpected error (with its trace)
  2    an option, the script or a file is wrong; nothing was made
  3    a shot failed or could not be written; finished shots are kept: run again with --resume
  130  interrupted; finished shots are kept: run again with --resume
Under torchrun, torchrun's own exit code is 1 for all but 0; the log says which it was."""
NEGATIVE = (  # Wan2.2's own, as its authors publish it
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，"
    "低质量，JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，"
    "毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)
# What --tiny changes of the defaults below: the tiny model's size and recipe.
TINY_DEFAULTS = {
    "width": demo.SIZE,
    "height": demo.SIZE,
    "length": demo.LENGTH,
    "max_frames": demo.MAX_MEMORY_FRAMES,
    "sink": SINK_FRAMES,
    "threshold": demo.KEYFRAME_THRESHOLD,
    "embedder": "no_weights",
    "negative": "",
    "seed": demo.SEED,
    **{name: demo.RECIPE[name] for name in ("steps", "cfg", "shift", "sampler", "rope_shift")},
}
logger = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXIT_CODES
    parser.add_argument("script", type=Path, nargs="?", help="story script: .json (ST-Bench form) "
        "or .txt; with --tiny it may be left out")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder for shots, video and bank")
    parser.add_argument("--resume", action="store_true", help="go on with the shots in --out")
    parser.add_argument("--quiet", action="store_true", help="no progress bars, warnings only")

    models = parser.add_argument_group("models (local folders and files; nothing is downloaded)")
    add = models.add_argument
    add("--model", type=Path, help="folder of Wan-AI/Wan2.2-I2V-A14B-Diffusers")
    add("--tiny", action="store_true", help="the tiny demo model in place of Wan2.2: a toy world "
        "at 96x96, on any CPU")  # fmt: skip
    add("--tiny-weights", type=Path, metavar="FOLDER", help=f"of your own tiny model; default: "
        f"{tiny_files.VARIABLE}, else the one that comes with the pack")  # fmt: skip
    add("--tiny-looks", nargs=2, metavar=("BIG", "SMALL"), default=demo.LOOKS,
        help="looks of the two characters of --tiny, which the first memory shows; default: "
        f"'{demo.LOOKS[0]}' '{demo.LOOKS[1]}'")  # fmt: skip
    add("--t2v", type=Path, help="folder of Wan2.2-T2V-A14B-Diffusers: makes a first shot that has "
        "no reference, start image or memory")  # fmt: skip
    add("--lora", type=Path, help="StoryMem LoRA folder, such as Wan2.2-MI2V-A14B")
    add("--lora-high", type=Path, help="or the high-noise file alone")
    add("--lora-low", type=Path, help="with the low-noise file")
    add("--lora-scale", default="auto", choices=("auto", "rslora", "standard"),
        help="auto reads alpha/sqrt(rank) for files as the release has them")  # fmt: skip
    add("--lora-strength", type=float, default=1.0, help="1.0 is as trained")
    add("--extra-lora-high", type=Path, help="another Wan LoRA, such as a 4-step distill one")
    add("--extra-lora-low", type=Path)
    add("--embedder", default="clip", choices=EMBEDDERS, help="clip: as in the paper, needs --clip")
    add("--clip", type=Path, help="CLIP ViT-B/32 weights file, for keyframe selection")
    add("--scorer", default="none", choices=SCORERS, help="what keeps poor frames out of memory")
    add("--scorer-threshold", type=float, help="lowest good score; default: the scorer's own")
    add("--laion-clip", type=Path, help="CLIP ViT-L/14 weights file, for --scorer laion")
    add("--laion-head", type=Path, help="the predictor's head, for --scorer laion")
    add("--hpsv3", type=Path, help="HPSv3.safetensors, for --scorer hpsv3 (the paper's)")

    story = parser.add_argument_group("story")
    add = story.add_argument
    add("--character", default="", help="description put before every prompt, after the script's")
    add("--negative", default=NEGATIVE, help="negative prompt of shots whose script says none")
    add("--references", type=Path, nargs="+", default=[], metavar="IMAGE",
        help="reference images: the initial memory, pinned")  # fmt: skip
    add("--bank", type=Path, help="or a saved memory bank folder")
    add("--start-image", type=Path, help="picture that begins the first shot")
    add("--start-images", type=Path, metavar="DIR",
        help="a picture for every shot that becomes its first frame: shot_01_01.png and so "
        "on")  # fmt: skip
    add("--memory", default="on", choices=("on", "off"),
        help="off: every shot begins anew and remembers nothing (a baseline); with --t2v all "
        "shots without start image come from text")  # fmt: skip
    add("--continuity", default="last_frame", choices=("last_frame", "last_five_frames"),
        help=f"how shots without a cut continue: {GIVEN_FRAMES['mi2v']} or "
        f"{GIVEN_FRAMES['mm2v']} frames of the shot before")  # fmt: skip
    add("--start-shot", type=int, default=1, help="first shot to work on")
    add("--end-shot", type=int, default=0, help="last shot to work on; 0: the last one")
    add("--redo", default="", help="shots to make again with another seed, such as '3, 5-7'")
    add("--take", type=int, default=1, help="another take of --redo, another seed")
    add("--max-frames", type=int, default=MAX_MEMORY_FRAMES,
        help="memory frames a shot sees; with --bank as the bank has it, unless given")  # fmt: skip
    add("--sink", type=int, default=SINK_FRAMES,
        help="first keyframes that always stay; with --bank likewise")  # fmt: skip
    add("--policy", default=POLICIES[0], choices=POLICIES,
        help="which frames a shot sees when there are more than --max-frames: the first and the "
        "latest (the paper), those related to the prompt (needs --embedder clip), or those that "
        "show who appears")  # fmt: skip
    add("--threshold", type=float, default=0.9, help="similarity below which a frame is new")
    add("--max-keyframes", type=int, default=3, help="keyframes per shot")

    recipe = parser.add_argument_group("sampling (defaults: the released recipe)")
    add = recipe.add_argument
    for name, default in (("width", 832), ("height", 480), ("length", 81), ("seed", 0)):
        add(f"--{name}", type=int, default=default)
    add("--size-rule", default="exact", choices=SIZE_RULES)
    add("--steps", type=int, default=40)
    add("--cfg", type=float, default=3.5)
    add("--cfg-low", type=float, default=0.0, help="of the low-noise expert; 0: the same")
    add("--shift", type=float, default=4.0)
    add("--boundary", type=float, default=0.9)
    add("--sampler", default="uni_pc", choices=SAMPLERS)
    add("--rope-shift", type=int, default=MEMORY_ROPE_SHIFT, help="S of the memory positions")
    add("--fps", type=float, default=16.0, help="of the videos")

    machine = parser.add_argument_group("machine")
    add = machine.add_argument
    add("--device", choices=("cuda", "cpu"), help="default: cuda when there is one")
    add("--dtype", choices=tuple(DTYPES), help="of the experts; default bfloat16, float32 on cpu")
    add("--offload", choices=OFFLOADS, help="model: one expert on the GPU at a time (default on "
        "cuda); group: block by block, slower, for small cards; none: everything on the "
        "GPU")  # fmt: skip
    add("--vae-tiling", action="store_true", help="encode and decode in tiles: less memory")
    # Options that nobody gave are settled when it is known which model works.
    usual = {name: parser.get_default(name) for name in TINY_DEFAULTS}
    parser.set_defaults(usual=usual, **dict.fromkeys(TINY_DEFAULTS))


def _settle(options: argparse.Namespace) -> None:
    options.given = {name for name in TINY_DEFAULTS if getattr(options, name) is not None}
    for name, value in (TINY_DEFAULTS if options.tiny else options.usual).items():
        if getattr(options, name) is None:
            setattr(options, name, value)


def run(options: argparse.Namespace) -> int:
    """The whole command; its exit code."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger(__package__.split(".")[0]).setLevel(
        logging.WARNING if options.quiet else logging.INFO
    )
    _settle(options)
    try:
        kind = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        files = _files(options)
        files.check()
        recipe = _recipe(options)
        placement = _placement(options, kind)
    except ValueError as error:
        logger.error("error: %s", error)
        return REFUSED
    if parallel.world_size() == 1:
        return _drive(options, _engine(options)(files, placement, recipe))
    if options.tiny:
        logger.error("error: --tiny works in one process; start it without torchrun")
        return REFUSED
    try:
        device = parallel.join(kind)
    except ValueError as error:
        logger.error("error: %s", error)
        return REFUSED
    engine = Engine(files, Placement(device, placement.dtype, placement.offload), recipe)
    try:
        if parallel.rank() > 0:
            parallel.serve(lambda job: engine.take_part(*job))
            return DONE
        try:
            return _drive(options, engine)
        finally:
            parallel.send(None)
    finally:
        parallel.leave()


def _drive(options: argparse.Namespace, engine: Engine) -> int:
    """The process that reads, decides and writes."""
    try:
        story = _story(options)
        work = _work(options, story, engine)
        steps = work.plan()
    except ValueError as error:
        logger.error("error: %s", error)
        return REFUSED
    todo = sum(step.record is None for step in steps)
    logger.info("%s: %d shots, %d to make", story.name, len(steps), todo)
    bars = Bars(todo, engine.recipe.steps, quiet=options.quiet)
    work.progress = bars.tell
    try:
        with bars.beside_log():
            video = work.run(steps)
    except ShotFailed as error:
        bars.close()
        logger.error("error: %s", error)
        logger.debug("", exc_info=True)
        return SHOT_FAILED
    except KeyboardInterrupt:
        bars.close()
        logger.error("interrupted; run again with --resume to go on")
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
    """tqdm: shots of the story, and sampling steps of the shot."""

    def __init__(self, shots: int, steps: int, *, quiet: bool):
        from tqdm.auto import tqdm

        off = quiet or shots == 0
        self._shots = tqdm(total=shots, desc="shots", disable=off)
        self._steps = tqdm(total=steps, desc="steps", disable=off, leave=False)

    def tell(self, step: Step, done: int, total: int) -> None:
        if done == 1:
            self._steps.reset(total)
            self._steps.set_description(f"shot {step.label}", refresh=False)
        self._steps.update()
        if done == total:
            self._shots.update()

    @staticmethod
    def beside_log():
        """A context in which log lines go above the bars, not through them."""
        from tqdm.contrib.logging import logging_redirect_tqdm

        return logging_redirect_tqdm()

    def close(self) -> None:
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
    return TinyFiles.find(options.tiny_weights)


def _pair(high: Path | None, low: Path | None, name: str) -> tuple[Path, Path] | None:
    if (high is None) != (low is None):
        raise ValueError(f"pass both {name}-high and {name}-low: each expert has its own file")
    return None if high is None else (high, low)


def _recipe(options: argparse.Namespace) -> Recipe:
    names = ("steps", "cfg", "cfg_low", "shift", "boundary", "sampler", "rope_shift")
    return Recipe(**{name: getattr(options, name) for name in names})


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
    try:
        text = options.script.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{options.script} cannot be read: {error}") from error
    story = load_story(text, default_name=options.script.stem)
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
    by_name = options.policy == "entities"
    names = [path.stem for path in options.references] if by_name else ()
    return start_bank(
        pictures,
        names=names,
        max_frames=options.max_frames,
        sink=options.sink,
        policy=options.policy,
    )


def _work(options: argparse.Namespace, story: Story, engine: Engine) -> StoryRun:
    has_memory = options.memory == "on"
    settings = RunSettings(
        out=options.out,
        has_memory=has_memory,
        loop=LoopSettings(
            continuity=options.continuity if has_memory else "cut",
            keep_later=not has_memory,  # no shot depends on another one
            negative=options.negative,
            start_shot=options.start_shot,
            end_shot=options.end_shot,
            redo=parse_shot_numbers(options.redo, len(story.shots)),
            take=options.take,
        ),
        **{
            name: getattr(options, name)
            for name in (
                "width", "height", "length", "size_rule", "seed", "lora_strength", "threshold",
                "max_keyframes", "start_image", "fps", "resume",
            )
        },
    )  # fmt: skip
    judges = Judges(
        options.embedder, options.clip, options.scorer, options.scorer_threshold,
        options.laion_clip, options.laion_head, options.hpsv3,
    )  # fmt: skip
    names = {name for shot in story.shots for name in shot.references}
    folder = options.script.parent if options.script else Path()
    references = {name: folder / name for name in sorted(names)}
    if any(shot.references for shot in story.shots) and not has_memory:
        raise ValueError("--memory off, but the script names reference images; take them out")
    pictures = from_folder(options.start_images, story) if options.start_images else None
    return StoryRun(story, settings, engine, judges, _bank(options), references, pictures)
