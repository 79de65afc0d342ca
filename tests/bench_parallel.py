"""Speed and agreement of one shot on 1, 2, 4 ... GPUs, at A14B shape with random weights.

    python tests/bench_parallel.py --gpus 1 2 --out figures.json

It starts torchrun itself, once per number of GPUs, and prints one JSON document: seconds a step,
speed-up against one GPU, peak memory, and the distance of the latents from one GPU's. Each worker
makes one expert with seeded random weights (28 GB in bf16) and reuses it for both noise levels:
compute and traffic are those of two experts, weights fit one card. ``--layers 4`` for a quick look.
Two shapes are run: the recipe's (M = 10, 832x480, 81 frames; 48 360 tokens, which 2, 4 and 8
divide) and one whose tokens they do not divide. ``floor`` is how far the latents of one GPU move
when the noise they start from moves by half a bf16 digit: what equal means at this precision.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import torch

PACK = Path(__file__).resolve().parent.parent
A14B = {"num_attention_heads": 40, "attention_head_dim": 128, "ffn_dim": 13824, "text_dim": 4096}
SHAPES = {  # memory frames, shot frames, latent height, latent width
    "M=10 832x480x81": (10, 21, 60, 104),
    "M=2 400x272x9, tokens do not divide": (2, 3, 34, 50),
}


SMOKE = {"num_attention_heads": 4, "attention_head_dim": 128, "ffn_dim": 256, "text_dim": 64}
SMOKE_SHAPES = {"smoke": (2, 2, 4, 6)}


def load_storymem() -> None:
    spec = importlib.util.spec_from_file_location(
        "storymem",
        PACK / "storymem" / "__init__.py",
        submodule_search_locations=[str(PACK / "storymem")],
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["storymem"] = module
    spec.loader.exec_module(module)


def make_expert(layers: int, sizes: dict, dtype: torch.dtype, device: torch.device):
    """A14B's I2V expert with weights drawn on the device from one seed: the same everywhere."""
    from diffusers import WanTransformer3DModel

    with torch.device("meta"):
        model = WanTransformer3DModel(in_channels=36, out_channels=16, num_layers=layers, **sizes)
    rope = type(model.rope)(sizes["attention_head_dim"], (1, 2, 2), 1024)
    model = model.to_empty(device=device)
    model.rope = rope.to(device)  # its tables are buffers, which to_empty leaves undefined
    generator = torch.Generator(device).manual_seed(1)
    keep = model._keep_in_fp32_modules
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator, device=device)
        if parameter.ndim > 1 and "table" not in name:
            noise /= parameter[0].numel() ** 0.5
        elif "norm" in name:
            noise = 1 + 0.05 * noise
        else:
            noise *= 0.05
        kind = torch.float32 if any(part in name for part in keep) else dtype
        parameter.data = noise.to(kind)
        parameter.requires_grad_(False)
    return model.eval()


def work(options: argparse.Namespace) -> None:
    load_storymem()
    from storymem.headless import parallel
    from storymem.headless.positions import install_memory_positions
    from storymem.headless.sampling import Recipe, ShotInputs, denoise, draw_noise

    device = parallel.join(options.device)
    sizes, shapes = (SMOKE, SMOKE_SHAPES) if options.smoke else (A14B, SHAPES)
    expert = make_expert(options.layers, sizes, getattr(torch, options.dtype), device)
    install_memory_positions(expert)
    count = parallel.world_size()
    if count > 1:
        parallel.spread(expert, device)
    results = {}
    for name, (memory, frames, height, width) in shapes.items():
        tokens = (memory + frames) * (height // 2) * (width // 2)
        even = parallel.fit_split(expert, tokens) if count > 1 else True
        generator = torch.Generator().manual_seed(1)
        inputs = ShotInputs(
            noise=draw_noise(1, memory, frames, height, width),
            positive=torch.randn(1, 512, sizes["text_dim"], generator=generator),
            negative=torch.randn(1, 512, sizes["text_dim"], generator=generator),
            condition=torch.randn(1, 20, memory + frames, height, width, generator=generator),
            memory_frames=memory,
        )
        times = [time.perf_counter()]

        def on_step(done, total, times=times):
            if device.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter())

        recipe = Recipe(steps=options.steps)
        latents = denoise((expert,), inputs, recipe, device=device, on_step=on_step)
        steps = [b - a for a, b in pairwise(times)][1:]  # the first warms up
        peak = torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else 0
        results[name] = {
            "tokens": tokens,
            "even": even,
            "seconds_a_step": sorted(steps)[len(steps) // 2],
            "peak_gib": round(peak, 1),
        }
        if count == 1:
            wobble = torch.randn(inputs.noise.shape, generator=generator)
            moved = inputs.noise * (1 + 2**-9 * wobble)
            other = denoise((expert,), replace(inputs, noise=moved), recipe, device=device)
            results[name]["floor"] = float((other - latents).norm() / latents.norm())
        if parallel.rank() == 0:
            torch.save(latents, Path(options.work) / f"{count}_{len(results)}.pt")
    if parallel.rank() == 0:
        (Path(options.work) / f"{count}.json").write_text(json.dumps(results))
    parallel.leave()


def compare(options: argparse.Namespace) -> dict:
    figures: dict = {"layers": options.layers, "dtype": options.dtype, "steps": options.steps}
    with tempfile.TemporaryDirectory() as folder:
        for count in options.gpus:
            own = ["--work", folder, "--layers", options.layers, "--steps", options.steps]
            own += ["--smoke"] if options.smoke else []
            own += ["--dtype", options.dtype, "--device", options.device]
            launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", count]
            command = [sys.executable, *launch, __file__, *own]
            subprocess.run([str(part) for part in command], check=True)
        first = options.gpus[0]
        for count in options.gpus:
            found = json.loads((Path(folder) / f"{count}.json").read_text())
            for number, (name, result) in enumerate(found.items(), 1):
                entry = figures.setdefault(name, {})
                entry[f"{count} GPU"] = result
                reference, latents = (
                    torch.load(Path(folder) / f"{n}_{number}.pt") for n in (first, count)
                )
                result["rel_l2"] = float((latents - reference).norm() / reference.norm())
                alone = entry[f"{first} GPU"]["seconds_a_step"]
                result["speed_up"] = round(alone / result["seconds_a_step"], 2)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--layers", type=int, default=40)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"))
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to try the script itself")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options)
        return
    text = json.dumps(compare(options), indent=1)
    sys.stdout.write(text + "\n")
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
