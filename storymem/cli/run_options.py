"""The options of ``python -m storymem run``: their defaults, also of the tiny model, and names."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from ..files.codecs import CODECS, H264
from ..film.timeline_files import KINDS
from ..headless.judges import EMBEDDERS, SCORERS
from ..headless.models import DTYPES, OFFLOADS
from ..headless.sampling import SAMPLERS
from ..memory.policies import MAX_MEMORY_FRAMES, POLICIES, SINK_FRAMES
from ..sampling.continuity import OVERLAP_FRAMES
from ..sampling.memory_refresh import MEMORY_REFRESH
from ..sampling.methods import METHODS
from ..sampling.recipe import NEGATIVE_PROMPT, Recipe
from ..sampling.request import SIZE_RULES
from ..selection.even import SELECTIONS
from ..tiny import demo
from ..tiny import files as tiny_files
from .opening_options import add_opening_options
from .pass_options import add_pass_options
from .rehearsal_options import add_rehearsal_options
from .sound_options import add_sound_options

EXIT_CODES = """exit codes:
  0    the story is finished
  1    an unexpected error (with its traceback)
  2    an option, the script or a file is wrong; nothing was made
  3    a shot failed or could not be written; finished shots are kept: run again with --resume
  130  interrupted; finished shots are kept: run again with --resume
