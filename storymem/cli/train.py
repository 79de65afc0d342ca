"""``python -m storymem train``: options in, exit code out."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import torch

from ..files.disk import check_out
from ..files.messages import counted
from ..files.packages import explain_missing
from ..headless.models import (
    DTYPES,
    I2V_CHANNELS,
    OWN_FILES,
    Placement,
    WanVae,
    check_folder,
    encode_texts,
    require_diffusers,
)
from ..memory.policies import MAX_MEMORY_FRAMES
from ..sampling.lora import TARGETS
from ..sampling.lora_scale import LORA_ALPHA
from ..sampling.recipe import I2V_BOUNDARY, SHIFT
from ..sampling.rope import MEMORY_ROPE_SHIFT
from ..training import checkpoints
from ..training.data import ExampleSettings, find_groups
from ..training.objective import EXPERTS, NoiseLevels
from ..training.trainer import Trainer, TrainSettings
from .exit_codes import BROKEN, DONE, INTERRUPTED, REFUSED

EXIT_CODES = """exit codes:
  0    trained to --steps
  1    training failed; checkpoints are kept: run again with --resume
  2    an option, the data or a file is wrong; nothing was loaded
  130  interrupted; checkpoints are kept: run again with --resume"""
logger = logging.getLogger(__name__)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``python -m storymem train`` to its parser."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXIT_CODES
    add = parser.add_argument
    add("data", type=Path, help="one folder per scene or character, clips with .txt captions")
    add("--model", type=Path, required=True, help="folder of Wan-AI/Wan2.2-I2V-A14B-Diffusers")
    add("--out", type=Path, required=True, help="folder for checkpoints")
    add("--expert", choices=EXPERTS, default="high", help="which expert; train both in two runs")
    add("--resume", action="store_true", help="continue from the newest checkpoint in --out")
    add("--quiet", action="store_true", help="no progress bar, warnings only")

    what = parser.add_argument_group("what is trained (defaults: the release's LoRA)")
    add = what.add_argument
    add("--all-weights", action="store_true", help="all weights instead of a LoRA")
    add("--rank", type=int, default=128)
    add("--alpha", type=float, default=LORA_ALPHA)
    add(
        "--no-rslora",
        dest="use_rslora",
        action="store_false",
        help="scale by alpha/rank, not alpha/sqrt(rank)",
    )
    add("--targets", nargs="+", default=list(TARGETS), metavar="MODULE", help=", ".join(TARGETS))

    how = parser.add_argument_group("how")
    add = how.add_argument
    add("--steps", type=int, default=10_000)
    add("--accumulate", type=int, default=1, help="examples per GPU and step")
    add("--learning-rate", type=float, default=1e-4)
    add("--warmup", type=int, default=100, help="steps")
    add("--weight-decay", type=float, default=0.01)
    add("--clip-norm", type=float, default=1.0, help="longer gradients are clipped to it; above 0")
    add("--save-every", type=int, default=500, help="steps")
    add("--keep", type=int, default=3, help="checkpoints kept; 0: all")
    add("--save-dtype", choices=tuple(DTYPES), default="float32", help="of LoRA files")
    add("--boundary", type=float, default=I2V_BOUNDARY, help="noise level where the experts meet")
    add("--shift", type=float, default=SHIFT, help="shift of the training timesteps")
    add("--rope-shift", type=int, default=MEMORY_ROPE_SHIFT)
    add("--device", choices=("cuda", "cpu"), help="default: cuda when there is one")
    add(
        "--dtype",
        choices=tuple(DTYPES),
        help="dtype of frozen weights; default bfloat16 (cpu: float32)",
    )
    add("--workers", type=int, default=2, help="processes that decode clips")
    add("--no-gradient-checkpointing", action="store_true", help="faster, far more memory")

    data = parser.add_argument_group("examples")
    add = data.add_argument
    for name, default in (("width", 832), ("height", 480), ("length", 81), ("seed", 0)):
        add(f"--{name}", type=int, default=default)
    add("--max-memory", type=int, default=MAX_MEMORY_FRAMES, help="1 to this many memory frames")
    add("--modes", type=float, nargs=3, default=(0.5, 0.25, 0.25), metavar="SHARE",
        help="shares of M2V, MI2V and MM2V examples")  # fmt: skip
    add("--text-dropout", type=float, default=0.1, help="share of examples without the caption")


def run(options: argparse.Namespace) -> int:
    """The whole command; its exit code."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger(__package__.split(".")[0]).setLevel(
        logging.WARNING if options.quiet else logging.INFO
    )
    kind = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        settings = _settings(options, kind)
        _require_training()
        check_folder(options.model, I2V_CHANNELS)
        checkpoints.lora_config(
            settings.rank, settings.alpha, settings.use_rslora, settings.targets
        )
        groups = find_groups(options.data)
        _check_out(settings)
    except ValueError as error:
        logger.error("error: %s", error)
        return REFUSED
    clips = counted(sum(map(len, groups)), "clip")
    logger.info("%s, %s", counted(len(groups), "group"), clips)
    try:
        _train(options, settings, groups, kind)
    except (ValueError, RuntimeError, OSError) as error:
        logger.error("error: %s", error)
        logger.debug("", exc_info=True)
        return BROKEN
    except KeyboardInterrupt:
        logger.error("interrupted; run again with --resume to continue")
        return INTERRUPTED
    return DONE


