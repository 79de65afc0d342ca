"""ViCLIP equals VBench's own on random weights, recorded in its own environment."""

from __future__ import annotations

import hashlib
import os
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from helpers import viclip_case as case
from storymem.metrics.scores import AestheticQuality
from storymem.models import viclip
from storymem.models.clip_vision import ClipShape
from storymem.models.laion import LaionScorer
from storymem.models.viclip import as_clip_input, count_tokens, load_viclip, middle_frames, tokenise

pytestmark = pytest.mark.slow

pytest.importorskip("open_clip")
TOLERANCE = 1e-5  # on unit vectors; two orders of sums differ by 1e-6, the mutants by 1e-3 and more


@pytest.fixture(scope="module")
def tiny_weights():
    return {**case.weights(case.TINY), "temp": torch.tensor(0.01)}


@pytest.fixture(scope="module")
def tiny(tiny_weights, tmp_path_factory):
    path = tmp_path_factory.mktemp("viclip") / "ViClip-InternVid-10M-FLT.pth"
    torch.save({"model": tiny_weights}, path)
    return load_viclip(path)


def clip_input(parameters, size: int) -> torch.Tensor:
    frames = torch.from_numpy(case.clip(*parameters))
    return as_clip_input(frames[middle_frames(len(frames))], size)


def video_features(model, clips, size: int) -> torch.Tensor:
    with torch.inference_mode():
        found = [model.video(clip_input(c, size)[None]) for c in clips]
    return F.normalize(torch.cat(found), dim=-1)


def text_features(model, texts) -> torch.Tensor:
    with torch.inference_mode():
        return F.normalize(model.text(tokenise(texts, model.text.context)), dim=-1)


def test_frames_are_chosen_as_vbench_chooses_them(golden):
    expected = golden("viclip.json")["frames"]
    assert [middle_frames(count) for count in range(1, 400)] == expected
    assert middle_frames(81) == [4, 14, 24, 34, 44, 54, 64, 75]
    assert middle_frames(3) == [0, 1, 2, 2, 2, 2, 2, 2]
    with pytest.raises(ValueError, match="no frame"):
        middle_frames(0)


def test_pixels_are_vbenchs_own(golden):
    for parameters, (total, absolute, _) in zip(
        case.CLIPS, golden("viclip.json")["pixels"], strict=True
    ):
        found = clip_input(parameters, 224).double()
        # One pixel that rounds the other way moves the sum by 1/255/0.26.
        assert float(found.sum()) == pytest.approx(total, abs=0.1)
        assert float(found.abs().sum()) == pytest.approx(absolute, abs=0.1)


def test_the_transform_is_torchvisions():
    transforms = pytest.importorskip("torchvision.transforms")
    resize = transforms.Resize(
        224, interpolation=transforms.InterpolationMode.BICUBIC, antialias=False
    )
    for height, width in ((480, 832), (832, 480), (224, 224), (225, 300), (97, 401)):
        frames = torch.from_numpy(case.clip(3, 2, height, width, 9))
        cut = transforms.CenterCrop(224)(resize(frames.permute(0, 3, 1, 2)))
        expected = viclip.normalise(cut.float() / 255)
        assert torch.equal(as_clip_input(frames), expected), (height, width)


def test_texts_become_the_references_tokens(golden):
    recorded = golden("viclip.json")
    assert tokenise(case.TEXTS, case.CONTEXT).tolist() == recorded["tokens"]
    table = tokenise(case.random_texts(), case.CONTEXT).numpy().astype(np.int64)
    assert hashlib.sha256(table.tobytes()).hexdigest() == recorded["random_tokens"]
    assert count_tokens("a fox") == 4


def test_video_features_equal_the_references(golden, tiny):
    expected = torch.tensor(golden("viclip.json")["tiny"]["video"])
    found = video_features(tiny, case.CLIPS, 56)
    assert (found - expected).abs().max() < TOLERANCE
    apart = (found[0] - found[1]).abs().max()
    assert apart > 100 * TOLERANCE, "clips that all give the same would prove nothing"


def test_text_features_equal_the_references(golden, tiny):
    expected = torch.tensor(golden("viclip.json")["tiny"]["text"])
    found = text_features(tiny, case.TEXTS)
    assert (found - expected).abs().max() < TOLERANCE
    assert (found[0] - found[1]).abs().max() > 100 * TOLERANCE


def test_what_is_easy_to_get_wrong_would_be_seen(golden, tiny, monkeypatch):
    recorded = golden("viclip.json")["tiny"]
    expected = {k: torch.tensor(recorded[k]) for k in ("video", "text")}

    def video_error() -> float:
        return float((video_features(tiny, case.CLIPS, 56) - expected["video"]).abs().max())

    def text_error() -> float:
        return float((text_features(tiny, case.TEXTS) - expected["text"]).abs().max())

    seen = {}
    places = tiny.video.temporal_positional_embedding
    tiny.video.temporal_positional_embedding = torch.nn.Parameter(places.flip(1))
    seen["frames in another order"] = video_error()
    tiny.video.temporal_positional_embedding = torch.nn.Parameter(torch.zeros_like(places))
    seen["no positions in time"] = video_error()
    tiny.video.temporal_positional_embedding = places
    with monkeypatch.context() as patch:
        patch.setattr(viclip.QuickGELU, "forward", lambda self, x: F.gelu(x))
        seen["gelu in video"], seen["gelu in text"] = video_error(), text_error()
    with monkeypatch.context() as patch:
        patch.setattr(viclip.Tower, "forward", _without_mask)
        seen["no causal mask"] = text_error()
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules[__name__], "clip_input", _smoothed_input)
        seen["antialias"] = video_error()
    assert min(seen.values()) > 50 * TOLERANCE, seen
    assert max(video_error(), text_error()) < TOLERANCE


