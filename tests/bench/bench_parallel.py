"""Speed and agreement of one shot on 1, 2, 4 ... GPUs, at A14B shape with random weights.

    python tests/bench/bench_parallel.py --gpus 1 2 --out figures.jsonl

It starts torchrun itself, once per number of GPUs, and prints (and appends to ``--out``) one line
of JSON per figure as soon as it is known: seconds of every denoising step (two forwards, the
guidance's), their middle without the first, which warms up, the speed-up and the relative distance
of the latents from the first number's, peak memory of GPU 0. Each worker makes one expert with
seeded random weights (28 GB in bf16) for both noise levels: compute and traffic are those of two
experts, weights fit one card. ``--layers`` cuts the depth, the shape stays.

float32 with few layers shows that the split is exact, for tokens that the GPUs divide and for
tokens that they do not; bf16 shows the recipe's size (M = 10, 832x480, 81 frames: 48 360 tokens).
``without_exchange`` is the distance if every GPU saw its own tokens only: what wrong would be.
``floor`` is how far the latents move, on the largest number of GPUs, when the noise that they start
from moves by half a digit of the weights' type: what equal means at this precision.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import torch

PACK = Path(__file__).resolve().parents[2]
A14B = {"num_attention_heads": 40, "attention_head_dim": 128, "ffn_dim": 13824, "text_dim": 4096}
SMOKE = {"num_attention_heads": 4, "attention_head_dim": 128, "ffn_dim": 256, "text_dim": 64}
EXACT_LAYERS = 4


@dataclass(frozen=True)
class Case:
    name: str
    shape: tuple[int, int, int, int]  # memory frames, shot frames, latent height, latent width
    dtype: str
    layers: int
    attention: str = "native"

    @property
    def tokens(self) -> int:
        memory, frames, height, width = self.shape
        return (memory + frames) * (height // 2) * (width // 2)


def list_cases(options: argparse.Namespace) -> list[Case]:
    """In the order of the runs: cases of one expert stand together, the optional ones last."""
    few = min(EXACT_LAYERS, options.layers)
    if options.smoke:
        even = ("smoke", (2, 2, 4, 6))  # gloo cannot gather parts of different sizes
        return [Case(*even, "float32", few), Case(*even, "bfloat16", options.layers)]
    even = ("M=2 384x272x9", (2, 3, 34, 48))
    uneven = ("M=2 400x272x9", (2, 3, 34, 50))
    recipe = ("M=10 832x480x81", (10, 21, 60, 104))
    exact = [Case(*shape, "float32", few) for shape in (even, uneven)]
    first, *others = options.attention
    shapes = [Case(*shape, "bfloat16", options.layers, first) for shape in (uneven, recipe)]
    return exact + shapes + [replace(shapes[-1], attention=other) for other in others]


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
    model.rope = type(model.rope)(sizes["attention_head_dim"], (1, 2, 2), 1024).to(device)
    generator = torch.Generator(device).manual_seed(1)
    keep = model._keep_in_fp32_modules
    for name, parameter in list(model.named_parameters()):
        noise = torch.randn(parameter.shape, generator=generator, device=device)
        if parameter.ndim > 1 and "table" not in name:
            noise /= parameter[0].numel() ** 0.5
        elif "norm" in name:
            noise = 1 + 0.05 * noise
        else:
            noise *= 0.05
        kind = torch.float32 if any(part in name for part in keep) else dtype
        module, _, leaf = name.rpartition(".")
        drawn = torch.nn.Parameter(noise.to(kind), requires_grad=False)
        setattr(model.get_submodule(module), leaf, drawn)  # one by one: float32 fills a card
    return model.eval()


def draw_inputs(case: Case, text_dim: int):
    from storymem.headless.sampling import ShotInputs, draw_noise

    memory, frames, height, width = case.shape
    generator = torch.Generator().manual_seed(1)
    return ShotInputs(
        noise=draw_noise(1, memory, frames, height, width),
        positive=torch.randn(1, 512, text_dim, generator=generator),
        negative=torch.randn(1, 512, text_dim, generator=generator),
        condition=torch.randn(1, 20, memory + frames, height, width, generator=generator),
        memory_frames=memory,
    )


def move_noise(inputs, dtype: torch.dtype):
    """The same inputs with the noise moved by about half a digit of ``dtype``."""
    wobble = torch.randn(inputs.noise.shape, generator=torch.Generator().manual_seed(2))
    moved = inputs.noise.double() * (1 + torch.finfo(dtype).eps / 4 * wobble.double())
    return replace(inputs, noise=moved.float())


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


def forget_other_tokens(expert) -> list[tuple]:
    """Let every process attend to its own tokens only; the processors and what they had."""
    processors = list(expert.attn_processors.values())
    known = [(processor, processor._parallel_config) for processor in processors]
    for processor in processors:
        processor._parallel_config = None
    return known


def work(options: argparse.Namespace) -> None:
    load_storymem()
    from storymem.headless import parallel
    from storymem.headless.positions import install_memory_positions
    from storymem.headless.sampling import Recipe, denoise

    device = parallel.join(options.device)
    on_cuda = device.type == "cuda"
    torch.backends.cudnn.allow_tf32 = False  # float32 is to be float32
    count, folder = parallel.world_size(), Path(options.work)
    sizes = SMOKE if options.smoke else A14B
    recipe = Recipe(steps=options.steps)

    def write(**line) -> None:
        if parallel.rank() > 0:
            return
        text = json.dumps({"at": round(time.time() - options.began, 1), "gpus": count, **line})
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
        if options.out:
            with options.out.open("a") as file:
                file.write(text + "\n")

    def tell(case: Case, **figures) -> None:
        name = {"case": case.name, "dtype": case.dtype, "layers": case.layers}
        write(**name, tokens=case.tokens, attention=case.attention, **figures)

    card = torch.cuda.get_device_name(device) if on_cuda else "CPU"
    write(card=card, torch=torch.__version__, diffusers=version("diffusers"), steps=options.steps)
    expert, made = None, None
    for number, case in enumerate(list_cases(options)):
        dtype = getattr(torch, case.dtype)
        if made != (case.layers, case.dtype):
            expert = None
            gc.collect()  # hooks and modules hold each other
            began = time.perf_counter()
            expert, made = make_expert(case.layers, sizes, dtype, device), (case.layers, case.dtype)
            install_memory_positions(expert)
            if count > 1:
                parallel.spread(expert, device)
            tell(case, expert_made_in=round(time.perf_counter() - began, 1))
        expert.set_attention_backend(case.attention)
        even = parallel.fit_split(expert, case.tokens) if count > 1 else True
        inputs = draw_inputs(case, sizes["text_dim"])
        if on_cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        times = [time.perf_counter()]

        def on_step(done: int, steps: int, times: list[float] = times) -> None:
            if on_cuda:
                torch.cuda.synchronize()
            times.append(time.perf_counter())

        latents = denoise((expert,), inputs, recipe, device=device, on_step=on_step)
        steps = [b - a for a, b in pairwise(times)]
        warm = sorted(steps[1:] or steps)
        middle = warm[len(warm) // 2]
        figures = {"even": even, "steps": [round(step, 4) for step in steps], "step": middle}
        figures["peak_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 1) if on_cuda else 0
        reference = folder / f"{number}.pt"
        if count == options.gpus[0]:
            if parallel.rank() == 0:
                torch.save((latents, middle), reference)
        elif reference.exists():
            alone, seconds = torch.load(reference)
            figures["rel_l2"] = distance(latents, alone)
            figures["speed_up"] = round(seconds / middle, 3)
        tell(case, **figures)
        if count > 1 and dtype == torch.float32:
            lone = forget_other_tokens(expert)
            other = denoise((expert,), inputs, recipe, device=device)
            tell(case, without_exchange=distance(other, latents))
            for processor, config in lone:
                processor._parallel_config = config
        if count == options.gpus[-1] and case.attention == options.attention[0]:
            moved = move_noise(inputs, dtype)
            other = denoise((expert,), moved, recipe, device=device)
            tell(case, floor=distance(other, latents))
    parallel.leave()
    parallel.end(0)


def launch(options: argparse.Namespace) -> int:
    """Run every number of GPUs, also after one that failed; how many failed."""
    began, failed = time.time(), 0
    with tempfile.TemporaryDirectory() as folder:
        for count in options.gpus:
            # --standalone looks the machine's own name up, which need not resolve: name the address
            torchrun = ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1"]
            own = [*sys.argv[1:], "--work", folder, "--began", began]
            command = [sys.executable, *torchrun, "--nproc-per-node", count, __file__, *own]
            failed += subprocess.run([str(part) for part in command]).returncode != 0
    return failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--layers", type=int, default=40)
    parser.add_argument("--steps", type=int, default=3, help="2 forwards each; the first warms up")
    parser.add_argument(
        "--attention",
        nargs="+",
        default=["native"],
        help="diffusers' names, such as native and _native_cudnn; all but the first at the "
        "recipe's size only",
    )
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to try the script itself")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options)
    else:
        sys.exit(launch(options))


if __name__ == "__main__":
    main()
