"""Seconds and memory of memory that runs along in few steps, against exact and against none.

    python tests/bench/bench_cached_memory.py                    # CPU: tiny weights, that it runs
    python tests/bench/bench_cached_memory.py --full             # GPU: A14B at 832x480x81
    python tests/bench/bench_cached_memory.py --full --shots     # and whole shots of 40 steps
    python tests/bench/bench_cached_memory.py --full --only-refresh  # what pinning costs

Needs a ComfyUI checkout (COMFYUI_PATH, else ~/ComfyUI). The host's model with random bf16 weights
and the pack's own wrapper, so that only times and memory mean anything; all forwards share one set
of weights. Each line is written when it is known.
"""

from __future__ import annotations

# ruff: noqa: T201  it is a script: what it prints is its result
import argparse
import importlib
import json
import statistics
import sys
import types

import psutil
import torch
from bench_m2v import FULL, HOST, PACK, TEXT_TOKENS, TINY, Meter, build_model

SHIFT = 5
STEPS, BOUNDARY = 40, 0.9
MEMORY = (0, 3, 5, 10)


def load_pack(*more: str):
    """The pack's modules by name, and ``more``, without its nodes, which want a whole host."""
    for name, folder in (("pack", PACK), ("pack.nodes", PACK / "nodes")):
        module = types.ModuleType(name)
        module.__path__ = [str(folder)]
        sys.modules[name] = module
    names = (
        "nodes.sampling.cached_memory",
        "nodes.sampling.memory_store",
        "nodes.host.attention",
        "storymem.sampling.memory_refresh",
        "storymem.sampling.rope",
        "storymem.sampling.unipc",
        *more,
    )
    return types.SimpleNamespace(
        **{name.rpartition(".")[2]: importlib.import_module(f"pack.{name}") for name in names}
    )


class Shot:
    """The forwards of a shot with so many memory frames."""

    def __init__(self, pack, model, memory: int, size, device, dtype):
        self.pack, self.model, self.memory = pack, model, memory
        generator = torch.Generator(device).manual_seed(1)
        shape = (1, 36, memory + size[0], size[1], size[2])
        self.x = torch.randn(*shape, generator=generator, device=device, dtype=dtype)
        self.context = torch.randn(
            1, TEXT_TOKENS, 4096, generator=generator, device=device, dtype=dtype
        )
        plain = type(model).rope_encode.__get__(model)
        self.encode = (
            pack.rope.encode_at(plain, range(-memory * SHIFT, 0, SHIFT)) if memory else plain
        )

    def forward(self, sigma: float, levels, cached=None):
        """One evaluation; ``cached`` is the wrapper of the expert whose turn it is."""
        device = self.x.device
        options = {
            "sigmas": torch.tensor([sigma]), "sample_sigmas": torch.tensor([*levels, 0.0]),
            "cond_or_uncond": [0], "uuids": [1], "wrappers": {},
        }  # fmt: skip
        if device.type == "cuda":
            options["optimized_attention_override"] = self.pack.attention.cudnn_attention
        if cached is not None:
            options["wrappers"] = {"diffusion_model": {"ours": [cached]}}
        self.model.rope_encode = self.encode
        try:
            t = torch.tensor([sigma * 1000], device=device)
            return self.model(self.x, t, context=self.context, transformer_options=options)
        finally:
            del self.model.rope_encode

    def wrapper(self, place: str, steps=None, whole=None):
        """The pack's wrapper, whose store goes to ``place``."""
        store = self.pack.memory_store
        self.pack.cached_memory.place_for = lambda *_: store.Place[place]
        refresh = self.pack.memory_refresh.Refresh(True, steps, whole)
        return self.pack.cached_memory.CachedMemory(self.memory, refresh)

    def refresh_once(self, place: str) -> None:
        """One refresh; the first in a process has pinned memory to find."""
        cached = self.wrapper(place, (0,))
        self.forward(0.99, [0.99, 0.98], cached)
        cached.forget()


def whole(shots: list[Shot], levels, how: str) -> None:
    """All steps of both experts, each one's own shot of ``shots``, one prompt."""
    high = [s for s in levels if s >= BOUNDARY]
    for shot, part in zip(shots, (high, levels[len(high) :]), strict=True):
        cached = None if how in ("none", "exact") else shot.wrapper(how, whole=len(levels))
        for sigma in part:
            shot.forward(sigma, part, cached)
        if cached is not None:
            cached.forget()


def whole_shots(meter: Meter, pack, models: list, memory: int, steps: int, exact: bool, like):
    """Whole shots without memory, cached and exact, of two experts' weights, in this order.

    Args:
        like: latent size, device and type of each shot.
    """
    levels = pack.unipc.released_sigmas(steps, 4.0)[:-1].tolist()
    none, ten = ([Shot(pack, model, count, *like) for model in models] for count in (0, memory))
    place = "HOST" if meter.is_gpu else "CARD"
    for shot in (*none, *ten):
        shot.forward(0.99, [0.99, 0.98])  # kernels are chosen
    tell(experts_apart=models[0] is not models[1], memory=memory, steps=steps,
         first_refresh=round(meter.once(lambda: ten[0].refresh_once(place)), 2))  # fmt: skip
    found = {}
    for name, shots in (("none", none), (place, ten), *[("exact", ten)] * exact):
        _, seconds, peak = meter.first(lambda s=shots, n=name: whole(s, levels, n))
        found[name] = seconds, peak
        more = {"vram_over_cached_gib": round(peak - found[place][1], 2)} if name == "exact" else {}
        tell(shot=name.lower(), memory=shots[0].memory, steps=steps, seconds=round(seconds, 2),
             over_none=round(seconds / found["none"][0], 3), peak_gib=round(peak, 2),
             **more)  # fmt: skip


