"""Keyframe selection against a plain reading of the released method, on the same machine.

    python tests/bench/bench_keyframes.py            # a real-size ViT-B/32 with random weights
    python tests/bench/bench_keyframes.py --quick    # without the slow plain reading of the shot

The plain reading encodes both frames at each comparison and repeats every pass, with nothing kept;
it uses the same preprocessing and the same model. Both must choose the same frames. Times are of
the processor, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import threading
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import conftest  # noqa: F401  loads the library as ``storymem``

from storymem.memory.bank import MemoryBank
from storymem.memory.frame import MemoryFrame
from storymem.models.clip_embedder import ClipEmbedder
from storymem.models.clip_vision import ClipShape, squashed
from storymem.selection.algorithm import SIMILARITY_THRESHOLD, select_keyframes
from storymem.selection.keyframes import choose_keyframes
from storymem.selection.preprocess import ShotFrames

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "keyframes.json"
MIB = 1024**2
# How much of the common part is taken off. The golden walks, continued with their own steps to 81
# frames, need 31 passes in the median (quartiles 24 and 36); this makes our shot need as many.
CENTRED = 0.69


class Encoder:
    """A ViT-B/32 with random weights that counts the frames it encodes.

    Random weights give all images nearly the same features; ``centre``, what they have in common,
    is taken off, so that similarities spread and the method's own 0.9 and 0.01 apply.
    """

    def __init__(self):
        from open_clip.transformer import QuickGELU, VisionTransformer

        torch.manual_seed(0)
        self.module = VisionTransformer(
            224, 32, 768, 12, 12, 4.0, output_dim=512, act_layer=QuickGELU
        )
        self.module.eval().requires_grad_(False)
        self.frames, self.centre = 0, 0.0

    @torch.inference_mode()
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        self.frames += len(pixels)
        return self.module(pixels) - self.centre


def shot(count: int, height: int, width: int, cuts: int) -> torch.Tensor:
    """A shot like a generated one: one moving scene that changes in ``cuts`` places."""
    generator = torch.Generator().manual_seed(7)
    scenes = torch.rand(cuts + 1, 3, height // 32, (width + 320) // 32, generator=generator)
    scenes = torch.nn.functional.interpolate(scenes, size=(height, width + 320), mode="bicubic")
    frames = torch.empty(count, height, width, 3)
    for i in range(count):
        scene = scenes[i * (cuts + 1) // count]
        left = int(320 * i / count)
        frames[i] = scene[:, :, left : left + width].permute(1, 2, 0).clamp(0, 1)
    return frames


def plain_selection(images, encoder: Encoder, bank: MemoryBank, threshold: float, most: int):
    """The released method as it reads: two frames encoded at every comparison, nothing kept.

    After ``most`` passes it stops unfinished, and gives no frames.
    """
    frames = ShotFrames(images)
    small = [frames.small(i) for i in range(len(frames))]

    def similarity(one: torch.Tensor, other: torch.Tensor) -> float:
        a, b = (encoder(squashed(frame[None], 224))[0].double() for frame in (one, other))
        return float(a @ b / (a.norm() * b.norm()))

    asked, passes = threshold, 0
    while True:
        passes += 1
        chosen = [0]
        for i in range(2, len(small)):
            if similarity(small[chosen[-1]], small[i]) < threshold:
                chosen.append(i)
        if len(chosen) <= 3:
            break
        if passes == most:
            return None, passes
        threshold -= 0.01
    kept = []
    for i in chosen:
        original = frames.original(i)
        if not any(similarity(original, known.image) > asked for known in bank.frames):
            kept.append(i)
    return tuple(kept), passes


class PeakMemory:
    """The most resident memory above the start, sampled while the block runs."""

    def __enter__(self):
        self.start = self._now()
        self.peak, self._stop = self.start, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _now(self) -> int:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def _watch(self) -> None:
        while not self._stop.wait(0.002):
            self.peak = max(self.peak, self._now())

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()
        self.mib = (self.peak - self.start) / MIB


def golden_calls() -> dict:
    """Frames to encode in the golden cases: the method's own count against ours."""
    worst = {}
    for case in json.loads(GOLDEN.read_text())["cases"]:
        if "embeddings" not in case:
            continue
        vectors = torch.nn.functional.normalize(torch.tensor(case["embeddings"]).double(), dim=-1)
        bank = case["bank"]
        encoded: set[int] = set()

        def similarity(i: int, j: int, vectors=vectors, encoded=encoded) -> float:
            encoded.update((i, j))
            return float(vectors[i] @ vectors[j])

        found = select_keyframes(
            case["n"], similarity, lambda i, scores=case["scores"]: scores[i] >= 3.0
        )
        assert list(found.indices) == case["expect"]["keyframes"]
        # Against a bank the keyframes are encoded again in full size, and each bank frame once.
        again = len(found.indices) + len(bank) if bank and found.indices else 0
        plain = 2 * case["official_calls"]["sim"]
        entry = {"case": case["id"], "plain": plain, "ours": len(encoded) + again}
        if plain > worst.get("plain", 0):
            worst = entry
    worst["factor"] = worst["plain"] / worst["ours"]
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="leave the plain reading out")
    parser.add_argument("--passes", type=int, default=1000, help="stop the plain reading after")
    parser.add_argument("--frames", type=int, default=81)
    parser.add_argument("--cuts", type=int, default=0, help="scene changes inside the shot")
    options = parser.parse_args()
    worst = golden_calls()
    sys.stdout.write(f"worst golden case: {worst}\n")
    assert worst["factor"] >= 100
    encoder = Encoder()
    shape = ClipShape(768, 12, 32, 224, 512)
    encoder(torch.zeros(16, 3, 224, 224))  # warm up
    images = shot(options.frames, 480, 832, options.cuts)
    bank = MemoryBank(
        tuple(
            MemoryFrame.from_pixels(shot(1, 480, 832, 0)[0].roll(40 * i, 1), shot=i)
            for i in range(6)
        )
    )
    small = ShotFrames(images)
    some = torch.stack([small.small(i) for i in range(0, options.frames, 8)])
    encoder.centre = CENTRED * encoder(squashed(some, 224)).mean(dim=0)
    encoder.frames = 0
    embedder = ClipEmbedder(encoder, shape)
    with PeakMemory() as memory:
        start = time.process_time()
        ours = choose_keyframes(images, embedder, bank=bank, shot=9)
        seconds = time.process_time() - start
    report = {
        "frames": options.frames,
        "threshold": round(ours.decision.threshold, 2),
        "passes": ours.decision.passes,
        "kept": [frame.frame for frame in ours.frames],
        "cpu_seconds": round(seconds, 2),
        "encoded": encoder.frames,
        "peak_mib_above_weights": round(memory.mib),
    }
    assert memory.mib < 1024
    if not options.quick:
        encoder.frames = 0
        start = time.process_time()
        kept, passes = plain_selection(images, encoder, bank, SIMILARITY_THRESHOLD, options.passes)
        report |= {
            "plain_cpu_seconds": round(time.process_time() - start, 2),
            "plain_encoded": encoder.frames,
            "plain_passes": passes,
        }
        report["faster"] = round(report["plain_cpu_seconds"] / seconds, 1)
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
    if not options.quick and kept is not None:
        assert (list(kept), passes) == (report["kept"], report["passes"])
        assert report["faster"] >= 30


if __name__ == "__main__":
    main()
