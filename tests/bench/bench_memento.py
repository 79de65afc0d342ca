"""Seconds and memory of Memento beside StoryMem, through the nodes' own code and the host's guider.

    python tests/bench/bench_memento.py                   # CPU: tiny weights, that it runs
    python tests/bench/bench_memento.py --full            # GPU: A14B at 832x480x81, single forwards
    python tests/bench/bench_memento.py --full --shots    # and whole shots of 40 steps, two experts
    python tests/bench/bench_memento.py --full --profile  # and kernels of forwards by kind

Needs a ComfyUI checkout (COMFYUI_PATH, else ~/ComfyUI). Random bf16 weights, so that only times and
memory mean anything; cfg is off. All cases run cuDNN's attention where the pack prefers it, the
one without memory too. Each line is written when it is known.
"""

from __future__ import annotations

import argparse
import statistics
import sys

import torch
from bench_cached_memory import load_pack, tell
from bench_easycache_identity import stand_in_for_missing
from bench_m2v import FULL, HOST, TEXT_TOKENS, TINY, Meter, build_model, kinds

MEMORY, POOL, QUERIES, GLOBAL_QUERIES = 8, 16, 6, 2
SHOT = 81  # pixel frames
STEPS, SHIFT = 40, 5.0
LEVELS = (0.99, 0.98)  # noise levels of single forwards
BEGIN = 3 * SHOT  # of the fourth shot; six frames of the one before, two of earlier ones
MOMENTS = (23, 92, 162, 174, 185, 208, 220, 242)


