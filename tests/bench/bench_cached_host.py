"""Memory that runs along in few steps, in the host's own loading and sampling of one expert.

    python tests/bench/bench_cached_host.py --free 30 14 --file FILE        # a card, dynamic VRAM
    python tests/bench/bench_cached_host.py --free 130 --static --file FILE # without that
    python tests/bench/bench_cached_host.py                                 # CPU: that it runs

Needs a ComfyUI checkout (COMFYUI_PATH, else ~/ComfyUI). The first steps of an expert of A14B with
random fp8_scaled weights, at 832x480x81 with ten memory frames, while another process holds all of
the card but so many GiB. For each: how long the steps took, what of the card was in use at most,
where keys and values were kept, and how far the latents are from those of exact memory: nothing
where every step refreshes. A process of its own for each, and one that writes the weights: under
dynamic VRAM a model of the host that is built rather than loaded has none. Each line is written
when it is known.
"""

from __future__ import annotations

# ruff: noqa: T201  it is a script: what it prints is its result
import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
import traceback
from contextlib import nullcontext
from pathlib import Path

import torch
from bench_cached_memory import SHIFT, load_pack
from bench_card import GIB, HAS_CARD, Meter, card_with, used, write_expert
from bench_easycache_identity import stand_in_for_missing
from bench_m2v import HOST, TEXT_TOKENS

MEMORY = 10
SIZE = (21, 60, 104) if HAS_CARD else (5, 12, 16)
STEP_SHIFT = 5.0  # of the sigmas
CASES = ("none", "exact", "cached", "every_step")
# The host starts comfy-aimdo before torch is imported.
FIRST = """
import runpy, sys, comfy_aimdo.control
"--static" in sys.argv or comfy_aimdo.control.init()
del sys.argv[0]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def start_host(dynamic: bool):
    """The host's modules as its own start makes them; whether its dynamic VRAM is on."""
    sys.argv = [sys.argv[0], *([] if HAS_CARD else ["--cpu"])]
    sys.path.insert(0, str(HOST))
    stand_in_for_missing()
    import comfy.options

    comfy.options.enable_args_parsing()
    if not dynamic:
        return False
    import comfy.memory_management
    import comfy.model_management as management
    import comfy.model_patcher as patcher
    import comfy_aimdo.control as aimdo

    if not aimdo.init_devices((device.index, 0) for device in management.get_all_torch_devices()):
        return False
    patcher.CoreModelPatcher = patcher.ModelPatcherDynamic
    comfy.memory_management.aimdo_enabled = True
    return True


