"""Seconds and memory of a forward with memory frames: ours, the plain host, the released forward.

    python tests/bench/bench_m2v.py                # CPU: tiny weights, checks that it runs
    python tests/bench/bench_m2v.py --full         # GPU: A14B at 832x480x81, random bf16 weights
    python tests/bench/bench_m2v.py --full --profile --last-block

Needs a ComfyUI checkout (COMFYUI_PATH, else ~/ComfyUI). Nothing is downloaded. Weights are random,
so only times and memory mean anything; all forwards share one set of them.
"""

from __future__ import annotations

# ruff: noqa: T201  it is a script: what it prints is its result
import argparse
import importlib.util
import os
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from helpers.released_forward import released_forward, released_rotation

PACK = Path(__file__).resolve().parents[2]
HOST = Path(os.environ.get("COMFYUI_PATH") or Path.home() / "ComfyUI")
MEMORY = (0, 3, 10)
SHIFT = 5
FULL = {"dim": 5120, "ffn_dim": 13824, "num_heads": 40, "num_layers": 40}  # Wan 2.2 A14B
TINY = {"dim": 256, "ffn_dim": 256, "num_heads": 2, "num_layers": 3}
TEXT_TOKENS = 512


def load_rope():
    """``storymem.sampling.rope`` by file location: the project's root stays off sys.path."""
    folder = PACK / "storymem"
    spec = importlib.util.spec_from_file_location(
        "storymem", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["storymem"] = module
    spec.loader.exec_module(module)
    return importlib.import_module("storymem.sampling.rope")


def load_attention():
    """The pack's ``nodes/host/attention.py`` alone, by file location."""
    spec = importlib.util.spec_from_file_location(
        "attention", PACK / "nodes" / "host" / "attention.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.cudnn_attention


def build_model(shape: dict, device: torch.device, dtype: torch.dtype):
    """The host's Wan I2V with random weights, on the device."""
    import comfy.ops
    from comfy.ldm.wan.model import WanModel

    model = WanModel(
        model_type="t2v",
        in_dim=36,
        text_dim=4096,
        out_dim=16,
        device=device,
        dtype=dtype,
        operations=comfy.ops.disable_weight_init,
        **shape,
    ).to(device)
    generator = torch.Generator(device).manual_seed(0)
    for name, parameter in model.named_parameters():
        if parameter.ndim <= 1 or "norm" in name:
            parameter.data.fill_(1.0 if name.endswith("weight") else 0.0)
        else:
            std = 0.2 if "modulation" in name else parameter[0].numel() ** -0.5
            parameter.data.normal_(0, std, generator=generator)
    return model.eval()


# --- a shorter last block ------------------------------------------------------------------------


def short_last_block(block, tokens: int):
    """Replaces the last block: queries, text and feed-forward for the shot's tokens only.

    The shot's output is the same; the memory's is not computed. That is exact in a sampler's last
    forward only, since every other step moves the memory latents by their own output.
    """
    import comfy.ldm.wan.model as wan
    from comfy.ldm.modules.attention import optimized_attention

    def replace(args, _):
        x, e, freqs = args["img"], args["vec"], args["pe"]
        m = (block.modulation.to(x)[None] + e).unbind(2)
        layer = block.self_attn
        y = torch.addcmul(m[0], block.norm1(x), 1 + m[1])
        shape = (1, -1, layer.num_heads, layer.head_dim)
        q = wan.apply_rope1(
            layer.norm_q(layer.q(y[:, tokens:])).view(shape), freqs[:, tokens:]
        ).flatten(2)
        k = wan.apply_rope1(layer.norm_k(layer.k(y)).view(shape), freqs).flatten(2)
        shot = x[:, tokens:]
        out = layer.o(optimized_attention(q, k, layer.v(y), heads=layer.num_heads))
        shot = torch.addcmul(shot, out, m[2])
        shot = shot + block.cross_attn(block.norm3(shot), args["txt"])
        y = block.ffn(torch.addcmul(m[3], block.norm2(shot), 1 + m[4]))
        return {"img": torch.cat([x[:, :tokens], torch.addcmul(shot, y, m[5])], dim=1)}

    return replace


# --- measuring -----------------------------------------------------------------------------------


class Meter:
    """Median seconds and peak activation memory of a call."""

    def __init__(self, device: torch.device, repeats: int):
        self.device = device
        self.repeats = repeats
        self.is_gpu = device.type == "cuda"

    def sync(self):
        if self.is_gpu:
            torch.cuda.synchronize()

    def once(self, call) -> float:
        self.sync()
        start = time.perf_counter()
        call()
        self.sync()
        return time.perf_counter() - start

    def interleaved(self, calls: dict) -> dict[str, list[float]]:
        """Each call in turn, so that a slow minute is shared; all of them ran once before."""
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(self.repeats):
            for name, call in calls.items():
                times[name].append(self.once(call))
        return times

    def first(self, call) -> tuple[torch.Tensor, float, float]:
        """A first run: what it gives, its seconds, and its GiB above what was allocated before."""
        before = 0
        if self.is_gpu:
            torch.cuda.empty_cache()
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
        self.sync()
        start = time.perf_counter()
        out = call()
        self.sync()
        seconds = time.perf_counter() - start
        peak = torch.cuda.max_memory_allocated() - before if self.is_gpu else 0
        return out, seconds, peak / 2**30


def kinds(call) -> dict[str, float]:
    """GPU seconds of a forward by kind of kernel, from the profiler."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as profiler:
        call()
        torch.cuda.synchronize()
    totals: dict[str, float] = {}
    names: dict[str, float] = {}
    for event in profiler.key_averages():
        if event.device_type != torch.autograd.DeviceType.CUDA:
            continue
        name = event.key.lower()
        seconds = event.self_device_time_total / 1e6
        names[event.key[:90]] = names.get(event.key[:90], 0.0) + seconds
        if any(word in name for word in ("flash", "fmha", "attention", "sdpa", "cudnn")):
            kind = "attention"
        elif any(word in name for word in ("gemm", "nvjet", "cutlass", "cublas", "xmma")):
            kind = "matrix products"
        elif "norm" in name:
            kind = "norms"
        elif "rope" in name:
            kind = "rotation"
        elif "memcpy" in name or "memset" in name or "copy" in name:
            kind = "copies"
        else:
            kind = "element-wise"
        totals[kind] = totals.get(kind, 0.0) + seconds
    print("\nlongest kernels")
    for name, seconds in sorted(names.items(), key=lambda item: -item[1])[:14]:
        print(f"  {seconds:8.4f} s  {name}")
    return totals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true", help="A14B at 832x480x81 (needs 80 GB)")
    parser.add_argument("--bf16", action="store_true", help="bf16 on the CPU too")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--profile", action="store_true", help="kernels of M = 10 by kind")
    parser.add_argument("--last-block", action="store_true", help="a last block without memory")
    options = parser.parse_args()

    sys.argv = sys.argv[:1] + ([] if torch.cuda.is_available() else ["--cpu"])
    sys.path.insert(0, str(HOST))
    rope = load_rope()
    import comfy.options

    comfy.options.enable_args_parsing(not torch.cuda.is_available())
    import comfy.ldm.modules.attention as attention
    import comfy.model_management

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = torch.bfloat16 if device.type == "cuda" or options.bf16 else torch.float32
    shape, size = (FULL, (21, 60, 104)) if options.full else (TINY, (5, 12, 16))
    model = build_model(shape, device, dtype)
    meter = Meter(device, options.repeats)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "CPU"
    print(
        f"{name}, torch {torch.__version__}, {dtype}, attention: "
        f"{attention.optimized_attention.__name__}, dim {shape['dim']}, "
        f"{shape['num_layers']} blocks, shot latent {size}"
    )
    print("one forward, one prompt; median seconds, activation GiB")
    print(
        "| M | tokens | host | ours | ours/host | cudnn | cudnn/host | released | released/host | "
        "host GiB | ours GiB | released GiB | GiB ratio | positions ms |"
    )
    print("|---" * 14 + "|")
    with torch.inference_mode():
        for memory in MEMORY:
            run = Case(model, rope, memory, size, device, dtype)
            run.attention = load_attention()
            row = measure(meter, run)
            print("| " + " | ".join(row) + " |", flush=True)
        if device.type == "cuda":
            print_accuracy(run.attention, attention.optimized_attention, device)
        if options.last_block:
            print_last_block(meter, run)
        if options.profile and device.type == "cuda":
            print_profile(run)


class Case:
    """One number of memory frames: its inputs, and the three forwards."""

    def __init__(self, model, rope, memory: int, size, device, dtype):
        frames, self.rows, self.columns = size[0] + memory, size[1] // 2, size[2] // 2
        self.model, self.memory, self.frames = model, memory, frames
        generator = torch.Generator(device).manual_seed(1)

        def random(*shape):
            return torch.randn(*shape, generator=generator, device=device, dtype=dtype)

        self.x = random(1, 36, frames, size[1], size[2])
        self.context = random(1, TEXT_TOKENS, 4096)
        self.t = torch.tensor([900.0], device=device)
        self.plain = type(model).rope_encode.__get__(model)
        self.patched = rope.encode_at(self.plain, range(-memory * SHIFT, 0, SHIFT))
        positions = rope.temporal_positions(memory, size[0], offset=SHIFT)
        self.rotation = released_rotation(positions, self.rows, self.columns, 128).to(device)

    def host(self, encode=None, **options):
        """The host's forward; an object patch sets exactly this attribute."""
        self.model.rope_encode = encode or self.plain
        try:
            return self.model(self.x, self.t, context=self.context, transformer_options=options)
        finally:
            del self.model.rope_encode

    def ours(self, **options):
        return self.host(self.patched, **options)

    def cudnn(self):
        """Ours with the pack's choice of kernel on Hopper (the host's elsewhere)."""
        return self.ours(optimized_attention_override=self.attention)

    def released(self):
        return released_forward(self.model, self.x, self.t, self.context, self.rotation)

    def positions(self, encode):
        h, w = 2 * self.rows, 2 * self.columns
        return encode(
            self.frames, h, w, device=self.x.device, dtype=self.x.dtype, transformer_options={}
        )


def measure(meter: Meter, run: Case) -> list[str]:
    names = ("host", "ours", "cudnn", "released")  # released last: its kernels are warm by then
    first = {name: meter.first(getattr(run, name)) for name in names}
    difference = relative(first["released"][0], first["ours"][0])
    if difference > 0.1:
        raise SystemExit(f"the two readings of the forward differ by {difference}")
    times = meter.interleaved({name: getattr(run, name) for name in names[:3]})
    host, ours, cudnn = (statistics.median(times[name]) for name in names[:3])
    released = first["released"][1]
    peaks = [first[name][2] for name in ("host", "ours", "released")]
    cost = {}
    for name, encode in (("host", run.plain), ("ours", run.patched)):
        calls = [meter.once(lambda e=encode: run.positions(e)) for _ in range(7)]
        cost[name] = statistics.median(calls) * 1000
    return [
        str(run.memory),
        str(run.frames * run.rows * run.columns),
        f"{host:.3f}",
        f"{ours:.3f}",
        f"{ours / host:.4f}",
        f"{cudnn:.3f}",
        f"{cudnn / host:.2f}",
        f"{released:.3f}",
        f"{released / host:.2f}",
        *(f"{peak:.2f}" for peak in peaks),
        f"{peaks[2] / peaks[0]:.1f}" if peaks[0] else "-",
        f"{cost['host']:.1f} -> {cost['ours']:.1f}",
    ]


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.float() - b.float()).norm() / b.float().norm())


