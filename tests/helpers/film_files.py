"""Finished stories made of coloured noise, and features that need no weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from storymem.files.video import write_video
from storymem.metrics.scores import FilmFeatures


def shot_frames(seed: int, count: int, height: int, width: int) -> np.ndarray:
    """``uint8 [T, H, W, 3]``: blocks whose colours drift from one random picture to another."""
    random = np.random.RandomState(seed)
    first, last = random.randint(0, 256, (2, 4, 4, 3)).astype(np.float64)
    steps = np.linspace(0, 1, count)[:, None, None, None]
    cells = (first + (last - first) * steps).astype(np.uint8)
    rows, columns = -(-height // 4), -(-width // 4)
    return cells.repeat(rows, 1).repeat(columns, 2)[:, :height, :width]


def write_story(
    folder: Path,
    sizes,
    *,
    name: str = "tale",
    overview: str = "a red dog goes home",
    prompts=None,
    seed: int = 0,
) -> Path:
    """A story folder: ``sizes`` are (frames, height, width) of the shots of scene 1."""
    folder.mkdir(parents=True, exist_ok=True)
    prompts = prompts or [f"shot number {i} of {name}" for i in range(1, len(sizes) + 1)]
    script = {
        "story_name": name,
        "story_overview": overview,
        "scenes": [{"scene_num": 1, "video_prompts": prompts, "cut": [True] * len(prompts)}],
    }
    (folder / "script.json").write_text(json.dumps(script))
    for i, (count, height, width) in enumerate(sizes, 1):
        write_video(folder / f"shot_01_{i:02d}.mp4", shot_frames(seed + i, count, height, width))
    return folder


def write_untagged(path: Path, frames) -> Path:
    """A film as earlier versions wrote it: BT.601 without tags."""
    import av

    with av.open(str(path), "w", format="mp4") as container:
        options = {"crf": "17", "preset": "veryfast", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=16, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return path


class PlainFeatures(FilmFeatures):
    """Sixteen numbers of a clip that depend on the order of its frames; words by their hash."""

    name = "plain features"

    def video(self, frames):
        means = [frame.astype(np.float64).mean(axis=(0, 1)) / 255 for frame in frames]
        corners = [frame[0, 0].astype(np.float64) / 255 for frame in frames]
        weights = np.arange(1, len(frames) + 1)[:, None]
        parts = [np.mean(means, axis=0), (weights * corners).mean(axis=0), corners[2], means[5]]
        vector = np.concatenate([*parts, [0.3, 0.1, 0.2, 0.4]])
        return vector / np.linalg.norm(vector)

    def texts(self, texts):
        rows = []
        for text in texts:
            seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")
            rows.append(np.random.RandomState(seed).uniform(0.1, 1, 16))
        table = np.array(rows)
        return table / np.linalg.norm(table, axis=1, keepdims=True)


def write_viclip(path: Path) -> Path:
    """The golden case's ViCLIP of 3 layers for 56 pixels."""
    import torch

    from helpers import viclip_case as case

    torch.save({"model": case.weights(case.TINY)}, path)
    return path


def write_clip(path: Path, *, width: int = 128) -> Path:
    """A small whole CLIP of 64 features with CLIP's own vocabulary, in open_clip's layout."""
    import open_clip
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = open_clip.model.CLIP(
            64,
            open_clip.CLIPVisionCfg(layers=2, width=width, patch_size=32, image_size=64),
            open_clip.CLIPTextCfg(context_length=77, vocab_size=49408, width=64, heads=1, layers=1),
            quick_gelu=True,
        )
        state = {k: v + 0.05 * torch.randn(v.shape) for k, v in model.state_dict().items()
                 if k != "attn_mask"}  # fmt: skip
    torch.save(state, path)
    return path


def write_laion(path: Path, features: int = 64) -> Path:
    """A linear head."""
    import torch

    weight = torch.linspace(-1, 1, features)[None]
    torch.save({"weight": weight, "bias": torch.tensor([5.0])}, path)
    return path
