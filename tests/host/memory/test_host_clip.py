"""CLIP made of ComfyUI's own classes and vocabulary: what open_clip gives, without it."""

from __future__ import annotations

import random
import sys

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from helpers.clip_files import tiny_clip
from helpers.clip_texts import TEXTS, random_texts
from helpers.fakes import noise_image
from helpers.film_files import write_clip

open_clip = pytest.importorskip("open_clip")


@pytest.fixture
def parts(host):
    """The host's, never open_clip's in their place."""
    found = host.pack("nodes.host.clip").clip_parts()
    assert type(found).__name__ == "HostClipParts"
    return found


def towers(host, path, parts, activation):
    image = host.pack("storymem.models.clip_vision").load_clip(
        path, activation=activation, parts=parts
    )
    return image, host.pack("storymem.models.clip_text").load_clip_text(path, image, parts=parts)


def moved(model: torch.nn.Module) -> torch.nn.Module:
    """With weights that matter: open_clip's start values are near zero."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "activation"),
    [("ViT-B-32-quickgelu", "quick_gelu"), ("ViT-B-32", "gelu"), ("ViT-L-14", "gelu")],
)
def test_features_at_full_size_equal_open_clips(host, parts, tmp_path, architecture, activation):
    torch.manual_seed(0)
    model = moved(open_clip.create_model(architecture, pretrained=None))
    save_file(model.state_dict(), tmp_path / "clip.safetensors")
    image, text = towers(host, tmp_path / "clip.safetensors", parts, activation)
    pixels = torch.randn(2, 3, 224, 224)
    tokens = open_clip.get_tokenizer(architecture)(["Mara laughs at the sea.", "海", ""])
    with torch.inference_mode():
        pairs = [
            (image.module(pixels), model.encode_image(pixels)),
            (text(tokens), model.encode_text(tokens)),
        ]
    # Measured: 2e-7. The other activation, the nearest mistake, is 1e-2 off.
    for found, expected in pairs:
        assert (F.normalize(found, dim=-1) - F.normalize(expected, dim=-1)).abs().max() < 1e-6


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_features_and_identity_of_a_small_file_equal_open_clips(host, parts, tmp_path, activation):
    model = tiny_clip(quick_gelu=activation == "quick_gelu")  # its text tower is not square
    save_file(model.state_dict(), tmp_path / "clip.safetensors")
    image, text = towers(host, tmp_path / "clip.safetensors", parts, activation)
    reference, _ = towers(
        host, tmp_path / "clip.safetensors", host.pack("storymem.models.clip_parts").OPEN_CLIP,
        activation,
    )  # fmt: skip
    assert (image.shape, image.identity) == (reference.shape, reference.identity)
    assert {p.dtype for p in [*image.module.parameters(), *text.parameters()]} == {torch.float32}
    pixels = torch.randn(5, 3, 64, 64)
    tokens = torch.randint(1, 31, (5, 8))
    tokens[:, 5] = 31
    with torch.inference_mode():
        found, expected = image.module(pixels), model.encode_image(pixels)
        said, meant = text(tokens), model.encode_text(tokens)
    assert (found - expected).abs().max() <= 4e-6 * expected.abs().max()
    assert (said - meant).abs().max() <= 4e-6 * meant.abs().max()
    assert text.context_length == 8


def test_a_tower_that_lacks_weights_is_refused_by_name(host, parts, tmp_path):
    state = dict(tiny_clip().state_dict())
    for name in ("visual.ln_post.bias", "visual.transformer.resblocks.1.attn.in_proj_bias"):
        torch.save({k: v for k, v in state.items() if k != name}, tmp_path / "ViT-B-32.pt")
        with pytest.raises(ValueError, match=r"ViT-B-32\.pt cannot be used"):
            towers(host, tmp_path / "ViT-B-32.pt", parts, "quick_gelu")


def test_tokens_equal_open_clips(parts):
    reference = open_clip.tokenizer.SimpleTokenizer()
    for text in [*TEXTS, *random_texts(1000, random.Random(1))]:
        assert parts.token_ids(text) == reference.encode(text), ascii(text)


def test_the_same_keyframes_are_kept(host, parts, tmp_path):
    save_file(tiny_clip().state_dict(), tmp_path / "ViT-B-32.safetensors")
    embedders = []
    for made_by in (parts, host.pack("storymem.models.clip_parts").OPEN_CLIP):
        image, _ = towers(host, tmp_path / "ViT-B-32.safetensors", made_by, "quick_gelu")
        embedders.append(
            host.pack("storymem.models.clip_embedder").ClipEmbedder(image.module, image.shape)
        )
    select = host.pack("storymem.selection.algorithm").select_keyframes
    found = set()
    for seed in range(12):
        begin, end = noise_image(2 * seed).float(), noise_image(2 * seed + 1).float()
        steps = torch.linspace(0, 1, 17)[:, None, None, None]
        frames = (begin + (end - begin) * steps).round().to(torch.uint8)
        kept = []
        for embedder in embedders:
            rows = embedder.embed(frames)
            alike = lambda i, j, rows=rows: float(rows[i] @ rows[j])  # noqa: E731
            kept.append(select(len(frames), alike, lambda _: True, threshold=0.98))
        assert kept[0] == kept[1]
        found.add(kept[0].indices)
    assert len(found) > 1  # else nothing was chosen


@pytest.fixture
def words_file(host):
    """A small CLIP with both towers in the host's folder."""
    import folder_paths

    folder = host.base / "models" / "clip_vision"
    folder.mkdir(exist_ok=True)
    path = write_clip(folder / "ViT-B-32-words.pt")
    folder_paths.filename_list_cache.clear()
    yield path
    path.unlink()
    folder_paths.filename_list_cache.clear()


def test_without_open_clip_frames_and_texts_are_compared(host, words_file, monkeypatch):
    for module in ("open_clip", "timm"):
        monkeypatch.setitem(sys.modules, module, None)  # importing it fails
    load = host.pack("nodes.memory.embedders").load_embedder
    embedder = load("clip", words_file.name, "quick_gelu", False)
    assert embedder.embed(noise_image(0)[None]).shape == (1, 64)
    assert embedder.embed_text("Mara’s red boat").norm() == pytest.approx(1, abs=1e-6)


def test_the_package_that_texts_need_is_asked_for_before_any_shot(host, words_file, monkeypatch):
    packages = host.pack("storymem.files.packages")
    monkeypatch.setattr(packages, "missing", lambda names: [n for n in names if n == "ftfy"])
    load = host.pack("nodes.memory.embedders").load_embedder
    with pytest.raises(ValueError, match=r"needs the package ftfy, .* -m pip install ftfy"):
        load("clip", words_file.name, "quick_gelu", False)


def test_where_the_hosts_classes_are_gone_open_clip_is_used_and_named(host, monkeypatch, caplog):
    import comfy.clip_model

    monkeypatch.delattr(comfy.clip_model, "CLIPTextModel")
    host.pack("nodes.host.clip")._of_host.cache_clear()
    found = host.pack("nodes.host.clip").clip_parts()
    assert found is host.pack("storymem.models.clip_parts").OPEN_CLIP
    assert "open_clip_torch is used" in caplog.text
