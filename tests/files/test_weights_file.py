"""Weights files are numbers: nothing in them runs, and what is wrong with one is said in words."""

from __future__ import annotations

import logging
import math
import shutil
import tracemalloc
import warnings
import zipfile
from collections import Counter

import pytest
import torch
from safetensors.torch import save_file

from helpers.clip_files import Scripted, tiny_clip
from helpers.film_files import write_story
from helpers.hostile_weights import CLAIMS_TOO_MUCH, RUNS_CODE, Writes, damaged, write_archive
from storymem.__main__ import main
from storymem.files.weights_file import WeightsError, read_header, read_outline, read_state_dict
from storymem.headless.adapters import add_extra_lora, check_lora_file, read_lora_file
from storymem.headless.models import I2V_CHANNELS, check_folder
from storymem.models.clip_text import load_clip_text
from storymem.models.clip_vision import load_clip
from storymem.models.hpsv3 import check_hpsv3, load_hpsv3
from storymem.models.laion import load_head
from storymem.models.viclip import load_viclip
from storymem.sampling.lora import read_lora
from storymem.tiny.dit import load_host_file as load_tiny_dit
from storymem.training.checkpoints import STATE_FILE, read_state


def read_training_state(path):
    return read_state(path.rename(path.with_name(STATE_FILE)).parent)


def read_text_tower(path):
    return load_clip_text(path, None)


READERS = {
    "CLIP": load_clip,
    "CLIP's text tower": read_text_tower,
    "LAION": load_head,
    "ViCLIP": load_viclip,
    "HPSv3": load_hpsv3,
    "HPSv3, looked at": check_hpsv3,
    "LoRA": read_lora_file,
    "another LoRA": lambda path: add_extra_lora(torch.nn.Linear(2, 2), path),
    "the tiny model": load_tiny_dit,
    "a training's state": read_training_state,
}


def test_the_archive_does_write_when_torchscript_reads_it(tmp_path):
    """Else the tests below would prove nothing."""
    target = tmp_path / "target"
    path = write_archive(tmp_path / "clip.pt", target)
    assert not target.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)  # since torch 2.15
        torch.jit.load(str(path))
    assert target.read_bytes() == torch.full((4,), 7.0).numpy().tobytes()


@pytest.mark.parametrize("kind", RUNS_CODE)
@pytest.mark.parametrize("reader", READERS)
def test_no_reader_runs_what_a_file_contains(tmp_path, reader, kind):
    target = tmp_path / "target.npy"
    folder = tmp_path / "state"
    folder.mkdir()
    path = RUNS_CODE[kind](folder / "weights.pt", target)
    with pytest.raises(ValueError, match=r"weights\.pt|training_state\.pt") as refused:
        READERS[reader](path)
    assert not target.exists()
    assert "weights_only" not in str(refused.value)  # torch's advice to run it after all
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("suffix", [".pth", ".bin", ".ckpt"])
def test_the_ending_of_a_file_opens_no_other_way(tmp_path, suffix):
    target = tmp_path / "target"
    path = write_archive(tmp_path / f"lora{suffix}", target, model=Writes)
    with pytest.raises(WeightsError, match="code of its own"):
        read_state_dict(path)
    assert not target.exists()


@pytest.mark.parametrize("runs_archives", [True, False])
def test_an_archive_that_only_one_reader_of_zip_files_sees_is_not_run(
    tmp_path, monkeypatch, runs_archives
):
    target = tmp_path / "target"
    path = write_archive(tmp_path / "clip.pt", target, model=Writes)
    hidden = path.read_bytes()
    cover = tmp_path / "cover.zip"
    with zipfile.ZipFile(cover, "w") as archive:
        archive.writestr("a", b"b")
    path.write_bytes(hidden + cover.read_bytes())  # the last list of files counts, or the first

    def never(*_, **__):
        raise AssertionError("this torch.load would run the archive, whatever it is told")

    monkeypatch.setattr("storymem.files.weights_file.TORCH_RUNS_ARCHIVES", runs_archives)
    if runs_archives:
        monkeypatch.setattr(torch, "load", never)
    with pytest.raises(WeightsError):
        read_state_dict(path)
    assert not target.exists()


