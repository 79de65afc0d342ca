"""CLIP's text tower from one local file, and words compared with pictures."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from helpers.clip_files import tiny_clip, to_transformers, write
from helpers.fakes import noise_image
from storymem.memory.embedders import LayoutEmbedder
from storymem.models.clip_embedder import ClipEmbedder
from storymem.models.clip_text import embed_text, load_clip_text, text_tower, tokenise
from storymem.models.clip_vision import load_clip

open_clip = pytest.importorskip("open_clip")


def text_to_transformers(state: dict) -> dict:
    """open_clip's text tower under transformers' names, written from transformers' side."""
    out = {
        "text_model.embeddings.token_embedding.weight": state["token_embedding.weight"],
        "text_model.embeddings.position_embedding.weight": state["positional_embedding"],
        "text_model.final_layer_norm.weight": state["ln_final.weight"],
        "text_model.final_layer_norm.bias": state["ln_final.bias"],
        "text_projection.weight": state["text_projection"].T.contiguous(),
    }
    for key, value in state.items():
        if not key.startswith("transformer.resblocks."):
            continue
        _, _, layer, part, *rest = key.split(".")
        head, kind = f"text_model.encoder.layers.{layer}.", key.rsplit(".", 1)[1]
        if part.startswith("ln_"):
            out[f"{head}layer_norm{part[-1]}.{kind}"] = value
        elif part == "mlp":
            out[f"{head}mlp.{'fc1' if rest[0] == 'c_fc' else 'fc2'}.{kind}"] = value
        elif rest[0] == "out_proj":
            out[f"{head}self_attn.out_proj.{kind}"] = value
        else:
            kind = rest[0].removeprefix("in_proj_")
            for name, piece in zip("qkv", value.chunk(3), strict=True):
                out[f"{head}self_attn.{name}_proj.{kind}"] = piece.contiguous()
    return out


@pytest.mark.parametrize(
    "layout",
    ["open_clip safetensors", "open_clip checkpoint", "openai state dict", "transformers"],
)
def test_text_features_of_every_layout_equal_open_clips_own(tmp_path, layout):
    model = tiny_clip()
    if layout == "transformers":
        path = tmp_path / "clip.pt"
        state = {k: v.clone() for k, v in model.state_dict().items()}
        theirs = to_transformers(state)
        del theirs["text_model.final_layer_norm.bias"]
        torch.save({**theirs, **text_to_transformers(state)}, path)
    else:
        path = write(layout, model, tmp_path)
    module = load_clip_text(path, load_clip(path))
    tokens = torch.randint(1, 31, (5, 8), generator=torch.Generator().manual_seed(0))
    tokens[:, -1] = 31
    with torch.inference_mode():
        found, theirs = module(tokens), model.encode_text(tokens)
    # The last bit depends on where in memory the weights lie (measured: 6e-7 of the largest). GELU
    # for QuickGELU, the nearest mistake, is 1e-2 off.
    assert (found - theirs).abs().max() <= 4e-6 * theirs.abs().max()


def test_transformers_own_text_model_gives_the_same_features(tmp_path):
    transformers = pytest.importorskip("transformers")
    text = {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 1, "vocab_size": 64}
    sizes = {"num_hidden_layers": 2, "hidden_act": "quick_gelu"}
    config = transformers.CLIPConfig(
        text_config={
            **text, **sizes, "max_position_embeddings": 16, "eos_token_id": 63, "bos_token_id": 62
        },
        vision_config={
            "hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 2,
            "patch_size": 32, "image_size": 64, **sizes,
        },
        projection_dim=64,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.CLIPModel(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    path = tmp_path / "clip.pt"
    torch.save(theirs.state_dict(), path)
    module = load_clip_text(path, load_clip(path))
    tokens = torch.randint(0, 61, (3, 16))
    tokens[:, 9:] = 63
    with torch.inference_mode():
        expected = theirs.text_projection(theirs.text_model(input_ids=tokens).pooler_output)
        found = module(tokens)
    assert (found - expected).abs().max() / expected.abs().max() < 1e-5


def test_a_file_with_an_image_tower_only_has_no_text_tower(tmp_path):
    model = tiny_clip()
    state = {k: v for k, v in model.state_dict().items() if k.startswith("visual.")}
    torch.save(state, tmp_path / "image.pt")
    assert load_clip_text(tmp_path / "image.pt", load_clip(tmp_path / "image.pt")) is None
    assert text_tower({}) is None


def test_a_broken_text_tower_is_told(tmp_path):
    state = dict(tiny_clip().state_dict())
    del state["ln_final.weight"]
    torch.save(state, tmp_path / "clip.pt")
    with pytest.raises(ValueError, match=r"lacks ln_final\.weight"):
        load_clip_text(tmp_path / "clip.pt", load_clip(tmp_path / "clip.pt"))


@pytest.mark.parametrize("text", ["Mara laughs.", "", "a b c, d! ok? “quotes” — 海边", "x " * 40])
def test_tokens_of_a_text_that_fits_equal_open_clips(text):
    assert torch.equal(tokenise(text), open_clip.get_tokenizer("ViT-B-32")([text]))


def test_a_long_prompt_is_read_to_its_end():
    prompt = " ".join(f"Sentence number {n} tells of a very small green boat." for n in range(30))
    rows = tokenise(prompt)
    assert len(rows) > 3
    ids = [int(t) for row in rows for t in row if t and t < 49406]
    assert ids == open_clip.tokenizer.SimpleTokenizer().encode(prompt)
    assert len(tokenise("word " * 500)) == 7  # one endless sentence is cut


def test_the_vector_of_a_long_text_is_the_mean_of_its_parts():
    rows = torch.eye(49408, 16)
    encode = lambda tokens: rows[tokens[:, 1] % 16] * 3 + 0.1  # noqa: E731
    text = "First sentence. " * 40
    expected = F.normalize(encode(tokenise(text)), dim=-1).mean(0)
    torch.testing.assert_close(embed_text(encode, text), expected)


def test_words_are_compared_with_pictures_once(tmp_path):
    model = tiny_clip()
    calls = []

    def encode_tokens(tokens):
        calls.append(len(tokens))
        return torch.ones(len(tokens), 64)

    tower = load_clip(write("openai state dict", model, tmp_path))
    embedder = ClipEmbedder(tower.module, tower.shape, encode_tokens=encode_tokens)
    picture = embedder.embed(noise_image(0)[None])[0]
    words = embedder.embed_text("Mara laughs")
    assert words.norm() == pytest.approx(1.0, abs=1e-6)
    assert -1 <= float(words @ picture) <= 1
    assert torch.equal(embedder.embed_text("Mara laughs"), words)
    assert calls == [1]


def test_an_embedder_without_words_says_so():
    with pytest.raises(ValueError, match="cannot compare pictures with words"):
        LayoutEmbedder().embed_text("Mara")
