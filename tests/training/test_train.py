"""Training on tiny random weights: data, objective, checkpoints, resume, a run that learns."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("peft")
pytest.importorskip("accelerate")

from safetensors.torch import load_file

from helpers import tiny_diffusers
from storymem import __main__ as program
from storymem.files.video import write_video
from storymem.headless.adapters import add_lora, read_lora_file, to_diffusers_name
from storymem.headless.models import Placement, WanVae
from storymem.headless.positions import install_memory_positions, set_memory_frames
from storymem.sampling.lora import TARGETS, read_lora, target_modules
from storymem.training import checkpoints
from storymem.training.data import Clip, Examples, ExampleSettings, find_groups, read_stretch
from storymem.training.objective import NoiseLevels, TrainingInputs, flow_loss
from storymem.training.trainer import Trainer, TrainSettings

pytestmark = pytest.mark.slow
CPU = Placement(torch.device("cpu"), torch.float32)
SMALL = ExampleSettings(width=32, height=32, length=5, max_memory=3, seed=4)


def write_clip(path: Path, level: int, frames: int = 20, fps: float = 16) -> Path:
    """A clip whose frames are even; red is the clip, green is the frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = []
    for i in range(frames):
        picture = torch.zeros(64, 48, 3, dtype=torch.uint8)
        picture[..., 0], picture[..., 1] = level, 40 + 8 * i
        pictures.append(picture.numpy())
    write_video(path, pictures, fps=fps, crf=1)
    path.with_suffix(".txt").write_text(f"a red dog {path.stem}\n")
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for group, levels in (("dog", (50, 100, 150)), ("man", (200, 240))):
        for level in levels:
            write_clip(root / group / f"{level}.mp4", level)
    return root


# --- data -------------------------------------------------------------------------------------


def clip_of(picture: torch.Tensor, levels=(50, 100, 150, 200, 240)) -> int:
    """Which clip an even picture is from, by its red."""
    red = float(picture[..., 0].mean()) * 255
    return min(levels, key=lambda level: abs(level - red))


def test_memory_comes_from_other_clips_of_the_same_group(data):
    groups = find_groups(data)
    assert [[clip.caption for clip in group] for group in groups] == [
        ["a red dog 100", "a red dog 150", "a red dog 50"],
        ["a red dog 200", "a red dog 240"],
    ]
    examples = Examples(groups, SMALL, 60)
    counts, modes = set(), set()
    for i in range(60):
        example = examples[i]
        own = clip_of(example.shot[0])
        family = {50, 100, 150} if own in (50, 100, 150) else {200, 240}
        memory = {clip_of(picture) for picture in example.memory}
        assert memory <= family - {own}
        assert example.shot.shape == (5, 32, 32, 3)
        assert example.memory.shape[1:] == (32, 32, 3)
        counts.add(len(example.memory))
        modes.add(example.mode)
        given = example.given
        assert (0 if given is None else len(given)) == {"m2v": 0, "mi2v": 1, "mm2v": 5}[
            example.mode
        ]
    assert counts == {1, 2, 3}
    assert modes == {"m2v", "mi2v", "mm2v"}


def test_an_example_depends_on_the_seed_and_its_number_alone(data):
    groups = find_groups(data)
    one, two = Examples(groups, SMALL, 10), Examples(groups, SMALL, 99)
    assert torch.equal(one[7].shot, two[7].shot)
    assert torch.equal(one[7].memory, two[7].memory)
    other = Examples(groups, replace(SMALL, seed=5), 10)
    assert any(
        one[i].shot.shape != other[i].shot.shape or not torch.equal(one[i].shot, other[i].shot)
        for i in range(5)
    )


@pytest.mark.parametrize(("fps", "step"), [(16, 1), (32, 2)])
def test_shots_are_read_at_16_frames_a_second(tmp_path, fps, step):
    clip = write_clip(tmp_path / "clip.mp4", 100, frames=24, fps=fps)
    shot = read_stretch(clip, 5, 0.0, (32, 32))
    green = [float(frame[..., 1].mean()) * 255 for frame in shot]
    assert green == pytest.approx([40 + 8 * step * i for i in range(5)], abs=3)


