"""What a shot of the shipped workflows needs on a graphics card with so much memory.

    python tests/bench/bench_card.py --free 79 23 15 11 --low-vram 11 7 --judges 15 \\
        --out cards.jsonl

On a machine with one large NVIDIA card. A process of its own takes all of the card's memory but so
many GiB; then a real host (COMFYUI_PATH, else ~/ComfyUI) makes one shot of ``storymem_story`` with
ten memory frames, or of ``storymem_low_vram`` with five, over HTTP. With ``--judges`` CLIP ViT-B/32
and HPSv3 choose the keyframes of the former, as in the paper.

Models have the real shapes and names (fp8_scaled experts, LoRAs of rank 128, the VAE) and random
weights, so that only time and memory mean anything; HPSv3 finds no frame good enough and looks at
all of them. A text encoder that hashes words stands where umt5-xxl would. The weights take 16 GB of
disk, and HPSv3 17 more. How fast weights stream in is this machine's own. Each figure is written
when it is known. Without a card the same is done with tiny weights, to see that it runs.
"""

from __future__ import annotations

# ruff: noqa: T201  it is a script: what it prints is its result
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch
from bench_m2v import FULL, HOST, TINY
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.append(str(Path(__file__).resolve().parents[2]))  # last: the host's nodes.py goes before
from helpers import tiny_models
from helpers.host_server import Server
from helpers.hpsv3_files import weight_shapes
from storymem.files.workflow_file import to_api

PACK = Path(__file__).resolve().parents[2]
GIB = 2**30
CONTEXT = 0.5  # GiB that the holding process itself takes
FP8_MAX = 448  # of float8_e4m3fn
HAS_CARD = torch.cuda.is_available()
DEVICE = "cuda" if HAS_CARD else "cpu"
SHAPE = FULL if HAS_CARD else TINY
STEPS = 4
QWEN_TEXT = {
    "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
    "num_attention_heads": 28, "num_key_value_heads": 4,
}  # fmt: skip
QWEN_VISION = {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4}
VOCABULARY = 151_658
SCRIPT = "[title: Card]\nMara walks along the pier at dawn."
WORKFLOWS = {"storymem_story": 10, "storymem_low_vram": 5}  # memory frames in view
HOLD = """
import sys, time, torch
held = torch.empty(int(sys.argv[1]), dtype=torch.uint8, device="cuda")
print("held", flush=True)
time.sleep(3600)
"""


# --- weights --------------------------------------------------------------------------------------