class Bench:
    """Experts with random weights, and forwards and shots of them."""

    def __init__(self, options: argparse.Namespace):
        self.pack = load_pack(
            *(f"nodes.sampling.{name}" for name in (
                "choose_memory", "conditioning", "identity_frame", "model_patch", "shot_run",
            )),
            *(f"storymem.sampling.{name}" for name in (
                "memory_layout", "query_weights", "recipe", "request",
            )),
            "storymem.selection.keyframe_query",
        )  # fmt: skip
        is_gpu = torch.cuda.is_available()
        self.device = torch.device("cuda:0" if is_gpu else "cpu")
        self.dtype = torch.bfloat16 if is_gpu else torch.float32
        self.shape, size, length = (FULL, (480, 832), SHOT) if options.full else (
            TINY, (96, 128), 17,
        )  # fmt: skip
        self.meter = Meter(self.device, 1)
        self.request = self.pack.request.ShotRequest(
            (), None, width=size[1], height=size[0], length=length, seed=1
        )
        layout = self.pack.memory_layout
        self.layouts = {
            "none": layout.MemoryLayout(),
            "storymem": layout.storymem_layout(MEMORY),
            "storymem_one_more": layout.storymem_layout(MEMORY + 1),
            "memento": layout.memento_layout(MOMENTS, BEGIN),
            "identity": layout.memento_layout(MOMENTS, BEGIN, has_identity=True),
        }
        self.layouts |= dict.fromkeys(("cached", "cached_in_host"), self.layouts["memento"])
        self.high = self.expert()

    def expert(self):
        """One expert as the host's loaders hand it on, on the device."""
        import comfy.model_patcher
        import comfy.supported_models

        config = comfy.supported_models.WAN21_T2V({
            "image_model": "wan2.1", "model_type": "t2v", "in_dim": 36, "out_dim": 16,
            "disable_unet_model_creation": True,
        })  # fmt: skip
        config.set_inference_dtype(self.dtype, None)
        inner = config.get_model({}, "", device=self.device)
        inner.diffusion_model = build_model(self.shape, self.device, self.dtype)
        model = comfy.model_patcher.ModelPatcher(
            inner, load_device=self.device, offload_device=self.device
        )
        self.pack.attention.prefer_cudnn(model)
        return model

    def refresh(self, case: str, steps=None, whole=None):
        """When memory runs along; ``cached_in_host`` keeps keys and values in pinned memory."""
        store = self.pack.memory_store
        place = "HOST" if case == "cached_in_host" and self.meter.is_gpu else "CARD"
        self.pack.cached_memory.place_for = lambda *_: store.Place[place]
        return self.pack.memory_refresh.Refresh(case.startswith("cached"), steps, whole)

    def prompt(self, case: str) -> list:
        """What M2V Conditioning gives: prompt, condition, and the identity frame's text."""
        layout = self.layouts[case]
        draw = torch.Generator().manual_seed(2)
        _, channels, shot, height, width = self.request.latent_shape
        frames = layout.frames + shot
        mask = torch.ones(1, 1, frames, height, width)
        mask[:, :, int(layout.has_identity) : layout.frames] = 0
        known = torch.randn(1, channels, frames, height, width, generator=draw)
        options = {
            "concat_latent_image": known, "concat_mask": mask,
            self.pack.conditioning.MEMORY_FRAMES_KEY: layout.frames,
        }  # fmt: skip
        text, looks = torch.randn(2, 1, TEXT_TOKENS, 4096, generator=draw)
        conditioning = [[text, options]]
        if layout.has_identity:
            conditioning = self.pack.identity_frame.with_identity_text(conditioning, looks)
        return conditioning

    def forwards(self, case: str, again: int = 0) -> tuple[list[float], float]:
        """Seconds of evaluations in one run of the host's guider, the first of them a refresh, and
        the peak in GiB above what was allocated before the run."""
        import comfy.samplers

        layout, seconds = self.layouts[case], []

        def ask(model, x, _, extra_args, callback, disable):
            for level in (LEVELS[0], *[LEVELS[1]] * again):
                at = x.new_full([len(x)], level)
                seconds.append(self.meter.once(lambda at=at: model(x, at, **extra_args)))
            return x

        model = self.pack.model_patch.place_memory(self.high, layout, self.refresh(case, (0,)))
        prompt = self.prompt(case)
        recipe = self.pack.recipe.Recipe(cfg=1.0)
        guider = self.pack.shot_run.make_guider(model, None, prompt, prompt, recipe)
        latent = self.pack.conditioning.empty_latent(self.request, layout.frames)
        noise = self.pack.conditioning.MemoryNoise(1, layout.frames, layout.has_identity)
        noise = noise.generate_noise({"samples": latent})
        sigmas = torch.tensor([*LEVELS, 0.0])
        _, _, peak = self.meter.first(
            lambda: guider.sample(
                noise, latent, comfy.samplers.KSAMPLER(ask), sigmas, disable_pbar=True, seed=1
            )
        )
        return seconds, peak

    def shot(self, case: str, low, steps: int) -> tuple[float, float]:
        """Seconds and peak GiB of a whole shot by the released recipe, as M2V Sampler runs it."""
        layout, prompt = self.layouts[case], self.prompt(case)
        self.refresh(case)  # where it is kept
        how = "cached" if case.startswith("cached") else "exact"
        recipe = self.pack.recipe.Recipe(steps=steps, cfg=1.0, shift=SHIFT, memory_refresh=how)
        seen = self.pack.shot_run.Seen(prompt, prompt, layout)
        sigmas = self.pack.unipc.released_sigmas(steps, SHIFT)
        made, seconds, peak = self.meter.first(
            lambda: self.pack.shot_run.sample_shot(
                (self.high, low), (seen, seen), self.request, sigmas, recipe
            )
        )
        if not made[0].isfinite().all():
            raise SystemExit(f"the shot of {case} is not finite")
        return seconds, peak


def single_forwards(bench: Bench, rounds: int) -> None:
    """Every case in turn, ``rounds`` times, after a first time that chooses kernels."""
    peaks = {}
    for case in bench.layouts:
        seconds, peaks[case] = bench.forwards(case, again=case.startswith("cached"))
        tell(first=case, seconds=[round(s, 3) for s in seconds])
    times: dict[str, list[float]] = {case: [] for case in bench.layouts}
    refreshes: dict[str, list[float]] = {case: [] for case in bench.layouts}
    for _ in range(rounds):
        for case in bench.layouts:
            first, *later = bench.forwards(case, again=2)[0]
            (refreshes if case.startswith("cached") else times)[case].append(first)
            times[case] += later
        tell(round={case: round(t[-1], 3) for case, t in times.items()})
    middle = {case: statistics.median(t) for case, t in times.items()}
    for case, layout in bench.layouts.items():
        seconds, more = middle[case], {}
        if refreshes[case]:
            refresh = statistics.median(refreshes[case])
            more = {"refresh_over_none": round(refresh / middle["none"], 3)}
        tell(case=case, frames_before=layout.frames, seconds=round(seconds, 3),
             over_none=round(seconds / middle["none"], 3),
             over_storymem=round(seconds / middle["storymem"], 3), peak_gib=round(peaks[case], 2),
             spread=round(max(times[case]) / min(times[case]) - 1, 3), **more)  # fmt: skip