def _without_mask(self, x, *, causal=False):
    for block in self.resblocks:
        x = block(x, causal=False)
    return x


def _smoothed_input(parameters, size: int) -> torch.Tensor:
    from storymem.models.clip_vision import cropped

    frames = torch.from_numpy(case.clip(*parameters))
    return cropped(frames[middle_frames(len(frames))], size)


@pytest.mark.slow
@pytest.mark.skipif(
    "STORYMEM_FULL_SIZE" not in os.environ,
    reason="builds 1.7 GB of weights and takes half a minute; set STORYMEM_FULL_SIZE=1",
)
def test_features_at_full_size_equal_the_references(golden, tmp_path):
    """L/14 whole: 24 and 12 layers, 2049 tokens."""
    path = tmp_path / "viclip.safetensors"
    save_file(case.weights(case.FULL), path)
    model = load_viclip(path)
    path.unlink()
    assert model.shape.name == "ViCLIP L/14"
    recorded = golden("viclip.json")["full"]
    found = {
        "video": video_features(model, case.CLIPS[-1:], 224),
        "text": text_features(model, case.TEXTS[:3]),
    }
    for kind, rows in found.items():
        assert (rows - torch.tensor(recorded[kind])).abs().max() < TOLERANCE


L14 = ClipShape(1024, 24, 14, 224, 768)


def test_aesthetic_quality_equals_vbenchs_own(golden):
    head = torch.nn.Sequential(torch.nn.Linear(768, 1))
    shapes = {"weight": (1, 768), "bias": (1,)}
    state = {f"0.{k}": torch.from_numpy(case.weight(f"head.{k}", s)) for k, s in shapes.items()}
    head.load_state_dict(state)

    def pooled(pixels):
        return torch.nn.functional.adaptive_avg_pool2d(pixels, 16).flatten(1)

    scorer = AestheticQuality(pooled, L14, head)
    assert scorer.column == "aesthetic"
    with torch.inference_mode():
        found = [
            float(np.mean(scorer.score(torch.from_numpy(case.clip(*parameters)))))
            for parameters in case.CLIPS
        ]
    expected = golden("viclip.json")["aesthetic"]
    assert found == pytest.approx(expected, abs=2e-8)  # of numbers about 1e-3
    with torch.inference_mode():  # the filter's own preprocessing is another one
        smooth = LaionScorer(pooled, L14, head)
        other = np.mean(smooth.score(torch.from_numpy(case.clip(*case.CLIPS[0])))) / 10
    assert abs(other - expected[0]) > 1e-6


# --- files ---


@pytest.mark.parametrize(
    "layout", ["bare", "module.", "viclip.model.", "safetensors", "half", "2d"]
)
def test_every_layout_gives_the_same_features(tiny, tiny_weights, tmp_path, layout):
    path = tmp_path / "file.pth"
    state = dict(tiny_weights)
    if layout == "2d":
        state["vision_encoder.conv1.weight"] = state["vision_encoder.conv1.weight"][:, :, 0]
    if layout == "safetensors":
        path = tmp_path / "file.safetensors"
        save_file(state, path)
    elif layout == "half":
        torch.save({k: v.half() for k, v in state.items()}, path)
    elif layout.endswith("."):
        torch.save({"state_dict": {layout + k: v for k, v in state.items()}}, path)
    else:
        torch.save(state, path)
    model = load_viclip(path)
    assert {p.dtype for p in model.video.parameters()} == {torch.float32}
    found = video_features(model, case.CLIPS[2:3], 56)
    expected = video_features(tiny, case.CLIPS[2:3], 56)
    assert (found - expected).abs().max() < (2e-2 if layout == "half" else 1e-7)
    assert model.text.context == case.CONTEXT


def test_a_file_that_is_no_viclip_is_named(tmp_path, tiny_weights):
    path = tmp_path / "other.safetensors"
    save_file({"visual.class_embedding": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"other\.safetensors is not a whole ViCLIP.*no video"):
        load_viclip(path)
    for missing in ("vision_encoder.ln_post.bias", "vision_encoder.conv1.weight", "text_encoder."):
        state = {k: v for k, v in tiny_weights.items() if not k.startswith(missing)}
        torch.save(state, tmp_path / "part.pth")
        with pytest.raises(ValueError, match=r"part\.pth is not a whole ViCLIP"):
            load_viclip(tmp_path / "part.pth")
    state = dict(tiny_weights)
    key = "vision_encoder.temporal_positional_embedding"
    state[key] = state[key][:, :4]
    torch.save(state, tmp_path / "four.pth")
    with pytest.raises(ValueError, match=r"clips of 4 frames; ViCLIP's have 8"):
        load_viclip(tmp_path / "four.pth")


def test_a_checkpoint_that_wants_to_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (np.save, (str(tmp_path / "ran.npy"), 1))

    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match=r"evil\.pth cannot be read"):
        load_viclip(tmp_path / "evil.pth")
    assert not (tmp_path / "ran.npy").exists()
