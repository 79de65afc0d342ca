"""Files are told by what is in them: real shapes, from the libraries that define the models."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from helpers.sparse_weights import lora_shapes, memento_shapes, write_gguf, write_safetensors
from storymem.setup import lora_files
from storymem.setup.model_files import describe_files, find_files, identify

A14B = {"num_layers": 40, "num_attention_heads": 40, "attention_head_dim": 128, "ffn_dim": 13824}


def shapes_of(module: torch.nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(t.shape) for name, t in module.state_dict().items()}


def kind(tmp_path, shapes, name="model.safetensors", **options):
    return identify(write_safetensors(tmp_path / name, shapes, **options))


# --- models, by diffusers' own definitions -----------------------------------------------------


def wan(**changed) -> dict[str, tuple[int, ...]]:
    from diffusers import WanTransformer3DModel

    with torch.device("meta"):
        return shapes_of(WanTransformer3DModel(**{**A14B, "in_channels": 16, **changed}))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"in_channels": 36}, "i2v_a14b"),
        ({}, "t2v_14b"),
        ({"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120}, "i2v_21"),
        (
            {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120,
             "pos_embed_seq_len": 514},
            "flf2v_21",
        ),
        ({"num_layers": 30, "num_attention_heads": 12, "ffn_dim": 8960}, "t2v_1_3b"),
        (
            {"num_layers": 30, "num_attention_heads": 24, "ffn_dim": 14336, "in_channels": 48,
             "out_channels": 48},
            "ti2v_5b",
        ),
        ({"num_layers": 4}, "other_wan"),
    ],
)  # fmt: skip
def test_models_of_wan_are_told_apart(tmp_path, changed, expected):
    found = kind(tmp_path, wan(**changed), "whatever.safetensors")
    assert (found.kind, found.problem) == (expected, "")


def test_vaes_of_wan_are_told_by_their_channels(tmp_path):
    from diffusers import AutoencoderKL, AutoencoderKLWan

    with torch.device("meta"):
        old = shapes_of(AutoencoderKLWan())
        new = shapes_of(
            AutoencoderKLWan(base_dim=160, z_dim=48, decoder_base_dim=256, in_channels=12,
                             out_channels=12, patch_size=2, is_residual=True,
                             scale_factor_spatial=16, latents_mean=[0.0] * 48,
                             latents_std=[1.0] * 48)
        )  # fmt: skip
        pictures = shapes_of(AutoencoderKL(latent_channels=16))
    assert kind(tmp_path, old).kind == "vae_21"
    assert kind(tmp_path, new).kind == "vae_22"
    found = kind(tmp_path, pictures)
    assert (found.kind, found.details) == ("vae_other", ("16 latent channels, for pictures",))


# --- encoders, by transformers' and open_clip's -------------------------------------------------

UMT5 = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64,
        "vocab_size": 256384, "feed_forward_proj": "gated-gelu"}  # fmt: skip


def umt5():
    from transformers import UMT5Config, UMT5EncoderModel

    with torch.device("meta"):
        return shapes_of(UMT5EncoderModel(UMT5Config(**UMT5)))


def test_umt5_is_told_from_t5_and_from_a_file_without_its_words(tmp_path):
    from transformers import T5Config, T5EncoderModel

    bare = umt5()
    found = kind(tmp_path, bare)
    assert (found.kind, "spiece_model" in found.details[0]) == ("umt5", True)
    whole = kind(tmp_path, {**bare, "spiece_model": (4548313,)})
    assert (whole.kind, whole.details) == ("umt5", ())
    with torch.device("meta"):
        t5 = shapes_of(T5EncoderModel(T5Config(**{**UMT5, "vocab_size": 32128})))
    assert kind(tmp_path, t5).kind == "t5"


def test_umt5_in_wans_own_layout_is_told(tmp_path):
    own = {"token_embedding.weight": (256384, 4096), "blocks.0.attn.q.weight": (4096, 4096)}
    assert "cannot read" in kind(tmp_path, own).details[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("ViT-B-32", "ViT-B/32"), ("ViT-L-14", "ViT-L/14"), ("ViT-H-14", "ViT-H/14"),
     ("ViT-bigG-14", "ViT-G/14"), ("ViT-L-14-336", "ViT-L/14 336px")],
)  # fmt: skip
def test_clips_are_told_by_their_towers_in_open_clips_layout(tmp_path, name, expected):
    import open_clip

    with torch.device("meta"):
        config = open_clip.get_model_config(name)
        config.pop("custom_text", None)
        model = open_clip.CLIP(**config)
    found = kind(tmp_path, shapes_of(model))
    assert (found.kind, found.details[:2]) == ("clip", (expected, "image and text towers"))


def test_clips_are_told_in_transformers_layout(tmp_path):
    from transformers import (
        CLIPConfig,
        CLIPModel,
        CLIPVisionConfig,
        CLIPVisionModelWithProjection,
        SiglipVisionConfig,
        SiglipVisionModel,
    )

    with torch.device("meta"):
        whole = shapes_of(CLIPModel(CLIPConfig()))
        image = shapes_of(CLIPVisionModelWithProjection(CLIPVisionConfig()))
        siglip = shapes_of(SiglipVisionModel(SiglipVisionConfig()))
    layout = "transformers' layout"
    found = kind(tmp_path, whole)
    assert found.details == ("ViT-B/32", "image and text towers", layout)
    assert kind(tmp_path, image).details == ("ViT-B/32", "image tower alone", layout)
    if not any(key.startswith("vision_model.") for key in siglip):  # newer transformers
        siglip = {f"vision_model.{key}": shape for key, shape in siglip.items()}
    assert kind(tmp_path, siglip).kind == "siglip"


# --- judges -------------------------------------------------------------------------------------


def test_judges_are_told(tmp_path):
    hpsv3 = {
        "visual.patch_embed.proj.weight": (1280, 3, 2, 14, 14),
        "model.embed_tokens.weight": (151658, 3584), "rm_head.0.weight": (1024, 3584),
    }  # fmt: skip
    assert kind(tmp_path, hpsv3).kind == "hpsv3"
    del hpsv3["rm_head.0.weight"]
    assert kind(tmp_path, hpsv3).kind == "qwen2_vl"
    mlp = {}
    for index, (out, into) in zip((0, 2, 4, 6, 7), ((1024, 768), (128, 1024), (64, 128), (16, 64),
                                                    (1, 16)), strict=True):  # fmt: skip
        mlp |= {f"layers.{index}.weight": (out, into), f"layers.{index}.bias": (out,)}
    assert kind(tmp_path, mlp).kind == "laion"
    assert kind(tmp_path, {"weight": (1, 768), "bias": (1,)}).kind == "laion"
    assert kind(tmp_path, {"weight": (2, 768), "bias": (2,)}).kind == "unknown"
    viclip = {"vision_encoder.temporal_positional_embedding": (1, 8, 1024)}
    assert kind(tmp_path, viclip).kind == "viclip"


# --- precision ----------------------------------------------------------------------------------

SMALL = {"blocks.0.w": (64, 64), "norm": (64,)}


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ({"blocks.0.w": "BF16", "norm": "F32"}, "bf16"),
        ({"blocks.0.w": "F8_E4M3", "norm": "F32"}, "fp8"),
        ({"blocks.0.w": "F8_E4M3", "norm": "F32", "blocks.0.scale_weight": "F32"}, "fp8_scaled"),
        ({"blocks.0.w": "F8_E4M3", "norm": "F32", "scaled_fp8": "F8_E4M3"}, "fp8_scaled"),
        ({"blocks.0.w": "U8", "norm": "F32", "w.weight_scale": "F8_E4M3",
          "w.weight_scale_2": "F32"}, "nvfp4"),
    ],
)  # fmt: skip
def test_precision_is_that_of_most_numbers(tmp_path, types, expected):
    shapes = {name: SMALL.get(name, ()) for name in types}
    assert kind(tmp_path, shapes, kind=types).precision == expected


def test_a_gguf_model_is_told_by_its_shapes(tmp_path):
    tensors, notes = {}, {"general.architecture": "wan"}
    for name, shape in wan_native().items():
        size = 4
        for n in shape:
            size *= n
        if len(shape) == 5:
            notes[f"comfy.gguf.orig_shape.{name}"] = list(shape)
            shape = (shape[0], shape[1], shape[2] * shape[3], shape[4])
        tensors[name] = (shape[::-1], 0, size)
    found = identify(write_gguf(tmp_path / "a.gguf", tensors, notes))
    assert (found.kind, found.precision) == ("i2v_a14b", "GGUF F32")


def wan_native() -> dict[str, tuple[int, ...]]:
    shapes = {"head.modulation": (1, 2, 5120), "head.head.weight": (64, 5120),
              "patch_embedding.weight": (5120, 36, 1, 2, 2)}  # fmt: skip
    return shapes | {f"blocks.{n}.norm3.weight": (5120,) for n in range(40)}


# --- LoRAs --------------------------------------------------------------------------------------


def test_a_lora_of_storymems_form_has_its_layers_rank_and_scale(tmp_path):
    found = kind(tmp_path, lora_shapes(), "anything.safetensors")
    assert found.kind == "storymem_lora"
    assert found.details == ("400 of 400 layers", "rank 128", "scale 11.31")


def test_of_another_rank_nothing_says_whose_it_is(tmp_path):
    found = kind(tmp_path, lora_shapes(rank=32, prefix="diffusion_model."))
    assert found.kind == "wan_lora"
    assert "nothing in the file says whose it is" in found.details[-1]


def test_a_lora_that_this_package_trained_says_so_and_its_scale(tmp_path):
    notes = {"storymem": '{"alpha": 64}'}
    found = kind(tmp_path, lora_shapes(rank=64), notes=notes)
    assert found.kind == "storymem_lora"
    assert "trained with this package" in found.details


def test_mementos_has_its_query_and_says_which_expert_when_its_names_do(tmp_path):
    whole = memento_shapes()
    plain = kind(tmp_path, whole)
    assert (plain.kind, plain.details[0]) == ("memento_lora", "400 of 400 layers")
    named = {f"high_noise_model.{name}": shape for name, shape in whole.items()}
    assert "high noise, by its content" in kind(tmp_path, named).details


def test_half_a_lora_is_told(tmp_path):
    shapes = lora_shapes()
    del shapes["blocks.3.self_attn.q.lora_B.weight"]
    assert kind(tmp_path, shapes).kind == "broken"


@pytest.mark.parametrize(
    ("shapes", "expected", "said"),
    [
        (lora_shapes(blocks=20, down="lora_down", up="lora_up"), "wan_lora", "200 of 400"),
        ({"lora_unet_down_blocks_0_attentions_0_attn2_to_k.lora_down.weight": (4, 2048)},
         "other_lora", "SDXL"),
        ({"blocks.0.self_attn.q.lora_A.weight": (8, 1536),
          "blocks.0.self_attn.q.lora_B.weight": (1536, 8)}, "other_lora", "1.3B"),
        ({"blocks.0.ffn.2.lora_A.weight": (8, 5120), "blocks.0.ffn.2.lora_B.weight": (5120, 8)},
         "other_lora", "other sizes"),
        ({"blocks.0.self_attn.q.lokr_w1": (8, 8)}, "other_lora", "LoKr"),
    ],
)  # fmt: skip
def test_other_loras_are_told(tmp_path, shapes, expected, said):
    found = kind(tmp_path, shapes)
    assert found.kind == expected
    assert any(said in detail for detail in found.details)


def test_a_lora_in_a_checkpoint_is_told_without_its_numbers(tmp_path, monkeypatch):
    state = {n: torch.zeros(s, dtype=torch.bfloat16) for n, s in lora_shapes(rank=4).items()}
    torch.save(state, tmp_path / "a.pth")
    monkeypatch.setattr(lora_files, "RELEASED_RANK", 4)
    found = identify(tmp_path / "a.pth")
    assert (found.kind, found.details[-1], found.precision) == ("storymem_lora", "scale 2", "bf16")


# --- folders ------------------------------------------------------------------------------------


def test_a_model_in_several_files_is_one_and_a_missing_shard_is_told(tmp_path):
    shapes = wan(in_channels=36)
    names = sorted(shapes)
    half = len(names) // 2
    parts = {"m-00001-of-00002.safetensors": names[:half],
             "m-00002-of-00002.safetensors": names[half:]}  # fmt: skip
    places = ", ".join(f'"{n}": "{file}"' for file, held in parts.items() for n in held)
    index = tmp_path / "m.safetensors.index.json"
    index.write_text(f'{{"weight_map": {{{places}}}}}')
    for file, held in parts.items():
        write_safetensors(tmp_path / file, {n: shapes[n] for n in held})
    known: dict = {}
    (found,) = find_files({"diffusion_models": [tmp_path]}, known=known)
    assert (found.kind.kind, found.kind.details[-1]) == ("i2v_a14b", "in 2 files")
    (tmp_path / "m-00002-of-00002.safetensors").unlink()
    (found,) = describe_files(find_files({"diffusion_models": [tmp_path]}, known=known)).findings
    assert found.level == "warning"
    assert "1 of the 2 files" in found.sentence()


def test_folders_with_links_in_a_circle_and_folders_named_like_files_come_to_an_end(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "b.safetensors").mkdir()
    write_safetensors(tmp_path / "a" / "c.safetensors", {"x": (2, 2)})
    (tmp_path / "d.safetensors").symlink_to(tmp_path / "gone")
    (tmp_path / "page.html").write_text("<html>")
    found = find_files({"loras": [tmp_path], "unheard of": [tmp_path]})
    assert [file.name for file in found] == [
        "a/c.safetensors", "b.safetensors", "d.safetensors", "page.html",
    ]  # fmt: skip
    assert [bool(file.kind.problem) for file in found] == [False, True, True, True]


def test_what_is_known_of_a_file_is_used_until_it_changes(tmp_path):
    path, known, told = tmp_path / "a.safetensors", {}, []
    write_safetensors(path, {"x": (2, 2)})
    find_files({"vae": [tmp_path]}, known=known, tell=lambda *step: told.append(step))
    assert (len(known), told) == (1, [(0, 1), (1, 1)])
    size, date, kind = known[str(path)]
    known[str(path)] = (size, date, replace(kind, kind="hpsv3"))
    assert find_files({"vae": [tmp_path]}, known=known)[0].kind.kind == "hpsv3"
    write_safetensors(path, {"x": (2, 3)})
    assert find_files({"vae": [tmp_path]}, known=known)[0].kind.kind == "unknown"
    assert len(known) == 1  # nothing is kept of what the file was
