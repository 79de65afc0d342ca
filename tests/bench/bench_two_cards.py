"""Both experts with guidance on one card and on two (MultiGPU CFG Split), as M2V Sampler runs them.

    python tests/bench/bench_two_cards.py                 # CPU: tiny weights, that it runs
    python tests/bench/bench_two_cards.py --full          # two GPUs: A14B at 832x480x81

Needs a ComfyUI checkout (COMFYUI_PATH, else ~/ComfyUI) with that node. Random bf16 weights, all of
both experts on each card. A case is a few steps of each expert; ``apart`` is one card that runs the
two prompts one after the other, as two cards do, where the host would batch them: its latents are
what two cards have to give. Seconds are of the last step of each expert, the first of which loads
and chooses kernels. Each line is written when it is known.
"""

from __future__ import annotations

import argparse
import sys
import time
from itertools import pairwise

import torch
from bench_cached_memory import load_pack, tell
from bench_easycache_identity import stand_in_for_missing
from bench_m2v import FULL, HOST, TEXT_TOKENS, TINY, build_model

MEMORY, SHOT = 8, 81  # latent frames before the shot, pixel frames of it
MOMENTS = (23, 92, 162, 174, 185, 208, 220, 242)  # of Memento's memory
BEGIN = 3 * SHOT
SIGMAS = (0.99, 0.97, 0.95, 0.6, 0.4, 0.0)  # three steps of the high-noise expert, two of the other
HIGH, LOW = 2, 4  # the last step of each
CASES = ("exact", "cached", "identity")
GIB = 2**30


class Bench:
    """Both experts on both cards, and shots of them."""

    def __init__(self, is_full: bool):
        self.pack = load_pack(
            *(f"nodes.sampling.{name}" for name in (
                "conditioning", "identity_frame", "shot_run",
            )),
            *(f"storymem.sampling.{name}" for name in ("memory_layout", "recipe", "request")),
        )  # fmt: skip
        import comfy.model_management
        import comfy.multigpu

        self.is_gpu = torch.cuda.is_available()
        kind = "cuda" if self.is_gpu else "cpu"
        self.cards = [torch.device(kind, 0), torch.device(kind, 1)]
        if not self.is_gpu:
            comfy.model_management.get_all_torch_devices = lambda **_: self.cards
        self.dtype = torch.bfloat16 if self.is_gpu else torch.float32
        self.shape, size, length = (FULL, (480, 832), SHOT) if is_full else (TINY, (96, 128), 17)
        self.request = self.pack.request.ShotRequest(
            (), None, width=size[1], height=size[0], length=length, seed=1
        )
        layout = self.pack.memory_layout
        self.layouts = dict.fromkeys(("exact", "cached"), layout.storymem_layout(MEMORY))
        self.layouts["identity"] = layout.memento_layout(MOMENTS, BEGIN, has_identity=True)
        one = [self.expert(self.cards[0]) for _ in "hl"]
        two = [comfy.multigpu.create_multigpu_deepclones(model, 2) for model in one]
        self.models = {"one": one, "apart": one, "two": two}
        store = self.pack.memory_store
        self.pack.cached_memory.place_for = lambda *_: store.Place.CARD

    def expert(self, card: torch.device):
        """One expert as the host's loaders hand it on, its weights on a card."""
        import comfy.model_patcher
        import comfy.supported_models

        config = comfy.supported_models.WAN21_T2V({
            "image_model": "wan2.1", "model_type": "t2v", "in_dim": 36, "out_dim": 16,
            "disable_unet_model_creation": True,
        })  # fmt: skip
        config.set_inference_dtype(self.dtype, None)
        inner = config.get_model({}, "", device=card)
        inner.diffusion_model = build_model(self.shape, card, self.dtype)
        model = comfy.model_patcher.ModelPatcher(inner, load_device=card, offload_device=card)
        model.cached_patcher_init = (self.expert, (self.cards[1],))
        return model

    def prompt(self, case: str, seed: int) -> list:
        """What M2V Conditioning gives: text, condition, and the identity frame's text."""
        layout, draw = self.layouts[case], torch.Generator().manual_seed(2)
        _, channels, shot, height, width = self.request.latent_shape
        frames = layout.frames + shot
        mask = torch.ones(1, 1, frames, height, width)
        mask[:, :, int(layout.has_identity) : layout.frames] = 0
        options = {
            "concat_latent_image": torch.randn(1, channels, frames, height, width, generator=draw),
            "concat_mask": mask,
            self.pack.conditioning.MEMORY_FRAMES_KEY: layout.frames,
        }  # fmt: skip
        draw.manual_seed(seed)
        text, looks = torch.randn(2, 1, TEXT_TOKENS, 4096, generator=draw)
        conditioning = [[text, options]]
        if layout.has_identity:
            conditioning = self.pack.identity_frame.with_identity_text(conditioning, looks)
        return conditioning

    def sync(self) -> float:
        for card in self.cards if self.is_gpu else ():
            torch.cuda.synchronize(card)
        return time.perf_counter()

    def run(self, case: str, how: str) -> tuple[torch.Tensor, list[float], list[float]]:
        """Latents, seconds of each step, and the peak GiB of each card."""
        import comfy.samplers

        at = []
        self.pack.shot_run.shot_callback = lambda *_: lambda *_: at.append(self.sync())
        concat = comfy.samplers.can_concat_cond
        if how == "apart":
            comfy.samplers.can_concat_cond = lambda first, second: first is second
        recipe = self.pack.recipe.Recipe(
            steps=len(SIGMAS) - 1, cfg=3.5, sampler="euler", refresh_steps="0",
            memory_refresh="cached" if case == "cached" else "exact",
        )  # fmt: skip
        seen = self.pack.shot_run.Seen(*(self.prompt(case, s) for s in (3, 4)), self.layouts[case])
        for card in self.cards if self.is_gpu else ():
            torch.cuda.reset_peak_memory_stats(card)
        at.append(self.sync())
        try:
            samples, _ = self.pack.shot_run.sample_shot(
                self.models[how], (seen, seen), self.request, torch.tensor(SIGMAS), recipe
            )
        finally:
            comfy.samplers.can_concat_cond = concat
        peaks = [torch.cuda.max_memory_allocated(c) / GIB if self.is_gpu else 0 for c in self.cards]
        return samples.float().cpu(), [b - a for a, b in pairwise(at)], peaks

    def held(self) -> list[float]:
        """GiB that each card holds now."""
        return [torch.cuda.memory_allocated(c) / GIB if self.is_gpu else 0 for c in self.cards]


