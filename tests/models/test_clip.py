"""CLIP from one local file: three layouts, the same features as open_clip's own model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from helpers.clip_files import tiny_clip, to_transformers, write
from helpers.fakes import noise_image
from storymem.models.clip_embedder import ClipEmbedder
from storymem.models.clip_vision import (
    CLIP_MEAN,
    CLIP_STD,
    ClipShape,
    cropped,
    image_tower,
    load_clip,
    shape_of,
    squashed,
)

open_clip = pytest.importorskip("open_clip")


@pytest.mark.parametrize(
    "layout",
    [
        "open_clip safetensors",
        "open_clip checkpoint",
        "openai state dict",
        "openai archive",
        "transformers",
        "transformers safetensors",
        "transformers with a prefix",
    ],
)
def test_features_of_every_layout_equal_open_clips_own(tmp_path, layout):
    model = tiny_clip()
    tower = load_clip(write(layout, model, tmp_path))
    pixels = torch.randn(5, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model.encode_image(pixels)
        found = tower.module(pixels)
    assert torch.equal(found, expected)  # the same weights through the same code: the same bits
    assert tower.shape == ClipShape(128, 3, 32, 64, 64)


def test_transformers_own_model_gives_the_same_features(tmp_path):
    """The names are transformers' own: its model's file, its activation, its features."""
    transformers = pytest.importorskip("transformers")
    config = transformers.CLIPVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=2,
        patch_size=32,
        image_size=64,
        projection_dim=64,
        hidden_act="quick_gelu",
    )
    torch.manual_seed(0)
    theirs = transformers.CLIPVisionModelWithProjection(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    path = tmp_path / "model.safetensors"
    save_file({k: v.contiguous() for k, v in theirs.state_dict().items()}, path)
    ours = load_clip(path).module
    pixels = torch.randn(4, 3, 64, 64)
    with torch.inference_mode():
        expected, found = theirs(pixel_values=pixels).image_embeds, ours(pixels)
    # Two implementations in fp32: measured 1e-6; a wrong activation moves it by 1e-2.
    assert (found - expected).abs().max() / expected.abs().max() < 1e-5


def test_half_precision_weights_are_used_in_full_precision(tmp_path):
    model = tiny_clip().half()
    path = tmp_path / "ViT-B-32.pt"
    torch.save(model.state_dict(), path)
    tower = load_clip(path)
    assert {p.dtype for p in tower.module.parameters()} == {torch.float32}
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(tower.module(pixels), model.float().encode_image(pixels))


@pytest.mark.parametrize(
    ("name", "activation", "quick"),
    [
        ("ViT-B-32.pt", "auto", True),
        ("model.pt", "auto", True),
        ("CLIP-ViT-B-32-laion2B-s34B.pt", "auto", False),
        ("vit_b_32-quickgelu-laion400m.pt", "auto", True),
        ("ViT-B-32.pt", "gelu", False),
        ("datacomp_xl.pt", "quick_gelu", True),
    ],
)
def test_the_activation_goes_by_the_name_unless_the_artist_says_so(
    tmp_path, name, activation, quick
):
    model = tiny_clip(quick_gelu=quick)
    torch.save(model.state_dict(), tmp_path / name)
    tower = load_clip(tmp_path / name, activation=activation)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(tower.module(pixels), model.encode_image(pixels))


def test_the_squash_is_what_torchvision_does_without_antialias():
    transforms = pytest.importorskip("torchvision.transforms.functional")
    frames = torch.stack([noise_image(i, 70, 130) for i in range(3)])
    pixels = frames.permute(0, 3, 1, 2).float() / 255
    resized = transforms.resize(pixels, [224, 224], antialias=False)
    expected = transforms.normalize(resized, CLIP_MEAN, CLIP_STD)
    assert (squashed(frames, 224) - expected).abs().max() < 1e-6
    smooth = transforms.normalize(
        transforms.resize(pixels, [64, 64], antialias=True), CLIP_MEAN, CLIP_STD
    )
    assert (squashed(frames, 64) - smooth).abs().max() > 0.1, "antialias would show"


def test_the_crop_is_open_clips_own_preprocessing():
    from PIL import Image

    preprocess = open_clip.image_transform(224, is_train=False, mean=CLIP_MEAN, std=CLIP_STD)
    rows = torch.arange(336)[:, None] / 336
    columns = torch.arange(588)[None] / 588
    smooth = torch.stack([rows + 0 * columns, columns + 0 * rows, rows * columns], -1)
    frame = (smooth * 255).round().to(torch.uint8)
    expected = preprocess(Image.fromarray(frame.numpy()))
    found = cropped(frame[None], 224)[0]
    assert found.shape == expected.shape
    # PIL rounds to eight bits after resizing: half a step of 1/255 over the deviation of 0.26.
    assert (found - expected).abs().max() < 0.5 / 255 / 0.26 + 0.002


def test_what_is_calibrated_and_what_is_not(tmp_path):
    def embedder(shape: ClipShape, openai=True):
        return ClipEmbedder(lambda pixels: pixels.flatten(1)[:, :8], shape, openai=openai)

    b32 = ClipShape(768, 12, 32, 224, 512)
    assert embedder(b32).name == "CLIP ViT-B/32"
    assert embedder(b32).threshold_note(0.9) == ""
    note = embedder(ClipShape(1024, 24, 14, 224, 768)).threshold_note(0.9)
    assert "CLIP ViT-L/14" in note
    assert "0.9 is calibrated for CLIP ViT-B/32" in note
    assert embedder(b32, openai=False).threshold_note(0.9)
    assert ClipShape(1024, 24, 14, 336, 768).name == "ViT-L/14 336px"


def test_embeddings_are_unit_vectors_in_bounded_batches():
    sizes = []

    def encode(pixels):
        sizes.append(len(pixels))
        return pixels.mean(dim=(2, 3)) * 7

    embedder = ClipEmbedder(encode, ClipShape(768, 12, 32, 224, 512))
    vectors = embedder.embed(torch.stack([noise_image(i, 20, 20) for i in range(40)]))
    assert sizes == [16, 16, 8]
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(40))


@pytest.mark.parametrize("features", [torch.nan, 0.0, torch.inf])
def test_features_that_make_no_sense_are_an_error(features):
    embedder = ClipEmbedder(
        lambda pixels: torch.full((len(pixels), 8), features), ClipShape(768, 12, 32, 224, 512)
    )
    with pytest.raises(ValueError, match="ViT-B/32 gave features that are not finite"):
        embedder.embed(noise_image(0)[None])


# --- files that are no CLIP ---


def test_a_file_without_an_image_tower_is_named(tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "lora.safetensors")
    with pytest.raises(ValueError, match=r"lora\.safetensors cannot be used: it has no CLIP image"):
        load_clip(tmp_path / "lora.safetensors")


def test_a_vision_model_without_projection_is_named(tmp_path):
    state = to_transformers(tiny_clip().state_dict())
    del state["visual_projection.weight"]
    save_file(state, tmp_path / "siglip.safetensors")
    with pytest.raises(ValueError, match=r"siglip\.safetensors.*no visual_projection"):
        load_clip(tmp_path / "siglip.safetensors")


def test_an_incomplete_tower_is_named(tmp_path):
    state = dict(tiny_clip().state_dict())
    del state["visual.transformer.resblocks.1.mlp.c_fc.weight"]
    torch.save(state, tmp_path / "part.pt")
    with pytest.raises(ValueError, match=r"part\.pt cannot be used"):
        load_clip(tmp_path / "part.pt")
    assert shape_of(image_tower(state)).layers == 3


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors", ".bin"])
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut short"])
def test_a_damaged_file_is_named(tmp_path, suffix, content):
    path = tmp_path / f"broken{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"broken\{suffix} cannot be read"):
        load_clip(path)


def test_a_checkpoint_that_wants_to_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (np.save, (str(tmp_path / "ran.npy"), 1))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match=r"evil\.pt cannot be read"):
        load_clip(tmp_path / "evil.pt")
    assert not (tmp_path / "ran.npy").exists()


def test_an_unknown_activation_is_refused(tmp_path):
    with pytest.raises(ValueError, match="activation must be one of"):
        load_clip(tmp_path / "x.pt", activation="relu")


@pytest.mark.slow
def test_real_size_vit_b32_features_equal_open_clips_own(tmp_path):
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None).eval()
    save_file(to_transformers(model.state_dict()), tmp_path / "ViT-B-32.safetensors")
    tower = load_clip(tmp_path / "ViT-B-32.safetensors")
    assert tower.shape.name == "ViT-B/32"
    frames = torch.stack([noise_image(i, 336, 588) for i in range(2)])
    embedder = ClipEmbedder(tower.module, tower.shape)
    with torch.inference_mode():
        expected = F.normalize(model.encode_image(squashed(frames, 224)), dim=-1)
        assert torch.equal(embedder.embed(frames), expected)