@pytest.mark.parametrize("kind", CLAIMS_TOO_MUCH)
def test_a_small_file_that_claims_to_hold_anything_is_refused_at_once(tmp_path, kind):
    path = CLAIMS_TOO_MUCH[kind](tmp_path / "weights.pt")
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"weights\.pt"):
        read_state_dict(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**26


def test_an_archive_gives_the_tensors_that_torchscript_gives(tmp_path):
    """OpenAI's layout, with shared, half-precision and empty tensors, and numbers that are not."""
    model = Scripted(tiny_clip())
    model.register_buffer("nothing", torch.empty(0, 3))
    model.register_buffer("flags", torch.tensor([True, False]))
    model.again = model.visual  # the same part by two names
    model.thin = torch.nn.Parameter(torch.randn(3, 2).half().T)  # not contiguous
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive = torch.jit.trace(model, torch.zeros(1, 3, 64, 64), check_trace=False)
        archive.save(str(tmp_path / "clip.pt"))
        expected = torch.jit.load(str(tmp_path / "clip.pt")).state_dict()
    found = read_state_dict(tmp_path / "clip.pt")
    assert set(found) >= set(expected)
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    assert all(found[key].dtype == value.dtype for key, value in expected.items())
    outline = read_outline(tmp_path / "clip.pt")
    assert {k: (v.shape, v.dtype) for k, v in outline.items()} == {
        k: (v.shape, v.dtype) for k, v in found.items()
    }
    assert all(value.is_meta for value in outline.values())


WHOLE = {"blocks.0.self_attn.q.lora_A.weight": torch.ones(4, 8), "alpha": torch.tensor(4.0)}


@pytest.mark.parametrize("read", [read_state_dict, read_outline])
@pytest.mark.parametrize("kind", damaged(b"\x10" + bytes(7) + b"{" + b" " * 15 + bytes(64)))
def test_a_damaged_safetensors_file_says_what_is_wrong(tmp_path, kind, read):
    save_file(WHOLE, tmp_path / "whole.safetensors")
    content, word = damaged((tmp_path / "whole.safetensors").read_bytes())[kind]
    (tmp_path / "bad.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=rf"bad\.safetensors cannot be read.*{word}"):
        read(tmp_path / "bad.safetensors")


def test_a_file_under_the_ending_of_another_kind_is_told(tmp_path):
    torch.save(WHOLE, tmp_path / "a.safetensors")
    with pytest.raises(ValueError, match=r"rename it to end in \.pt"):
        read_state_dict(tmp_path / "a.safetensors")
    save_file(WHOLE, tmp_path / "b.safetensors")
    (tmp_path / "b.safetensors").rename(tmp_path / "b.pt")
    with pytest.raises(ValueError, match=r"is a \.safetensors file by another name"):
        read_state_dict(tmp_path / "b.pt")


def test_an_outline_has_single_numbers_and_reads_nothing_else(tmp_path):
    save_file(WHOLE, tmp_path / "lora.safetensors")
    outline = read_outline(tmp_path / "lora.safetensors")
    assert float(outline["alpha"]) == 4.0
    assert outline["blocks.0.self_attn.q.lora_A.weight"].is_meta
    assert list(outline["blocks.0.self_attn.q.lora_A.weight"].shape) == [4, 8]


# --- LoRAs whose numbers cannot be meant --------------------------------------------------------


def lora(**changes):
    state = {
        "blocks.0.self_attn.q.lora_down.weight": torch.ones(4, 8),
        "blocks.0.self_attn.q.lora_up.weight": torch.ones(8, 4),
        "blocks.0.self_attn.q.alpha": torch.tensor(4.0),
    }
    for name, change in changes.items():
        key = next(key for key in state if f".{name}" in key)
        state[key] = change(state[key])
    return state


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lora_down": torch.Tensor.int}, "int32 numbers"),
        ({"lora_up": torch.Tensor.char}, "int8 numbers"),
        ({"lora_up": torch.Tensor.bool}, "true and false"),
        ({"lora_down": lambda t: t.to(torch.complex64)}, "complex numbers"),
        ({"lora_down": lambda t: t * 1e30}, "beyond 1e"),
        ({"alpha": lambda t: t * 0}, "alpha is 0"),
        ({"alpha": lambda t: -t}, "alpha is -4"),
        ({"alpha": lambda t: t * 0 + 3e38}, r"alpha is 3e\+38"),
        ({"alpha": lambda t: t * torch.nan}, "NaN"),
        ({"alpha": torch.Tensor.bool}, "not a number"),
        ({"alpha": lambda t: t.expand(2)}, "should be one number"),
    ],
)
@pytest.mark.parametrize("road", ["node", "headless"])
def test_a_lora_of_numbers_that_cannot_be_meant_is_refused(tmp_path, road, change, words):
    path = tmp_path / "odd.safetensors"
    save_file({k: v.contiguous() for k, v in lora(**change).items()}, path)
    with pytest.raises(ValueError, match=rf"odd\.safetensors.*{words}"):
        ROADS[road](path)