def print_accuracy(cudnn, host, device: torch.device) -> None:
    """Rounding of both attention kernels, against float64."""
    generator = torch.Generator(device).manual_seed(2)
    q, k, v = (
        torch.randn(1, 4096, 8 * 128, generator=generator, device=device).bfloat16()
        for _ in range(3)
    )
    heads = (a.double().unflatten(-1, (8, -1)).transpose(1, 2) for a in (q, k, v))
    exact = torch.nn.functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
    for name, out in (("host", host(q, k, v, heads=8)), ("cudnn", cudnn(host, q, k, v, heads=8))):
        print(f"attention of {name} against float64: rel_l2 {relative(out, exact):.2e}")


def print_last_block(meter: Meter, run: Case) -> None:
    tokens = run.memory * run.rows * run.columns
    last = len(run.model.blocks) - 1
    replace = short_last_block(run.model.blocks[last], tokens)
    options = {"patches_replace": {"dit": {("double_block", last): replace}}}
    shots = [run.ours(**o)[:, :, run.memory :] for o in (options, {})]
    difference = relative(*shots)
    times = meter.interleaved({"whole": run.ours, "short": lambda: run.ours(**options)})
    whole, short = (statistics.median(times[name]) for name in ("whole", "short"))
    print(
        f"\nlast block without memory outputs, M = {run.memory}: {short:.3f} s for {whole:.3f} s "
        f"({1 - short / whole:+.2%}), shot differs by {difference:.1e}"
    )


def print_profile(run: Case) -> None:
    totals = kinds(run.ours)
    whole = sum(totals.values())
    print(f"\nM = {run.memory}: {whole:.3f} s on the GPU")
    for kind, seconds in sorted(totals.items(), key=lambda item: -item[1]):
        print(f"  {kind:16s} {seconds:7.3f} s  {seconds / whole:6.1%}")


if __name__ == "__main__":
    main()
