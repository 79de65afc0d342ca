"""Which memory model a headless run is of: by its LoRA files, or by choice."""

from __future__ import annotations

import logging

from ..sampling.lora_file import TITLES
from ..sampling.methods import MEMENTO, choose_method
from . import parallel
from .identity_frame import NEEDS_ONE_GPU

logger = logging.getLogger(__name__)


def chooses_memory(settings, files) -> bool:
    """Whether Memento's keyframe queries choose what shots remember.

    Args:
        settings: a ``RunSettings``.
        files: a ``ModelFiles``.
    """
    method = choose_method(settings.method, files.method())
    return settings.has_memory and method == MEMENTO and files.has_query()


def method_of_run(settings, files) -> str:
    """``storymem`` or ``memento``; one that the LoRA files do not call for is told.

    Args:
        settings: a ``RunSettings``.
        files: a ``ModelFiles``.

    Raises:
        ValueError: for an identity frame that StoryMem does not have, or that several GPUs cannot
            share.
    """
    of_files = files.method()
    method = choose_method(settings.method, of_files)
    if method != of_files and files.lora:
        logger.warning(
            "the LoRA is %s's, and memory stands as %s has it (--method %s)",
            TITLES[of_files], TITLES[method], method,
        )  # fmt: skip
    if settings.reconstruct:
        if method != MEMENTO:
            raise ValueError(
                "--reconstruct makes Memento's identity frame, which StoryMem does not have; pass "
                "Memento's LoRA files or --method memento, or leave --reconstruct away"
            )
        if parallel.world_size() > 1:
            raise ValueError(NEEDS_ONE_GPU)
    return method