EIGHT_BITS = [getattr(torch, kind) for kind in ("float8_e4m3fn", "float8_e5m2")]


@pytest.mark.parametrize("kind", EIGHT_BITS, ids=str)
def test_weights_and_alphas_of_eight_bits_are_read_or_told(tmp_path, kind):
    path, odd = tmp_path / "a.safetensors", tmp_path / "odd.safetensors"
    save_file({key: tensor.to(kind) for key, tensor in lora().items()}, path)
    save_file(lora(alpha=lambda t: (t * torch.nan).to(kind)), odd)
    for read in ROADS.values():
        (pair,) = read(path).values()
        assert (pair.alpha, pair.down.dtype) == (4.0, kind)
        with pytest.raises(ValueError, match="NaN or infinite"):
            read(odd)


@pytest.mark.parametrize("is_zip", [True, False])
def test_what_training_keeps_beside_its_tensors_is_read(tmp_path, is_zip):
    marked = torch.ones(3)
    marked.note = "of mine"
    state = {
        "a": marked,
        "b": torch.nn.Parameter(torch.ones(2)),
        "c": torch.ones(2, 2).half(),
        "milestones": Counter([3, 3]),
        "size": torch.Size([1, 2]),
        "type": torch.bfloat16,
        "device": torch.device("cpu"),
        "used": {1, 2},
        "step": 5,
    }
    torch.save(state, tmp_path / "a.pt", _use_new_zipfile_serialization=is_zip)
    assert sorted(read_state_dict(tmp_path / "a.pt")) == ["a", "b", "c"]


def test_an_alpha_that_is_no_tensor_counts(tmp_path):
    key, path = "blocks.0.self_attn.q.alpha", tmp_path / "a.pt"
    for alpha in (8.0, 8):
        torch.save({**lora(), key: alpha}, path)
        assert read_lora(read_state_dict(path))["blocks.0.self_attn.q"].alpha == 8.0
    for alpha in (math.nan, 10**400):
        torch.save({**lora(), key: alpha}, path)
        with pytest.raises(ValueError, match="NaN or infinite"):
            read_lora(read_state_dict(path))


@pytest.mark.parametrize("end", ["1e400", "Infinity", "-1", "1" + "0" * 4000, "4.5", "null", '"4"'])
def test_a_header_with_odd_places_is_damaged(tmp_path, end):
    entry = '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, ' + end + "]}}"
    (tmp_path / "a.safetensors").write_bytes(len(entry).to_bytes(8, "little") + entry.encode())
    with pytest.raises(ValueError, match="its header is damaged") as refused:
        read_header(tmp_path / "a.safetensors")
    assert len(str(refused.value)) < len(str(tmp_path)) + 200