def tell(**facts) -> None:
    print(json.dumps(facts), flush=True)


def forwards(meter: Meter, shot: Shot, base: dict) -> None:
    """Exact, refresh and cached evaluations, each warm."""
    levels = [0.99, 0.98]
    _, _, peak = meter.first(lambda: shot.forward(0.99, levels))
    seconds = statistics.median(meter.once(lambda: shot.forward(0.99, levels)) for _ in range(3))
    base.setdefault("seconds", seconds)
    tell(memory=shot.memory, how="exact", seconds=round(seconds, 3),
         over_none=round(seconds / base["seconds"], 3), peak_gib=round(peak, 2))  # fmt: skip
    exact_peak = peak
    places = ("CARD", "HOST", "FP8") if meter.is_gpu else ("CARD",)
    for place in places if shot.memory else ():
        cached = shot.wrapper(place, (0,))
        _, _, peak = meter.first(lambda c=cached: shot.forward(0.99, levels, c))
        refresh = statistics.median(
            meter.once(lambda c=cached: shot.forward(0.99, levels, c)) for _ in range(2)
        )
        shot.forward(0.98, levels, cached)
        step = statistics.median(
            meter.once(lambda c=cached: shot.forward(0.98, levels, c)) for _ in range(3)
        )
        if meter.is_gpu:
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            shot.forward(0.98, levels, cached)
            torch.cuda.synchronize()
            of_step = (torch.cuda.max_memory_allocated() - before) / 2**30
        tell(memory=shot.memory, how=place.lower(), refresh=round(refresh, 3),
             step=round(step, 3), over_none=round(step / base["seconds"], 3),
             refresh_over_exact=round(refresh / seconds, 3), peak_gib=round(peak, 2),
             more_than_exact_gib=round(peak - exact_peak, 2),
             step_gib=round(of_step, 2) if meter.is_gpu else 0)  # fmt: skip
        cached.forget()


def refreshes(meter: Meter, shot: Shot, place: str) -> None:
    """The first refresh of a process and later ones, beside an exact forward, and what of the
    host's memory they take and leave."""
    levels = [0.99, 0.98]
    shot.forward(0.99, levels)
    exact = statistics.median(meter.once(lambda: shot.forward(0.99, levels)) for _ in range(2))
    before = psutil.virtual_memory().available
    cached = shot.wrapper(place, (0,))
    first = meter.once(lambda: shot.forward(0.99, levels, cached))
    during = psutil.virtual_memory().available
    step = meter.once(lambda: shot.forward(0.98, levels, cached))
    forgets = meter.once(cached.forget)
    after = psutil.virtual_memory().available
    later = [meter.once(lambda: shot.refresh_once(place)) for _ in range(2)]
    tell(memory=shot.memory, exact=round(exact, 2), first_refresh=round(first, 2),
         cached_step=round(step, 2), forgets=round(forgets, 2),
         later_refresh_and_forget=[round(value, 2) for value in later],
         host_gib_taken=round((before - during) / 2**30, 1),
         host_gib_left_taken=round((before - after) / 2**30, 1))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true", help="A14B at 832x480x81 (needs 80 GB)")
    parser.add_argument("--shots", action="store_true", help="whole shots of 40 steps")
    parser.add_argument("--only-shots", action="store_true", help="nothing but whole shots")
    parser.add_argument(
        "--only-refresh", action="store_true", help="first refreshes of a process, and no more"
    )
    parser.add_argument("--without-exact", action="store_true", help="no exact whole shot")
    parser.add_argument("--two-experts", action="store_true", help="whole shots with two's weights")
    parser.add_argument("--steps", type=int, help="of whole shots, in place of 40")
    parser.add_argument("--memory", type=int, nargs="+", default=MEMORY)
    options = parser.parse_args()
    is_gpu = torch.cuda.is_available()
    sys.argv = sys.argv[:1] + ([] if is_gpu else ["--cpu"])
    sys.path.insert(0, str(HOST))
    import comfy.options

    comfy.options.enable_args_parsing(not is_gpu)
    import comfy.model_management

    pack = load_pack()
    device = torch.device("cuda" if is_gpu else "cpu")
    dtype = torch.bfloat16 if is_gpu else torch.float32
    shape, size = (FULL, (21, 60, 104)) if options.full else (TINY, (5, 12, 16))
    model = build_model(shape, device, dtype)
    meter, base = Meter(device, 3), {}
    tell(device=torch.cuda.get_device_name() if is_gpu else "CPU", torch=torch.__version__,
         blocks=shape["num_layers"], shot_latent=size)  # fmt: skip
    with torch.inference_mode():
        if options.only_refresh:
            shot = Shot(pack, model, options.memory[-1], size, device, dtype)
            refreshes(meter, shot, "HOST" if is_gpu else "CARD")
            return
        for memory in () if options.only_shots else options.memory:
            forwards(meter, Shot(pack, model, memory, size, device, dtype), base)
        if not (options.shots or options.only_shots):
            return
        apart = options.two_experts and build_model(shape, device, dtype)
        whole_shots(
            meter, pack, [model, apart or model], options.memory[-1],
            options.steps or (STEPS if options.full else 4), not options.without_exact,
            (size, device, dtype),
        )  # fmt: skip


if __name__ == "__main__":
    main()