def test_clips_that_are_too_short_are_passed_over_and_none_left_is_an_error(tmp_path):
    for name, frames in (("a", 3), ("b", 20)):
        write_clip(tmp_path / "g" / f"{name}.mp4", 100, frames)
    examples = Examples(find_groups(tmp_path), SMALL, 8)
    assert all(examples[i].shot.shape[0] == 5 for i in range(8))
    too_long = Examples(find_groups(tmp_path), replace(SMALL, length=81), 1)
    with pytest.raises(ValueError, match="too short"):
        too_long[0]


def test_data_folders_that_do_not_fit_are_explained(tmp_path, caplog):
    with pytest.raises(ValueError, match="no data folder"):
        find_groups(tmp_path / "none")
    with pytest.raises(ValueError, match="holds no groups"):
        find_groups(tmp_path)
    clip = write_clip(tmp_path / "g" / "a.mp4", 100)
    with pytest.raises(ValueError, match="holds no groups"):
        find_groups(tmp_path)
    assert "needs two" in caplog.text
    clip.with_suffix(".txt").unlink()
    with pytest.raises(ValueError, match="has no caption"):
        find_groups(tmp_path)


# --- objective --------------------------------------------------------------------------------


def inputs(memory=2, frames=3, seed=0) -> TrainingInputs:
    generator = torch.Generator().manual_seed(seed)
    return TrainingInputs(
        latents=torch.randn(1, 16, memory + frames, 4, 4, generator=generator),
        condition=torch.randn(1, 20, memory + frames, 4, 4, generator=generator),
        text=torch.randn(1, 6, 64, generator=generator),
        memory_frames=memory,
    )


def test_the_loss_is_the_velocitys_error_on_the_shots_frames_by_hand():
    model = tiny_diffusers.tiny_transformer(1)
    install_memory_positions(model)
    given, sigma = inputs(), torch.tensor(0.7)
    noise = torch.randn(given.latents.shape, generator=torch.Generator().manual_seed(9))
    loss = flow_loss(model, given, noise, sigma)
    noisy = 0.3 * given.latents + 0.7 * noise
    with torch.no_grad():
        velocity = model(
            torch.cat([noisy, given.condition], 1),
            torch.tensor([700.0]),
            given.text,
            return_dict=False,
        )[0]
    error = velocity - (noise - given.latents)
    by_hand = sum(float((error[0, :, f] ** 2).mean()) for f in (2, 3, 4)) / 3
    assert float(loss.detach()) == pytest.approx(by_hand, rel=1e-5)
    with_memory = float((error**2).mean())
    assert abs(with_memory - by_hand) / by_hand > 1e-4  # the mutant that counts memory is seen


def test_what_is_wrong_in_the_memory_frames_does_not_count():
    class Perfect(torch.nn.Module):
        """Right on the shot, far off on the memory."""

        dtype = torch.float32

        def __init__(self, target, memory):
            super().__init__()
            self.rope = type("Rope", (), {})()
            self.answer = target.clone()
            self.answer[:, :, :memory] += 100

        def forward(self, **_):
            return (self.answer,)

    given = inputs(memory=0)
    noise = torch.randn(given.latents.shape, generator=torch.Generator().manual_seed(9))
    memory = 2
    model = Perfect(noise - given.latents, memory)
    model.rope = install_memory_positions(tiny_diffusers.tiny_transformer(1, layers=1))
    loss = flow_loss(model, replace(given, memory_frames=memory), noise, torch.tensor(0.5))
    assert float(loss) == 0


@pytest.mark.parametrize(("expert", "low", "high"), [("high", 0.9, 1.0), ("low", 0.0, 0.9)])
def test_each_expert_sees_its_own_noise_levels_with_the_shifted_density(expert, low, high):
    generator = torch.Generator().manual_seed(0)
    sigmas = torch.stack([NoiseLevels(expert).draw(generator) for _ in range(4000)])
    assert low <= float(sigmas.min())
    assert float(sigmas.max()) <= high
    times = sigmas / (4 - 3 * sigmas)  # uniform again when the shift is taken off
    edge = 0.9 / (4 - 3 * 0.9)
    first, last = (edge, 1.0) if expert == "high" else (0.0, edge)
    share = (times - first) / (last - first)
    counts = torch.histc(share, 10, 0, 1) / len(share)
    assert float((counts - 0.1).abs().max()) < 0.02


# --- training ---------------------------------------------------------------------------------