def rounded(values, digits: int = 3) -> list[float]:
    return [round(value, digits) for value in values]


def compare(bench: Bench, case: str) -> None:
    """One case on one card and on two."""
    found = {}
    for how in ("one", "apart", "two") if case == "exact" else ("apart", "two"):
        made, seconds, peaks = bench.run(case, how)
        if not made.isfinite().all():
            raise SystemExit(f"the latents of {case} {how} are not finite")
        found[how] = made, seconds
        tell(case=case, cards=how, steps=rounded(seconds), peak_gib=rounded(peaks, 1),
             held_gib=rounded(bench.held(), 1))  # fmt: skip
    two, fast = found["two"]
    for how in found.keys() - {"two"}:
        made, slow = found[how]
        tell(case=case, against=how, speed_up_high=round(slow[HIGH] / fast[HIGH], 3),
             speed_up_low=round(slow[LOW] / fast[LOW], 3), are_equal=torch.equal(made, two),
             rel_l2=float((made - two).norm() / made.norm()))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true", help="A14B at 832x480x81 (two cards)")
    parser.add_argument("--cases", nargs="+", default=CASES, choices=CASES)
    options = parser.parse_args()
    is_gpu = torch.cuda.is_available()
    sys.argv = sys.argv[:1] + ([] if is_gpu else ["--cpu"])
    sys.path.insert(0, str(HOST))
    stand_in_for_missing()
    import comfy.options

    comfy.options.enable_args_parsing(not is_gpu)
    import comfy.utils

    comfy.utils.PROGRESS_BAR_ENABLED = False
    with torch.inference_mode():
        bench = Bench(options.full)
        tell(device=torch.cuda.get_device_name() if is_gpu else "CPU", torch=torch.__version__,
             blocks=bench.shape["num_layers"], shot_latent=bench.request.latent_shape,
             cudnn=bench.pack.attention.is_faster_here(bench.cards[0]),
             weights_gib=rounded(bench.held(), 1))  # fmt: skip
        for case in options.cases:
            compare(bench, case)


if __name__ == "__main__":
    main()