class Run:
    """The first steps of one expert, as often as they are asked for."""

    def __init__(self, file: Path, steps: int, of: int):
        import comfy.samplers
        import comfy.sd

        self.pack, self.steps, self.of = load_pack(), steps, of
        self.model = comfy.sd.load_diffusion_model(str(file))
        self.latents: dict[str, torch.Tensor] = {}
        time_left = torch.linspace(1, 0, of + 1)
        self.sigmas = (STEP_SHIFT * time_left / (1 + (STEP_SHIFT - 1) * time_left))[: steps + 1]

    def patched(self, case: str):
        """The model with memory positions, and its memory as the case says."""
        model = self.model.clone()
        if case == "none":
            return model
        plain = model.get_model_object("diffusion_model.rope_encode")
        encode = self.pack.rope.encode_at(plain, range(-MEMORY * SHIFT, 0, SHIFT))
        model.add_object_patch("diffusion_model.rope_encode", encode)
        self.pack.attention.prefer_cudnn(model)
        if case != "exact":
            every = tuple(range(self.steps)) if case == "every_step" else None
            refresh = self.pack.memory_refresh.Refresh(True, every, self.of)
            self.pack.cached_memory.cache_memory(model, MEMORY, refresh)
        return model

    def play(self, case: str, steps: int | None = None) -> dict:
        """One run, or so many steps of it: what it took and gave."""
        import comfy.model_management
        import comfy.sample
        import comfy.samplers

        frames = SIZE[0] + (0 if case == "none" else MEMORY)
        draw = torch.Generator().manual_seed(1)
        known = torch.randn(1, 16, MEMORY + SIZE[0], *SIZE[1:], generator=draw)[:, :, -frames:]
        noise = torch.randn(known.shape, generator=draw)
        mask = torch.ones(1, 1, frames, *SIZE[1:])
        mask[:, :, : frames - SIZE[0]] = 0
        text = torch.randn(1, TEXT_TOKENS, 4096, generator=draw)
        prompt = [[text, {"concat_latent_image": known, "concat_mask": mask}]]
        kept: list[str] = []
        place_for = self.pack.memory_store.place_for

        def told(*args):
            kept.append(place_for(*args))
            return kept[-1]

        self.pack.cached_memory.place_for = told
        ends = []
        sigmas = self.sigmas if steps is None else self.sigmas[: steps + 1]

        def step(*_):
            if HAS_CARD:
                torch.cuda.synchronize()
            ends.append(time.perf_counter())

        before, meter = used(), CardMeter()
        meter.start()
        begins = time.perf_counter()
        made = comfy.sample.sample_custom(
            self.patched(case), noise, 1.0, comfy.samplers.sampler_object("euler"), sigmas,
            prompt, prompt, torch.zeros_like(noise), callback=step, disable_pbar=True, seed=1,
        )  # fmt: skip
        seconds = time.perf_counter() - begins
        meter.over.set()
        meter.join()
        if steps is None:
            self.latents[case] = made[:, :, -SIZE[0] :].float().cpu()
        each = [b - a for a, b in zip([begins, *ends], ends, strict=False)]
        found = {
            "case": case, "seconds": round(seconds, 2), "steps": [round(s, 2) for s in each],
            "gib_at_most": round(meter.card / GIB, 2), "gib_before": round(before / GIB, 2),
            "finite": bool(made.isfinite().all()), "kept": [place.value for place in kept],
        }  # fmt: skip
        exact = self.latents.get("exact")
        if exact is not None and case in self.latents and case not in ("none", "exact"):
            gap = (self.latents[case] - exact).norm() / exact.norm()
            found["rel_l2_from_exact"] = gap.item()
        return found


class CardMeter(Meter):
    """The most of the card that was in use."""

    def run(self) -> None:
        while not self.over.wait(0.02):
            self.card = max(self.card, used())


def measure(options: argparse.Namespace) -> None:
    """The cases, in this process."""
    is_dynamic = start_host(not options.static and HAS_CARD)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s", force=True)
    facts = {"gib_free": options.of_card, "dynamic": is_dynamic}
    with torch.inference_mode():
        run = Run(options.file, options.steps, options.of)
        run.play("exact", steps=1)  # kernels are chosen, weights are on the card
        for case in options.cases:
            try:
                found = run.play(case)
            except Exception as error:
                traceback.print_exc()
                found = {"case": case, "failed": repr(error)[:300]}
            print(json.dumps({**facts, **found}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--free", type=float, nargs="+", default=[0], help="GiB; 0: all")
    parser.add_argument("--static", action="store_true", help="without the host's dynamic VRAM")
    parser.add_argument("--cases", nargs="+", default=CASES, choices=CASES)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--of", type=int, default=20, help="steps of a whole run")
    parser.add_argument("--file", type=Path, help="the expert is kept here, or taken from here")
    parser.add_argument("--of-card", type=float, help=argparse.SUPPRESS)  # of one such process
    parser.add_argument("--write", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        start_host(dynamic=False)
        write_expert(options.file)
    elif options.of_card is not None:
        measure(options)
    else:
        with tempfile.TemporaryDirectory() as folder:
            file = options.file or Path(folder) / "expert.safetensors"
            again = [sys.executable, str(Path(__file__).resolve()), "--file", str(file)]
            if not file.exists():
                subprocess.run([*again, "--write"], check=True)
            how = [sys.executable, "-c", FIRST, *again[1:], "--steps", str(options.steps)]
            how += ["--of", str(options.of), "--cases", *options.cases]
            how += ["--static"] * options.static
            for free in options.free:
                with card_with(free) if free else nullcontext():
                    subprocess.run([*how, "--of-card", str(free)], check=False)


if __name__ == "__main__":
    main()