def _train(options: argparse.Namespace, settings: TrainSettings, groups: list, kind: str) -> None:
    from accelerate import PartialState
    from diffusers import WanTransformer3DModel
    from tqdm.auto import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    device = PartialState(cpu=kind == "cpu").device
    is_main = PartialState().is_main_process
    placement = Placement(device, _dtype(options, kind), "none")
    captions = sorted({clip.caption for group in groups for clip in group} | {""})
    texts = encode_texts(options.model, placement, captions)
    vae = WanVae.load(options.model, placement)
    transformer = WanTransformer3DModel.from_pretrained(
        options.model,
        subfolder="transformer" if options.expert == "high" else "transformer_2",
        torch_dtype=torch.float32 if settings.all_weights else placement.dtype,
        **OWN_FILES,
    )
    trainer = Trainer(transformer, vae, texts, groups, settings)
    with (
        tqdm(total=settings.steps, desc="steps", disable=options.quiet or not is_main) as bar,
        logging_redirect_tqdm(),
    ):

        def tell(step: int, loss: float) -> None:
            bar.update(step - bar.n)
            bar.set_postfix(loss=f"{loss:.4f}")

        trainer.train(tell)


def _settings(options: argparse.Namespace, kind: str) -> TrainSettings:
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda was asked for, but torch sees no GPU; use --device cpu")
    names = (
        "out", "steps", "accumulate", "learning_rate", "warmup", "weight_decay", "clip_norm",
        "all_weights", "rank", "alpha", "use_rslora", "rope_shift", "save_every", "keep",
        "workers", "resume",
    )  # fmt: skip
    dtype = _dtype(options, kind)
    precision = {torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, "no")
    return TrainSettings(
        **{name: getattr(options, name) for name in names},
        targets=tuple(options.targets),
        save_dtype=DTYPES[options.save_dtype],
        mixed_precision=precision,
        gradient_checkpointing=not options.no_gradient_checkpointing,
        examples=ExampleSettings(
            options.width, options.height, options.length, options.max_memory,
            tuple(options.modes), options.text_dropout, options.seed,
        ),
        levels=NoiseLevels(options.expert, options.boundary, options.shift),
    )  # fmt: skip


def _dtype(options: argparse.Namespace, kind: str) -> torch.dtype:
    return DTYPES[options.dtype or ("float32" if kind == "cpu" else "bfloat16")]


def _require_training() -> None:
    require_diffusers()
    try:
        import accelerate  # noqa: F401
        import av  # noqa: F401
        import peft  # noqa: F401
    except ModuleNotFoundError as error:
        raise ValueError(explain_missing([error.name or "accelerate"])) from error


def _check_out(settings: TrainSettings) -> None:
    found = checkpoints.list_checkpoints(settings.out)
    if found and not settings.resume:
        raise ValueError(
            f"{settings.out} already holds checkpoints up to step {found[-1][0]}; pass --resume to "
            "continue, or choose another --out"
        )
    if settings.resume and not found:
        raise ValueError(f"there is no checkpoint in {settings.out}; leave --resume out")
    if settings.resume:
        checkpoints.read_state(found[-1][1], is_mapped=True)
    check_out(settings.out, "checkpoints")
