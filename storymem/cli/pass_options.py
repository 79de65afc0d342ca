"""The options of ``python -m storymem run`` that choose a pass: draft, then render."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..film.passes import pass_folder_name
from ..loop.passes import (
    DRAFT,
    FILM,
    PASSES,
    STILLS,
    check_draft,
    check_rehearsals,
    find_pass,
    rehearsal_draft,
)
from ..sampling.draft import Draft
from ..sampling.recipe import Recipe
from ..script.story import Story

# Options, and what they set; those that nobody gave leave what the pass has by itself.
SETTINGS = {
    "draft_steps": "steps",
    "draft_cfg": "cfg",
    "draft_size": "size",
    "draft_max_frames": "max_frames",
}
TINY_DRAFT = {"steps": 6, "size": 1.0}  # with fewer, or smaller, the tiny model draws nobody


def add_pass_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a pass before the film."""
    group = parser.add_argument_group("a pass before the film, in a folder beside --out")
    add = group.add_argument
    add("--pass", dest="pass_", default=FILM, choices=PASSES,
        help="draft: the whole story with few steps, in <out>.draft; stills (experimental): one "
        "picture per shot, in <out>.stills; default: the film")  # fmt: skip
    add("--draft-steps", type=int, help=f"over both experts; 0: --steps; default: {DRAFT.steps}, "
        f"of stills {STILLS.steps}, with --tiny {TINY_DRAFT['steps']}")  # fmt: skip
    add("--draft-cfg", type=float, help=f"0: --cfg; default: {DRAFT.cfg:g}, of stills "
        f"{STILLS.cfg:g}")  # fmt: skip
    add("--draft-size", type=float, help="share of --width and --height, which count as 480p at "
        f"most; default: {DRAFT.size:g}, of stills and --tiny {TINY_DRAFT['size']:g}")  # fmt: skip
    add("--draft-max-frames", type=int, help="memory frames that a shot sees at most; 0 (the "
        "default): --max-frames")  # fmt: skip
    add("--draft-lora-high", type=Path, help="LoRA for few steps in place of --extra-lora-high, "
        "sampled with euler at shift 5")  # fmt: skip
    add("--draft-lora-low", type=Path)
    add("--rehearsals", type=int, default=0, metavar="N", help="0 to 3: make that many drafts "
        "before the film, each with frames of the one before as its first memory; the film begins "
        "with those of the last")  # fmt: skip


def draft_of(options: argparse.Namespace) -> Draft | None:
    """The settings of the pass that the options choose; ``None`` for the film.

    Raises:
        ValueError: for settings that no pass can have.
    """
    number = getattr(options, "rehearsal_number", 0)
    draft = rehearsal_draft(number) if number else find_pass(options.pass_)
    loras = (options.draft_lora_high, options.draft_lora_low)
    if (loras[0] is None) != (loras[1] is None):
        raise ValueError(
            "pass both --draft-lora-high and --draft-lora-low: each expert has its own file"
        )
    if draft is None:
        return None
    given = {n: v for option, n in SETTINGS.items() if (v := getattr(options, option)) is not None}
    if loras[0] is not None:
        given |= {"lora_high": loras[0].name, "lora_low": loras[1].name}
    tiny = TINY_DRAFT if options.tiny and draft.name != STILLS.name else {}
    return check_draft(Draft(**{**vars(draft), **tiny, **given}))


def stages_of(options: argparse.Namespace, story: Story) -> list[argparse.Namespace]:
    """The options of each pass that is made, in order: rehearsals of the whole story, then what is
    asked for.

    Raises:
        ValueError: for rehearsals that there cannot be.
    """
    count = check_rehearsals(options.rehearsals, story)
    if count and options.pass_ != FILM:
        raise ValueError(
            f"--rehearsals come before the film, but --pass is {options.pass_}; leave out one of "
            "them"
        )
    whole = {"redo": "", "start_shot": 1, "end_shot": 0, "take": 1}
    stages = [{**whole, "rehearsal_number": n} for n in range(1, count + 1)]
    return [argparse.Namespace(**{**vars(options), **stage}) for stage in (*stages, {})]


def draft_lora(
    options: argparse.Namespace, draft: Draft | None, recipe: Recipe
) -> tuple[Path, Path] | None:
    """The LoRA pair of a draft, where it is used: not with a film of as few steps.

    Args:
        recipe: the film's.
    """
    if draft is None or not draft.has_lora or not draft.is_faster(recipe.steps):
        return None
    return options.draft_lora_high, options.draft_lora_low


def folder_of_pass(out: Path, draft: Draft | None) -> Path:
    """Where a pass goes, by the folder of the film."""
    if draft is None:
        return out
    out = out if out.name not in ("", "..") else out.resolve()
    return out.with_name(pass_folder_name(out.name, draft.name))
