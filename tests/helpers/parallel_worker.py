"""Run by torchrun in the tests: denoise the same shot with one process and with all of them."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import torch

HELPERS = Path(__file__).resolve().parent
PACK = HELPERS.parents[1]


def load(name: str, path: Path, folder: Path | None = None):
    spec = importlib.util.spec_from_file_location(
        name, path, submodule_search_locations=[str(folder)] if folder else None
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


load("storymem", PACK / "storymem" / "__init__.py", PACK / "storymem")
tiny_diffusers = load("tiny_diffusers", HELPERS / "tiny_diffusers.py")

from storymem.headless import parallel, sampling  # noqa: E402
from storymem.headless.positions import install_memory_positions  # noqa: E402


def gather_uneven_over_gloo() -> None:
    """NCCL gathers parts of different sizes, gloo does not: pad, gather, trim in its place."""
    from diffusers.hooks import context_parallel

    def unshard(tensor, dim, mesh):
        group = mesh.get_group()
        sizes = context_parallel.gather_size_by_comm(tensor.shape[dim], group)
        padded = tensor.movedim(dim, 0)
        padded = torch.cat([padded, padded.new_zeros(max(sizes) - len(padded), *padded.shape[1:])])
        parts = [torch.empty_like(padded) for _ in sizes]
        torch.distributed.all_gather(parts, padded.contiguous(), group=group)
        whole = torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
        return whole.movedim(0, dim)

    context_parallel.PartitionAnythingSharder.unshard_anything = staticmethod(unshard)


def tokens_in_a_block(expert) -> list[int]:
    """Token counts that the first block's feed-forward sees, in this process."""
    seen: list[int] = []
    expert.blocks[0].ffn.register_forward_hook(lambda _, args, __: seen.append(args[0].shape[1]))
    return seen


def main(target: str, shapes: list) -> None:
    device = parallel.join("cpu")
    gather_uneven_over_gloo()
    results = []
    for memory, frames, height, width in shapes:
        generator = torch.Generator().manual_seed(1)
        inputs = sampling.ShotInputs(
            noise=sampling.draw_noise(1, memory, frames, height, width),
            positive=torch.randn(1, 7, 64, generator=generator),
            negative=torch.randn(1, 7, 64, generator=generator),
            condition=torch.randn(1, 20, memory + frames, height, width, generator=generator),
            memory_frames=memory,
        )
        recipe = sampling.Recipe(steps=3, sampler="euler", scheduler="simple")
        found = []
        for is_spread in (False, True):
            experts = [tiny_diffusers.tiny_transformer(i) for i in (1, 2)]
            even = None
            for expert in experts:
                install_memory_positions(expert)
                if is_spread:
                    parallel.spread(expert, device)
                    tokens = (memory + frames) * (height // 2) * (width // 2)
                    even = parallel.fit_split(expert, tokens)
            seen = tokens_in_a_block(experts[0])
            found.append(sampling.denoise(experts, inputs, recipe, device=device))
        error = float((found[1] - found[0]).norm() / found[0].norm())
        results.append(
            {
                "shape": [memory, frames, height, width],
                "even": even,
                "error": error,
                "tokens": (memory + frames) * (height // 2) * (width // 2),
                "tokens_here": seen[-1],
            }
        )
    if parallel.rank() == 0:
        Path(target).write_text(json.dumps(results))
    parallel.leave()
    parallel.end(0)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