@pytest.mark.parametrize("key", ["k" * 100_000, "a\nb.lora_A.weight", "k" * 100_000 + ".alpha"])
def test_names_of_weights_are_told_shortly(key):
    for state in ({key: torch.ones(2, 2)}, {**lora(), key: torch.ones(3, 3)}):
        with pytest.raises(ValueError, match="file") as refused:
            read_lora(state)
        assert len(str(refused.value)) < 700
        assert "\n" not in str(refused.value)


ROADS = {
    "node": lambda path: read_lora(read_state_dict(path), path.name),
    "headless": read_lora_file,
}
CONFIG = {"num_attention_heads": 1, "attention_head_dim": 8, "ffn_dim": 16, "num_layers": 1}


@pytest.mark.parametrize(
    "change",
    [{"lora_down": torch.Tensor.int}, {"alpha": lambda t: -t}, {"alpha": torch.Tensor.bool}],
)
def test_a_header_alone_tells_of_kinds_and_alphas(tmp_path, change):
    path = tmp_path / "odd.safetensors"
    save_file(lora(**change), path)
    with pytest.raises(ValueError, match=r"odd\.safetensors: blocks\.0\.self_attn\.q"):
        check_lora_file(path, CONFIG)


def test_a_whole_number_is_as_good_an_alpha(tmp_path):
    save_file(lora(alpha=torch.Tensor.long), tmp_path / "lora.safetensors")
    (module,) = read_lora_file(tmp_path / "lora.safetensors").values()
    assert module.alpha == 4.0


TINY = ["--tiny", "--quiet"]
SCORED = [*TINY, "--scorer", "laion", "--laion-clip", "{clip}"]
WAN = ["--model", "{i2v}", "--quiet", "--embedder", "no_weights", "--device", "cpu"]
HEADLESS = {
    "--clip": [*TINY, "--embedder", "clip", "--clip", "{evil}"],
    "--laion-clip": [
        *TINY,
        "--scorer",
        "laion",
        "--laion-clip",
        "{evil}",
        "--laion-head",
        "{clip}",
    ],
    "--laion-head": [*SCORED, "--laion-head", "{evil}"],
    "--hpsv3": [*TINY, "--scorer", "hpsv3", "--hpsv3", "{evil}"],
    "--lora-high": [*WAN, "--lora-high", "{evil}", "--lora-low", "{evil}"],
}


@pytest.mark.parametrize("kind", RUNS_CODE)
@pytest.mark.parametrize("option", HEADLESS)
def test_headless_runs_nothing_and_says_so_before_the_first_shot(
    tmp_path, caplog, i2v, option, kind
):
    target = tmp_path / "target.npy"
    evil = RUNS_CODE[kind](tmp_path / "evil.pt", target)
    clip = tmp_path / "clip.safetensors"
    save_file({k: v.clone() for k, v in tiny_clip().state_dict().items()}, clip)
    script = tmp_path / "story.txt"
    script.write_text("Bomo stands, meadow, still")
    more = [part.format(evil=evil, clip=clip, i2v=i2v) for part in HEADLESS[option]]
    with caplog.at_level(logging.ERROR):
        assert main(["run", str(script), "--out", str(tmp_path / "out"), *more]) == 2
    assert "evil.pt" in caplog.text
    assert not target.exists()
    assert not list((tmp_path / "out").glob("shot_*"))


@pytest.mark.parametrize("kind", RUNS_CODE)
def test_measuring_runs_nothing_either(tmp_path, caplog, kind):
    target = tmp_path / "target.npy"
    evil = RUNS_CODE[kind](tmp_path / "evil.pt", target)
    story = write_story(tmp_path / "tale", [(5, 40, 40)])
    with caplog.at_level(logging.ERROR):
        assert main(["evaluate", str(story), "--viclip", str(evil), "--out", str(tmp_path / "r")])
    assert "evil.pt" in caplog.text
    assert not target.exists()


def test_a_model_folder_without_safetensors_is_refused(tmp_path, i2v):
    folder = tmp_path / "model"
    shutil.copytree(i2v, folder)
    (weights,) = (folder / "vae").glob("*.safetensors")
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ValueError, match=r"vae holds no \.safetensors file; other formats may run"):
        check_folder(folder, I2V_CHANNELS)
