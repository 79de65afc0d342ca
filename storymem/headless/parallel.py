"""Several GPUs on one shot: diffusers' context parallelism (Ulysses) under torchrun.

Process 0 drives: it alone reads the story, encodes text and frames, decodes, selects and writes.
The others hold only the experts and take part in every denoising run (``serve``).
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import NoReturn

import torch
import torch.distributed as dist

from ..files.packages import install_commands

PATIENCE = timedelta(hours=6)  # process 0 may decode, select or wait for a download in between
logger = logging.getLogger(__name__)


def world_size() -> int:
    """Processes that torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def join(device_type: str) -> torch.device:
    """Join torchrun's process group; this process's device.

    Raises:
        ValueError: when there are more processes than GPUs.
    """
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device_type == "cuda":
        if local >= torch.cuda.device_count():
            raise ValueError(
                f"torchrun started process {local}, but there are {torch.cuda.device_count()} "
                "GPUs; set --nproc-per-node to the number of GPUs"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"  # sizes and jobs go over gloo, activations over NCCL
    else:
        device, backend = torch.device("cpu"), "cpu:gloo"
    if not dist.is_initialized():
        dist.init_process_group(backend, timeout=PATIENCE)
    return device


def leave() -> None:
    """Leave the process group, if this process is in one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def end(code: int) -> NoReturn:
    """End this process with exit code ``code``, without Python's own tidying up.

    gloo's threads hold the tensors of the last exchange for a moment longer. One that is freed
    when Python has begun to shut down aborts the process (seen in one run of ten on a busy machine,
    torch 2.11), and torchrun would call a finished film failed. All files are closed by now.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def rank() -> int:
    """This process's number in the group, from 0; 0 without a group."""
    return dist.get_rank() if dist.is_initialized() else 0


def spread(transformer: torch.nn.Module, device: torch.device) -> None:
    """Split the tokens of ``transformer`` over all processes.

    ``ulysses_anything`` takes token and head counts that the number of processes does not divide.

    Raises:
        ValueError: when the installed diffusers cannot do it.
    """
    if getattr(transformer, "_parallel_config", None) is not None:
        return
    try:
        from diffusers import ContextParallelConfig

        config = ContextParallelConfig(ulysses_degree=dist.get_world_size(), ulysses_anything=True)
    except (ImportError, TypeError) as error:
        raise ValueError(
            f"several GPUs need diffusers 0.41 or newer:\n  {install_commands()[-1]} -U"
        ) from error
    if device.type != "cpu":
        transformer.enable_parallelism(config=config)
        return
    _spread_on_cpu(transformer, config, device)


def _spread_on_cpu(transformer: torch.nn.Module, config, device: torch.device) -> None:
    """What ``enable_parallelism`` does, on the CPU: it only accepts accelerators."""
    from diffusers import ParallelConfig
    from diffusers.hooks.context_parallel import apply_context_parallel

    whole = ParallelConfig(context_parallel_config=config)
    mesh = dist.device_mesh.init_device_mesh(
        "cpu", config.mesh_shape, mesh_dim_names=config.mesh_dim_names
    )
    whole.setup(dist.get_rank(), dist.get_world_size(), device, mesh=mesh)
    transformer._parallel_config = whole
    for processor in transformer.attn_processors.values():
        processor._parallel_config = whole
    apply_context_parallel(transformer, config, transformer._cp_plan)


def fit_split(transformer: torch.nn.Module, tokens: int) -> bool:
    """Choose the split for the next calls; true when the counts divide evenly.

    An even split needs no exchange of sizes before every attention, so it is used when it can be.
    """
    config = transformer._parallel_config.context_parallel_config
    size = config.ulysses_degree
    heads = transformer.config.num_attention_heads
    even = tokens % size == 0 and heads % size == 0
    config.ulysses_anything = not even
    return even


def send(job: object) -> None:
    """Process 0: hand every other process the next job; ``None`` ends them."""
    dist.broadcast_object_list([job], src=0, device=torch.device("cpu"))


def serve(work: Callable[[object], None]) -> None:
    """The other processes: do jobs until there are no more."""
    while True:
        box: list[object] = [None]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        if box[0] is None:
            return
        work(box[0])