def whole_shots(bench: Bench, steps: int, cases) -> None:
    """Whole shots of two experts' weights, one after the other."""
    low, base = bench.expert(), None
    for case in cases:
        bench.forwards(case, again=case.startswith("cached"))  # kernels are chosen
        seconds, peak = bench.shot(case, low, steps)
        base = base or seconds
        tell(shot=case, steps=steps, seconds=round(seconds, 1),
             over_first=round(seconds / base, 3), peak_gib=round(peak, 2))  # fmt: skip


def choosing(bench: Bench) -> None:
    """The keyframe query's scores of a pool by one expert, weights from the host's memory."""
    width, heads = bench.shape["dim"], bench.shape["num_heads"]
    shapes = bench.pack.query_weights.query_shapes(width, QUERIES, GLOBAL_QUERIES)
    draw = torch.Generator().manual_seed(3)
    weights = {
        name: torch.randn(shape, generator=draw).to(bench.dtype) / width**0.5
        for name, shape in shapes.items()
    }
    query = bench.pack.keyframe_query.KeyframeQuery(weights, heads)
    _, channels, _, height, line = bench.request.latent_shape
    latents = torch.randn(1, channels, POOL, height, line, generator=draw)
    texts = torch.randn(2, TEXT_TOKENS, 4096, generator=draw)
    positions = range(-5 * POOL, 0, 5)

    def score():
        return bench.pack.choose_memory.score_pool(bench.high, query, latents, positions, *texts)

    _, first, peak = bench.meter.first(score)
    later = statistics.median(bench.meter.once(score) for _ in range(5))
    tokens = height * line // 4 * POOL
    asked = (bench.pack.choose_memory.COPIES * tokens // POOL + 4 * width) * width * 4
    tell(choosing=POOL, tokens=tokens, first=round(first, 3), seconds=round(later, 3),
         peak_gib=round(peak, 2), asked_of_the_host_gib=round(asked / 2**30, 2))  # fmt: skip


def print_profile(bench: Bench) -> None:
    for case in ("memento", "identity"):
        found = {}
        bench.forwards(case)
        totals = kinds(lambda c=case, f=found: f.update(whole=bench.forwards(c)))
        tell(profile=case, **{kind: round(seconds, 3) for kind, seconds in totals.items()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true", help="A14B at 832x480x81 (needs 80 GB)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shots", action="store_true", help="whole shots of 40 steps")
    parser.add_argument("--only-shots", action="store_true", help="nothing but whole shots")
    parser.add_argument("--only-choosing", action="store_true", help="nothing but the choice")
    parser.add_argument("--cases", nargs="+", default=("none", "cached_in_host", "identity"))
    parser.add_argument("--steps", type=int, help="of whole shots, in place of 40")
    parser.add_argument("--profile", action="store_true", help="kernels of two forwards by kind")
    options = parser.parse_args()
    is_gpu = torch.cuda.is_available()
    sys.argv = sys.argv[:1] + ([] if is_gpu else ["--cpu"])
    sys.path.insert(0, str(HOST))
    stand_in_for_missing()
    import comfy.options

    comfy.options.enable_args_parsing(not is_gpu)
    import comfy.utils

    comfy.utils.PROGRESS_BAR_ENABLED = False
    bench = Bench(options)
    tell(device=torch.cuda.get_device_name() if is_gpu else "CPU", torch=torch.__version__,
         blocks=bench.shape["num_layers"], shot_latent=bench.request.latent_shape,
         cudnn=bench.pack.attention.is_faster_here(bench.device))  # fmt: skip
    with torch.inference_mode():
        if not options.only_shots:
            choosing(bench)
        if not (options.only_shots or options.only_choosing):
            single_forwards(bench, options.rounds)
        if options.profile and is_gpu:
            print_profile(bench)
        if options.shots or options.only_shots:
            whole_shots(bench, options.steps or (STEPS if options.full else 4), options.cases)


if __name__ == "__main__":
    main()