Under torchrun, torchrun itself exits with 1 for anything but 0; the log shows the actual code."""
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
# Words of the library, which are inputs of the nodes, and the options that stand for them here.
OPTION_OF = {
    "redo_shots": "--redo",
    "filename_prefix": "--out",
    "opening_frames": "--opening",
    **{
        name: f"--{name.replace('_', '-')}"
        for name in (
            "start_shot", "end_shot", "max_frames", "max_keyframes", "rope_shift", "size_rule",
            "lora_strength", "cfg_low", "cfg_cut",
        )
    },
}  # fmt: skip


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``python -m storymem run`` to its parser. Those in ``TINY_DEFAULTS`` are
    ``None``, unless given, until ``settle`` has seen them."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXIT_CODES
    parser.add_argument("script", type=Path, nargs="?", help="story script: .json (ST-Bench form) "
        "or .txt; optional with --tiny")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="folder for shots, video and bank")
    parser.add_argument("--resume", action="store_true", help="continue with the shots in --out")
    parser.add_argument("--quiet", action="store_true", help="no progress bars, warnings only")

    models = parser.add_argument_group("models (local folders and files; nothing is downloaded)")
    add = models.add_argument
    add("--model", type=Path, help="folder of Wan-AI/Wan2.2-I2V-A14B-Diffusers")
    add("--tiny", action="store_true", help="the tiny demo model in place of Wan2.2: a toy world "
        "at 96x96, on any CPU")  # fmt: skip
    add("--tiny-weights", type=Path, metavar="FOLDER", help="folder of your own tiny model; "
        f"default: {tiny_files.VARIABLE}, or else the one that comes with the pack")  # fmt: skip
    add("--tiny-looks", nargs=2, metavar=("BIG", "SMALL"), default=demo.LOOKS,
        help="looks of the two characters of --tiny, which the first memory shows; default: "
        f"'{demo.LOOKS[0]}' '{demo.LOOKS[1]}'")  # fmt: skip
    add("--t2v", type=Path, help="folder of Wan2.2-T2V-A14B-Diffusers: generates a first shot that "
        "has no reference, start image or memory")  # fmt: skip
    add("--lora", type=Path, help="folder of a memory LoRA: StoryMem's, such as "
        "Wan2.2-MI2V-A14B, or Memento's")  # fmt: skip
    add("--lora-high", type=Path, help="or the high-noise file alone")
    add("--lora-low", type=Path, help="with the low-noise file")
    add("--method", default=METHODS[0], choices=METHODS,
        help="memory model that shots are sampled with; auto: the one of the LoRA")  # fmt: skip
    add("--lora-scale", default="auto", choices=("auto", "rslora", "standard"),
        help="auto takes alpha/sqrt(rank) for files in the release's format")  # fmt: skip
    add("--lora-strength", type=float, default=1.0, help="1.0 is the trained strength")
    add("--extra-lora-high", type=Path, help="another Wan LoRA, such as a 4-step distill one")
    add("--extra-lora-low", type=Path)
    add("--loras", type=Path, metavar="FOLDER",
        help="where the LoRA files of single shots are that the script's loras names")  # fmt: skip
    add("--embedder", default="clip", choices=EMBEDDERS, help="clip: as in the paper, needs --clip")
    add("--clip", type=Path, help="CLIP ViT-B/32 weights file, for keyframe selection")
    add(
        "--scorer",
        default="none",
        choices=SCORERS,
        help="which scorer keeps poor frames out of memory",
    )
    add("--scorer-threshold", type=float, help="lowest good score; default: the scorer's own")
    add("--laion-clip", type=Path, help="CLIP ViT-L/14 weights file, for --scorer laion")
    add("--laion-head", type=Path, help="the predictor's head, for --scorer laion")
    add("--hpsv3", type=Path, help="HPSv3.safetensors, for --scorer hpsv3 (the paper's)")

    story = parser.add_argument_group("story")
    add = story.add_argument
    add(
        "--character",
        default="",
        help="description that goes before every prompt, after the script's own",
    )
    add(
        "--negative",
        default=NEGATIVE_PROMPT,
        help="negative prompt for shots that have none in the script",
    )
    add("--references", type=Path, nargs="+", default=[], metavar="IMAGE",
        help="reference images: the initial memory, pinned")  # fmt: skip
    add("--bank", type=Path, help="or start from a saved memory bank folder")
    add("--start-image", type=Path, help="picture to use as the first frame of the first shot")
    add("--start-images", type=Path, metavar="DIR",
        help="one picture per shot, used as its first frame: shot_01_01.png and so on")  # fmt: skip
    add("--memory", default="on", choices=("on", "off"),
        help="off: every shot begins with a cut and remembers nothing (a baseline); with --t2v all "
        "shots without a start image are generated from text")  # fmt: skip
    add("--continuity", default="last_frame", choices=("last_frame", "last_five_frames"),
        help=f"how shots without a cut continue: {OVERLAP_FRAMES['mi2v']} or "
        f"{OVERLAP_FRAMES['mm2v']} frames of the shot before")  # fmt: skip
    add("--start-shot", type=int, default=1, help="first shot to work on")
    add("--end-shot", type=int, default=0, help="last shot to work on; 0: the last one")
    add("--redo", default="", help="shots to retake with another seed, such as '3, 5-7'")
    add("--take", type=int, default=1, help="which take of --redo; each has its own seed")
    add("--max-frames", type=int, default=MAX_MEMORY_FRAMES,
        help="memory frames a shot sees; default with --bank: the bank's own setting")  # fmt: skip
    add("--sink", type=int, default=SINK_FRAMES,
        help="first keyframes that always stay in view; default with --bank: the bank's own "
            "setting")  # fmt: skip
    add("--policy", default=POLICIES[0], choices=POLICIES,
        help="which frames a shot sees when there are more than --max-frames: the first and the "
        "latest (the paper), those related to the prompt (needs --embedder clip), those that show "
        "who appears, or the same without those that show only others")  # fmt: skip
    add("--reconstruct", action="store_true", help="Memento's identity frame: the script's "
        "reconstruct_target is drawn along with every shot, and saved beside it")  # fmt: skip
    add("--selection", default=SELECTIONS[0], choices=SELECTIONS,
        help="how a shot's keyframes are picked; semantic: as in the paper; even: 8, evenly spaced "
        "(Memento), of which its LoRA chooses for each shot")  # fmt: skip
    add("--threshold", type=float, default=0.9, help="similarity below which a frame is new")
    add("--max-keyframes", type=int, default=3, help="keyframes per shot")

    released = Recipe()
    add = parser.add_argument_group("sampling (defaults: the released recipe)").add_argument
    for name, default in (("width", 832), ("height", 480), ("length", 81), ("seed", 0)):
        add(f"--{name}", type=int, default=default)
    add("--size-rule", default="exact", choices=SIZE_RULES)
    add("--steps", type=int, default=released.steps)
    add("--cfg", type=float, default=released.cfg)
    add(
        "--cfg-low",
        type=float,
        default=released.cfg_low,
        help="cfg of the low-noise expert; 0: the same as --cfg",
    )
    add(
        "--cfg-cut",
        type=float,
        default=released.cfg_cut,
        help="cfg of both experts for shots that begin with a cut (Memento: 5); 0: the same as "
        "those that continue",
    )
    add("--shift", type=float, default=released.shift)
    add("--boundary", type=float, default=released.boundary)
    add("--sampler", default=released.sampler, choices=SAMPLERS)
    add(
        "--rope-shift",
        type=int,
        default=released.rope_shift,
        help="the paper's S: distance between memory frames in time",
    )
    add(
        "--memory-refresh",
        default=released.memory_refresh,
        choices=MEMORY_REFRESH,
        help="exact: memory runs along in every step; cached: in few, and the shot reads the "
        "memory's kept keys and values in those between, which is faster",
    )
    add(
        "--refresh-steps",
        default=released.refresh_steps,
        help="with cached: steps in which memory runs along, counted from each expert's first, "
        "such as '0 1 3 7 15' (the default for 20 steps)",
    )
    add("--fps", type=float, default=16.0, help="of the videos")
    add("--codec", choices=tuple(CODECS), default=H264, help="others than h264 are written beside "
        "the videos, into the folder masters, with 10 bits for editing programs")  # fmt: skip
    add("--timeline", choices=KINDS, default=KINDS[0], help="for editing programs, beside the "
        "story video; edl at 24 frames per second and above")  # fmt: skip

    add_pass_options(parser)
    add_rehearsal_options(parser)
    add_opening_options(parser)
    add_sound_options(parser)
    machine = parser.add_argument_group("machine")
    add = machine.add_argument
    add("--device", choices=("cuda", "cpu"), help="default: cuda when there is one")
    add("--dtype", choices=tuple(DTYPES), help="of the experts; default bfloat16, float32 on cpu")
    add("--offload", choices=OFFLOADS, help="model: one expert on the GPU at a time (default on "
        "cuda); group: block by block, slower, for small cards; none: everything on the "
        "GPU")  # fmt: skip
    add("--vae-tiling", action="store_true", help="encode and decode in tiles, to use less memory")
    # Options that nobody gave are settled when it is known which model works.
    usual = {name: parser.get_default(name) for name in TINY_DEFAULTS}
    parser.set_defaults(usual=usual, **dict.fromkeys(TINY_DEFAULTS))


def settle(options: argparse.Namespace) -> None:
    """Give the options that nobody gave the values of the model that works; once."""
    if hasattr(options, "given"):
        return
    options.given = {name for name in TINY_DEFAULTS if getattr(options, name) is not None}
    for name, value in (TINY_DEFAULTS if options.tiny else options.usual).items():
        if getattr(options, name) is None:
            setattr(options, name, value)


def in_options(error: Exception) -> str:
    """An error in the words of the command line; what is part of a path stays."""
    names = "|".join(OPTION_OF)
    return re.sub(rf"(?<![-\w/\\])({names})(?![\w/\\])", lambda m: OPTION_OF[m[1]], str(error))
