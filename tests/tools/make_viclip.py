"""Records ``viclip.json`` with the ViCLIP of VBench itself (``third_party/ViCLIP`` of its wheel).

VBench pins packages that ComfyUI cannot use: run this in an environment of its own.

    python -m venv vb && . vb/bin/activate
    pip install torch torchvision einops ftfy regex numpy pillow open_clip_torch
    pip install --no-deps vbench==0.1.5 timm==1.0.12 decord==0.6.0 "setuptools<70"
    VBENCH_CACHE_DIR=cache python -W ignore tests/tools/make_viclip.py [folder of scripts]

``cache/ViCLIP/bpe_simple_vocab_16e6.txt.gz`` is CLIP's vocabulary, as open_clip ships it. With a
folder of JSON scripts, the tokens of all their texts are compared as well; nothing of them is
recorded.
"""

from __future__ import annotations

import hashlib
import json
import sys
import types
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.modules["clip"] = types.ModuleType("clip")  # imported by VBench, not used here
import vbench.aesthetic_quality  # noqa: E402
from vbench.third_party.ViCLIP.viclip import ViCLIP  # noqa: E402
from vbench.third_party.ViCLIP.viclip_text import CLIP_TEXT  # noqa: E402
from vbench.third_party.ViCLIP.viclip_vision import VisionTransformer  # noqa: E402
from vbench.utils import clip_transform, get_frame_indices  # noqa: E402

TESTS = Path(__file__).resolve().parents[1]
GOLDEN = TESTS / "golden"
sys.path.insert(0, str(TESTS))
from helpers import viclip_case as case  # noqa: E402


class Sized(ViCLIP):
    """The reference with its own parts, in other sizes."""

    def __init__(self, sizes: dict):
        self.sizes = sizes
        super().__init__(pretrain=None, freeze_text=False)

    def build_vision_encoder(self):
        return VisionTransformer(
            output_dim=self.sizes["features"],
            kernel_size=1,
            num_frames=8,
            drop_path=0.1,
            checkpoint_num=0,
            **self.sizes["vision"],
        )

    def build_text_encoder(self):
        return CLIP_TEXT(
            embed_dim=self.sizes["features"],
            context_length=case.CONTEXT,
            vocab_size=case.VOCABULARY,
            checkpoint_num=0,
            **self.sizes["text"],
        )


def make(sizes: dict) -> ViCLIP:
    model = Sized(sizes).eval()
    with torch.no_grad():
        for key, value in model.state_dict().items():
            if key != "temp":
                value.copy_(torch.from_numpy(case.weight(key, tuple(value.shape))))
    return model


def pixels(parameters, size: int) -> torch.Tensor:
    frames = torch.from_numpy(case.clip(*parameters))
    chosen = get_frame_indices(8, len(frames), sample="middle")
    return clip_transform(size)(frames[[int(i) for i in chosen]].permute(0, 3, 1, 2))


def features(model: ViCLIP, clips, texts, size: int) -> dict:
    video = [model.get_vid_features(pixels(c, size)[None])[0].tolist() for c in clips]
    text = [model.get_text_features(t, model.tokenizer, {})[0].tolist() for t in texts]
    rounded = {"video": video, "text": text}
    return {k: [[round(x, 7) for x in row] for row in rows] for k, rows in rounded.items()}


def tokens(model: ViCLIP, texts: list[str]) -> np.ndarray:
    return model.text_encoder.tokenize(texts, context_length=case.CONTEXT).numpy().astype(np.int64)


class Pooled:
    """A stand-in for CLIP: what VBench does around it is what is recorded."""

    def eval(self):
        return self

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return nn.functional.adaptive_avg_pool2d(pixels, 16).flatten(1)


def aesthetic() -> list[float]:
    """VBench's own aesthetic quality of every clip."""
    head = nn.Linear(768, 1)
    state = {k: case.weight(f"head.{k}", s) for k, s in (("weight", (1, 768)), ("bias", (1,)))}
    head.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
    vbench.aesthetic_quality.load_video = lambda name: torch.from_numpy(
        case.clip(*case.CLIPS[int(name)])
    ).permute(0, 3, 1, 2)
    names = [str(i) for i in range(len(case.CLIPS))]
    _, results = vbench.aesthetic_quality.laion_aesthetic(head, Pooled(), names, "cpu")
    return [result["video_results"] for result in results]


def digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def main() -> None:
    tiny = make(case.TINY)
    if len(sys.argv) > 1:
        from open_clip.tokenizer import SimpleTokenizer

        texts = []
        for path in sorted(Path(sys.argv[1]).glob("*.json")):
            story = json.loads(path.read_text())
            texts.append(story.get("story_overview", ""))
            texts += [p for scene in story["scenes"] for p in scene["video_prompts"]]
        same = SimpleTokenizer()(texts, context_length=case.CONTEXT).numpy() == tokens(tiny, texts)
        print(f"{len(texts)} texts of scripts, tokens equal: {bool(same.all())}")  # noqa: T201
    inputs = [pixels(c, 224) for c in case.CLIPS]
    recorded = {
        "made_with": {"vbench": "0.1.5", "torch": torch.__version__},
        "frames": [
            [int(i) for i in get_frame_indices(8, n, sample="middle")] for n in range(1, 400)
        ],
        "pixels": [
            [float(p.double().sum()), float(p.double().abs().sum()), digest(p.numpy())]
            for p in inputs
        ],
        "tokens": tokens(tiny, case.TEXTS).tolist(),
        "random_tokens": digest(tokens(tiny, case.random_texts())),
        "aesthetic": aesthetic(),
        "tiny": features(tiny, case.CLIPS, case.TEXTS, 56),
        "full": features(make(case.FULL), case.CLIPS[-1:], case.TEXTS[:3], 224),
    }
    (GOLDEN / "viclip.json").write_text(json.dumps(recorded) + "\n")


with torch.no_grad():
    main()
