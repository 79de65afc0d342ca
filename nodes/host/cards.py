"""Several cards: the host's copies of a model, one on each, which work at the same time.

*MultiGPU CFG Split* gives a model a copy for each further card. In a run the host prepares them and
evaluates the prompt on one card and the negative prompt on another, each in a thread of its own.
A host without that node is one of a single card.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext

import comfy.model_management
import comfy.sampler_helpers
import torch
from comfy.patcher_extension import CallbacksMP

try:
    from comfy.multigpu import MultiGPUThreadPool
except ImportError:  # older hosts use one card
    MultiGPUThreadPool = None

SPLIT = "MultiGPU_WorkUnits"  # the host's node, MultiGPU CFG Split
CARD = "multigpu_thread_device"  # in transformer_options: of an evaluation on one of several cards
COPIES, POOL = "multigpu_clones", "multigpu_thread_pool"  # in model_options
KEY = "storymem_cards"
_IDLE = object()


def copies_of(model) -> list:
    """The copies of a model for further cards."""
    if MultiGPUThreadPool is None:
        return []
    return model.get_additional_models_with_key("multigpu")


def card_of(x: torch.Tensor, options: dict) -> torch.device:
    """The card that an evaluation of ``x`` with these transformer options runs on."""
    return options.get(CARD, x.device)


def on_card(device: torch.device):
    """A context in which kernels of other packs find ``device`` to be the one in use."""
    enter = getattr(comfy.model_management, "cuda_device_context", None)
    return nullcontext() if enter is None else enter(device)


def keep_places(model) -> None:
    """Let the host know where weights of a *cloned* model's copies are, when the clone is gone.

    For a run the host makes the copies anew, as clones of the model itself. When such a clone goes,
    the host would take the weights on its card for those of the model, and never free them.
    """
    kind = getattr(CallbacksMP, "ON_MATCH_MULTIGPU_CLONES", None)
    if kind is not None and not model.get_callbacks(kind, KEY):
        model.add_callback_with_key(kind, KEY, _keep_place)


def _keep_place(model, made) -> None:
    for before in copies_of(model):
        if before.model is made.model:
            first = before  # of its weights: each run makes another one
            while first.parent is not None and first.parent.model is made.model:
                first = first.parent
            made.parent = first


def ready_copies(model, loaded: list, options: dict) -> list:
    """Make a loaded model's copies ready for a run, and enter them into its model options.

    Args:
        model: the model's patcher.
        loaded: what the host loaded beside it.
        options: of the run; they get the threads as well, which ``end_cards`` ends.
    """
    if MultiGPUThreadPool is None:
        return []
    make_ready = comfy.sampler_helpers.prepare_model_patcher_multigpu_clones
    copies = make_ready(model, loaded, options)
    for copy in copies:
        copy.pre_run()
    if copies and POOL not in options:
        devices = [model.load_device, *(copy.load_device for copy in copies)]
        options[POOL] = MultiGPUThreadPool(devices)
    return copies


def end_cards(copies: list, options: dict) -> None:
    """The run is over: take back what ``ready_copies`` did."""
    pool = options.pop(POOL, None)
    if pool is not None:
        pool.shutdown()
    for copy in copies:
        copy.cleanup()


@contextmanager
def stop_together(options: dict):
    """Around an evaluation: when it fails or is interrupted on one card, it is ended on all of them
    before the error goes on, so that nothing reads weights that the host is about to move."""
    try:
        yield
    except BaseException:
        if (pool := options.get(POOL)) is not None:
            comfy.model_management.interrupt_current_processing(True)
            try:
                _wait(pool)
            finally:
                comfy.model_management.interrupt_current_processing(False)
        raise


def _wait(pool) -> None:
    """Wait until no card works. Each has one result at most that nobody has taken; a card that
    cannot be used answers with errors alone."""
    for device in pool.devices:
        for _ in range(2):
            pool.submit(device, lambda: _IDLE)
        for _ in range(2):
            if pool.get_result(device)[0] is _IDLE:
                pool.get_result(device)  # of the other: nothing is left for who tries again
                break