def write_expert(path: Path) -> None:
    """An A14B expert as Comfy-Org repacks it: block matrices in fp8 with a scale, the rest bf16."""
    import comfy.ops
    from comfy.ldm.wan.model import WanModel

    shapes = WanModel(
        model_type="t2v", in_dim=36, text_dim=4096, out_dim=16, device="meta",
        dtype=torch.bfloat16, operations=comfy.ops.disable_weight_init, **SHAPE,
    ).state_dict()  # fmt: skip
    state = {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    for key, like in shapes.items():
        value = torch.randn(like.shape, device=DEVICE)
        if like.ndim <= 1 or "norm" in key:
            state[key] = torch.full(like.shape, float(key.endswith("weight"))).bfloat16()
        elif key.startswith("blocks.") and like.ndim == 2:
            value *= like.shape[1] ** -0.5
            scale = value.abs().max() / FP8_MAX
            state[key] = (value / scale).to(torch.float8_e4m3fn).cpu()
            state[key.removesuffix("weight") + "scale_weight"] = scale.cpu()
        else:
            value *= 0.2 if "modulation" in key else like[0].numel() ** -0.5
            state[key] = value.bfloat16().cpu()
    save_file(state, path)


def write_lora(path: Path) -> None:
    size = {"layers": SHAPE["num_layers"], "width": SHAPE["dim"], "inner": SHAPE["ffn_dim"]}
    tiny_models.write_lora(path, **size, dtype=torch.bfloat16)


def write_judges(models: Path) -> None:
    """CLIP ViT-B/32 and HPSv3 (Qwen2-VL-7B), the latter in bf16 as it is released."""
    import open_clip

    clip = open_clip.create_model("ViT-B-32-quickgelu")
    (models / "clip_vision").mkdir()
    save_file(clip.state_dict(), models / "clip_vision" / "ViT-B-32.safetensors")
    text, vision = QWEN_TEXT, QWEN_VISION
    if not HAS_CARD:
        text = {**text, "num_hidden_layers": 1, "intermediate_size": 64}
        vision = {**vision, "depth": 1}
    state = {}
    for key, shape in weight_shapes(text, vision, VOCABULARY).items():
        value = torch.randn(shape, device=DEVICE) * (shape[-1] ** -0.5 if len(shape) > 1 else 0)
        if "norm" in key and key.endswith("weight"):
            value += 1
        state[key] = (value if key.startswith("rm_head") else value.bfloat16()).cpu()
    (models / "aesthetics").mkdir()
    save_file(state, models / "aesthetics" / "HPSv3.safetensors")


def write_models(models: Path) -> None:
    """Random files under the shipped workflows' names; both experts are links to one file."""
    for folder in ("diffusion_models", "loras", "vae", "text_encoders"):
        (models / folder).mkdir(parents=True)
    for folder, write, names in (
        ("diffusion_models", write_expert, "wan2.2_i2v_{}_noise_14B_fp8_scaled"),
        ("loras", write_lora, "storymem_mi2v_{}_noise"),
    ):
        high, low = (models / folder / f"{names.format(n)}.safetensors" for n in ("high", "low"))
        write(high)
        os.link(high, low)
    tiny_models.write_vae(models / "vae" / "wan_2.1_vae.safetensors", dim=96 if HAS_CARD else 8)
    if HAS_CARD:
        torch.cuda.empty_cache()


# --- the shot -------------------------------------------------------------------------------------


def graph(server: Server, name: str, judges: bool) -> dict:
    """The shipped workflow with one shot, its memory full of reference images, and few steps."""
    workflow = json.loads((PACK / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
    prompt = to_api(workflow, server.get("/object_info"))
    for node in prompt.values():
        inputs = node["inputs"]
        match node["class_type"]:
            case "CLIPLoader":
                node |= {"class_type": "StoryMemTestTextEncoder", "inputs": {}}
            case "StoryMemLoadStory":
                inputs["script"] = SCRIPT
            case "StoryMemM2VSampler":
                inputs["steps"] = STEPS
                inputs |= {} if HAS_CARD else {"width": 64, "height": 48, "length": 17}
                size = {key: inputs[key] for key in ("width", "height")}
            case "StoryMemLoadEmbedder" if judges:
                inputs["embedder"] = "clip"
            case "StoryMemLoadScorer" if judges:
                inputs["scorer"] = "hpsv3"
            case "StoryMemMemoryBank":
                inputs["images"] = ["pictures", 0]
    prompt["pictures"] = {
        "class_type": "EmptyImage",
        "inputs": {**size, "batch_size": WORKFLOWS[name], "color": 0x8090A0},
    }
    return prompt


def used() -> int:
    """Bytes of the card that are taken, by whoever it is."""
    free, total = torch.cuda.mem_get_info() if HAS_CARD else (0, 0)
    return total - free


@contextmanager
def card_with(free: float):
    """The card with ``free`` GiB left: another process holds the rest."""
    if not HAS_CARD:
        yield
        return
    held = torch.cuda.mem_get_info()[0] - int((free + CONTEXT) * GIB)
    command = [sys.executable, "-c", HOLD, str(max(1, held))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        try:
            yield
        finally:
            holder.kill()


class Meter(threading.Thread):
    """The most memory that the card and the server's process had in use."""

    def __init__(self):
        super().__init__(daemon=True)
        self.card, self.ram, self.over = 0, 0, threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.02):
            self.card = max(self.card, used())
            self.ram = max(self.ram, self.process.memory_info().rss)


def measure(base: Path, name: str, free: float, judges: bool = False) -> dict:
    """One shot with ``free`` GiB of the card left to the host."""
    shutil.rmtree(base / "output", ignore_errors=True)  # or the shot is found again
    (base / "output").mkdir()
    server, meter = Server(base, "--front-end-root", str(base / "page")), Meter()
    result = {"workflow": name, "judges": judges}
    with card_with(free):
        before = used()
        if HAS_CARD:
            result["gib_free"] = round(torch.cuda.mem_get_info()[0] / GIB, 2)
        try:
            meter.process = psutil.Process(server.start().process.pid)
            meter.start()
            start = time.monotonic()
            server.run(graph(server, name, judges), timeout=400)
            result["seconds"] = round(time.monotonic() - start, 1)
            result["gib_used"] = round((meter.card - before) / GIB, 2)
            result["gib_of_ram"] = round(meter.ram / GIB, 1)
        except RuntimeError as error:
            result["failed"] = str(error)[-1500:]
        finally:
            meter.over.set()
            server.stop()
    result["steps"] = re.findall(
        rf" {STEPS}/{STEPS} \[[^\]]*, +([\d.]+ ?(?:s/it|it/s))", server.log()
    )
    server.log_path.rename(base / f"{name}_{free:g}{'_judges' * judges}.log")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--free", type=float, nargs="*", default=[], help="GiB, storymem_story")
    parser.add_argument("--low-vram", type=float, nargs="*", default=[], help="GiB, that workflow")
    parser.add_argument("--judges", type=float, nargs="*", default=[], help="GiB, with HPSv3")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines are added here")
    parser.add_argument("--models", type=Path, help="keep the weights here, or take them from here")
    options = parser.parse_args()
    sys.path.insert(0, str(HOST))
    sys.argv = sys.argv[:1] + ([] if HAS_CARD else ["--cpu"])
    import comfy.options

    comfy.options.enable_args_parsing()
    os.environ["STORYMEM_HOST_ARGS"] = "" if HAS_CARD else "--cpu"
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        for name in ("custom_nodes", "input", "output", "temp", "user", "page"):
            (base / name).mkdir()
        (base / "page" / "index.html").write_text("<!doctype html>")
        (base / "custom_nodes" / "ComfyUI-StoryMem").symlink_to(PACK)
        (base / "custom_nodes" / "storymem-test-nodes").symlink_to(
            PACK / "tests" / "helpers" / "host_nodes"
        )
        models = options.models or base / "models"
        if not models.is_dir():
            start = time.monotonic()
            write_models(models)
            print(f"weights: {time.monotonic() - start:.0f} s", flush=True)
        if options.judges and not (models / "aesthetics").is_dir():
            write_judges(models)
        if options.models:
            (base / "models").symlink_to(models.resolve())
        cases = [("storymem_story", free, False) for free in options.free]
        cases += [("storymem_low_vram", free, False) for free in options.low_vram]
        cases += [("storymem_story", free, True) for free in options.judges]
        for case in cases:
            line = json.dumps(measure(base, *case))
            print(line, flush=True)
            with options.out.open("a") as out:
                out.write(line + "\n")
            for log in base.glob("*.log"):
                (options.out.parent / log.name).write_bytes(log.read_bytes())


if __name__ == "__main__":
    main()