def make_trainer(data: Path, out: Path, **changes) -> Trainer:
    settings = {
        "steps": 4,
        "learning_rate": 2e-3,
        "warmup": 0,
        "rank": 4,
        "save_every": 2,
        "gradient_checkpointing": False,
        "examples": SMALL,
        **changes,
    }
    groups = find_groups(data)
    generator = torch.Generator().manual_seed(0)
    captions = sorted({clip.caption for group in groups for clip in group} | {""})
    texts = {caption: torch.randn(1, 6, 64, generator=generator) for caption in captions}
    vae = WanVae(tiny_diffusers.tiny_vae(5), CPU)
    return Trainer(
        tiny_diffusers.tiny_transformer(1), vae, texts, groups, TrainSettings(out=out, **settings)
    )


def weights(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {n: p.detach().clone() for n, p in checkpoints.trainable(trainer.transformer)}


@pytest.mark.parametrize("changes", [{}, {"accumulate": 2}, {"all_weights": True}], ids=str)
def test_a_resumed_training_is_the_undisturbed_one_to_the_bit(data, tmp_path, changes):
    whole = make_trainer(data, tmp_path / "whole", **changes)
    losses = whole.train()
    make_trainer(data, tmp_path / "cut", **{**changes, "steps": 2}).train()
    rest = make_trainer(data, tmp_path / "cut", resume=True, **changes)
    assert rest.train() == losses[2:]
    expected, found = weights(whole), weights(rest)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    names = [folder.name for _, folder in checkpoints.list_checkpoints(tmp_path / "cut")]
    assert names == ["checkpoint-000002", "checkpoint-000004"]


def test_resuming_with_other_settings_is_refused(data, tmp_path):
    make_trainer(data, tmp_path, steps=2).train()
    with pytest.raises(ValueError, match="rank was 4, now 8"):
        make_trainer(data, tmp_path, resume=True, rank=8).train()


def test_gradient_checkpointing_changes_no_loss(data, tmp_path):
    plain = make_trainer(data, tmp_path / "a", steps=2).train()
    saving = make_trainer(data, tmp_path / "b", steps=2, gradient_checkpointing=True).train()
    assert saving == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "scale", "has_alpha"),
    [
        ({}, 128 / math.sqrt(4), True),
        ({"alpha": 4.0}, math.sqrt(4), True),  # readers of earlier versions take 128
        ({"rank": 128}, math.sqrt(128), False),  # as released
        ({"alpha": 8.0}, 8 / math.sqrt(4), True),
        ({"alpha": 8.0, "use_rslora": False}, 8 / 4, True),
        ({"targets": ("self_attn.q", "ffn.0")}, 128 / math.sqrt(4), True),
    ],
    ids=str,
)
def test_a_checkpoint_is_read_with_the_weights_it_was_trained_to(
    data, tmp_path, changes, scale, has_alpha
):
    """By storymem.sampling.lora, which Load LoRA uses, and by peft: the effective change of every
    weight."""
    trainer = make_trainer(data, tmp_path, steps=2, **changes)
    trainer.train()
    path = tmp_path / "checkpoint-000002" / "backbone_high_noise.safetensors"
    state = load_file(str(path))
    assert all(key.startswith("base_model.model.blocks.") for key in state)
    assert any(key.endswith(".alpha") for key in state) == has_alpha
    modules = read_lora(state)
    assert set(modules) == set(target_modules(2))
    trained = changes.get("targets", TARGETS)
    plain = tiny_diffusers.tiny_transformer(1)
    adapted = tiny_diffusers.tiny_transformer(1)
    add_lora(adapted, read_lora_file(path))
    for name, pair in modules.items():
        layer = trainer.transformer.get_submodule(to_diffusers_name(name))
        change = pair.scale() * (pair.up @ pair.down)
        if name.split(".", 2)[2] in trained:
            expected = layer.get_delta_weight("storymem").detach()
            assert pair.scale() == pytest.approx(scale)
            assert float(expected.norm()) > 0
        else:
            expected = torch.zeros_like(change)
        assert torch.allclose(change, expected, rtol=1e-5, atol=1e-8)
        theirs = adapted.get_submodule(to_diffusers_name(name)).get_delta_weight("storymem")
        assert torch.allclose(theirs, expected, rtol=1e-5, atol=1e-8)
        base = plain.get_submodule(to_diffusers_name(name)).weight
        base.data += expected
    sample = torch.randn(1, 36, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    set_memory_frames(trainer.transformer, 0)
    call = {"timestep": torch.tensor([500.0]), "encoder_hidden_states": torch.ones(1, 6, 64)}
    with torch.no_grad():
        merged, by_peft, trained_out = (
            model(sample, **call, return_dict=False)[0]
            for model in (plain, adapted, trainer.transformer.eval())
        )
    assert torch.allclose(merged, trained_out, rtol=1e-4, atol=1e-5)
    assert torch.allclose(by_peft, trained_out, rtol=1e-4, atol=1e-5)


def test_training_lowers_the_loss_on_what_it_sees(data, tmp_path):
    """One example, one noise: a LoRA that learns at all fits it."""
    trainer = make_trainer(data, tmp_path, steps=40, save_every=100, learning_rate=5e-3)
    example = Examples(trainer.groups, SMALL, 1)[0]
    trainer._examples = lambda step: ((0, example) for _ in range(40))
    losses = trainer.train()
    assert losses[-1] < 0.5 * losses[0]


def test_memory_reaches_the_loss(data, tmp_path):
    trainer = make_trainer(data, tmp_path)
    example = Examples(trainer.groups, replace(SMALL, modes=(1, 0, 0)), 1)[0]
    with torch.no_grad():
        loss = float(trainer.loss(example, 0))
        other = float(trainer.loss(replace(example, memory=1 - example.memory), 0))
    assert abs(loss - other) / loss > 1e-5  # float32 noise is 1e-7


# --- command ----------------------------------------------------------------------------------


def command(data: Path, model: Path, out: Path, *more: str) -> int:
    sizes = "--width 32 --height 32 --length 5 --rank 4 --steps 2 --workers 0 --device cpu --quiet"
    arguments = ["train", data, "--model", model, "--out", out, *sizes.split(), *more]
    return program.main([str(argument) for argument in arguments])


def test_the_command_trains_each_expert_and_goes_on(data, i2v, tmp_path):
    for expert in ("high", "low"):
        assert command(data, i2v, tmp_path / expert, "--expert", expert) == 0
        path = tmp_path / expert / "checkpoint-000002" / f"backbone_{expert}_noise.safetensors"
        assert len(read_lora_file(path)) == 20
    assert command(data, i2v, tmp_path / "high") == 2  # there is something already
    assert command(data, i2v, tmp_path / "high", "--resume", "--steps", "3") == 0
    assert (tmp_path / "high" / "checkpoint-000003").is_dir()


def test_all_weights_are_kept_as_a_diffusers_folder(data, i2v, tmp_path):
    from diffusers import WanTransformer3DModel

    assert command(data, i2v, tmp_path, "--all-weights", "--learning-rate", "1e-4") == 0
    model = WanTransformer3DModel.from_pretrained(
        tmp_path / "checkpoint-000002", subfolder="transformer"
    )
    before = WanTransformer3DModel.from_pretrained(i2v, subfolder="transformer")
    key = "blocks.0.attn1.to_q.weight"
    assert not torch.equal(model.state_dict()[key], before.state_dict()[key])


def test_what_is_wrong_is_told_before_anything_is_loaded(data, i2v, tmp_path, caplog):
    wrong = {
        "no data folder": lambda: command(tmp_path / "none", i2v, tmp_path / "o"),
        "no model_index.json": lambda: command(data, tmp_path, tmp_path / "o"),
        "target modules must be": lambda: command(data, i2v, tmp_path / "o", "--targets", "norm"),
        "rank must be 1 or more": lambda: command(data, i2v, tmp_path / "o", "--rank", "0"),
        "no checkpoint": lambda: command(data, i2v, tmp_path / "o", "--resume"),
        "length must be 4n+1": lambda: command(data, i2v, tmp_path / "o", "--length", "6"),
        "modes must be three shares": lambda: command(
            data, i2v, tmp_path / "o", "--modes", "0", "0", "0"
        ),
    }
    for words, call in wrong.items():
        caplog.clear()
        assert call() == 2, words
        assert words in caplog.text


def test_the_settings_travel_in_the_file(data, tmp_path):
    from safetensors import safe_open

    make_trainer(data, tmp_path, steps=2).train()
    path = tmp_path / "checkpoint-000002" / "backbone_high_noise.safetensors"
    with safe_open(str(path), "pt") as file:
        settings = json.loads(file.metadata()["storymem"])
    assert (settings["rank"], settings["step"]) == (4, 2)
    assert isinstance(Clip(path, ""), Clip)
