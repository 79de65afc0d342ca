"""Two independent Wan implementations, the host's and diffusers', make the same shot.

Same tiny weights (the host's layout, brought over by diffusers' own key map), same bank, seed and
sampler. The library in between is the same; models, VAE, sampler loop and LoRA are not.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from helpers import tiny_diffusers
from helpers.fakes import noise_image
from helpers.m2v_helpers import DEFAULTS, M2V, rel_l2

pytest.importorskip("diffusers")

from storymem.headless.adapters import add_lora, set_lora_strength
from storymem.headless.models import Placement, WanVae
from storymem.headless.positions import install_memory_positions
from storymem.headless.runner import RunSettings
from storymem.headless.sampling import (
    SCHEDULER_OF_SAMPLER,
    Recipe,
    ShotInputs,
    denoise,
    draw_noise,
    lay_out_condition,
)
from storymem.headless.shot_inputs import inputs_of, request_of
from storymem.sampling.conditioning import VAE_STRIDE, LatentCache, ShotEncoder, latent_frames
from storymem.sampling.continuity import ShotPlan
from storymem.sampling.lora import read_lora, target_modules
from storymem.script.story import Shot

WIDTH, HEIGHT, LENGTH, SEED = (DEFAULTS[key] for key in ("width", "height", "length", "seed"))
STEPS = 6  # two by the high-noise expert and four by the low; 6 does not divide 1000


@pytest.fixture(scope="module")
def m2v(host):
    return M2V(host)


class Diffusers:
    """The headless road on twins of the host's tiny weights."""

    def __init__(self, host, m2v):
        files = host.base / "models"
        unets = files / "diffusion_models"
        self.texts = (m2v.pos[0][0], m2v.neg[0][0])
        self.unets = {
            kind: [unets / f"tiny_{kind}_{expert}.safetensors" for expert in ("high", "low")]
            for kind in ("i2v", "t2v")
        }
        vae = tiny_diffusers.twin_of_host_vae(files / "vae" / "tiny_vae.safetensors")
        self.vae = WanVae(vae, Placement(torch.device("cpu"), torch.float32))

    @lru_cache  # noqa: B019  lives as long as the module's tests
    def experts(self, kind="i2v", rope_shift=5):
        experts = [tiny_diffusers.twin_of_host_dit(path) for path in self.unets[kind]]
        if kind == "i2v":
            for expert in experts:
                install_memory_positions(expert, rope_shift=rope_shift)
        return experts

    def sample(self, bank=None, given=None, experts=None, **recipe):
        memory = bank.used() if bank else ()
        encoder = ShotEncoder(self.vae.encode, LatentCache(), self.vae.module)
        conditioning = encoder.condition(memory, given, width=WIDTH, height=HEIGHT, length=LENGTH)
        inputs = ShotInputs(
            noise=self.noise(len(memory)),
            positive=self.texts[0],
            negative=self.texts[1],
            condition=lay_out_condition(conditioning, self.vae.normalise),
            memory_frames=len(memory),
        )
        recipe = {"steps": STEPS, "sampler": "euler", **recipe}
        settings = Recipe(**{"scheduler": SCHEDULER_OF_SAMPLER[recipe["sampler"]], **recipe})
        return denoise(experts or self.experts(rope_shift=settings.rope_shift), inputs, settings)

    files = SimpleNamespace(t2v=None)  # as an engine of the runner

    def encoder(self):
        return ShotEncoder(self.vae.encode, LatentCache(), self.vae.module)

    def text(self, text):
        return {"a cat": self.texts[0], None: self.texts[1], "who": self.texts[1], "":
                self.texts[0]}[text]  # fmt: skip

    def noise(self, memory_frames):
        frames = latent_frames(LENGTH)
        return draw_noise(SEED, memory_frames, frames, HEIGHT // VAE_STRIDE, WIDTH // VAE_STRIDE)


@pytest.fixture(scope="module")
def diffusers(host, m2v):
    return Diffusers(host, m2v)


def in_nodes(latent: torch.Tensor, diffusers: Diffusers) -> torch.Tensor:
    """The headless latents as a LATENT of the host carries them: not normalised."""
    return diffusers.vae.denormalise(latent)


CASES = {
    "no memory": {},
    "one memory frame": {"memory": 1},
    "ten memory frames": {"memory": 10},
    "MI2V": {"memory": 3, "given": 1},
    "MM2V": {"memory": 3, "given": 5},
    "MM2V without memory": {"given": 5},
    "S = 1": {"memory": 3, "rope_shift": 1},
    "S = 0": {"memory": 3, "rope_shift": 0},
    "two guidances": {"memory": 2, "cfg_low": 1.5},
    "no guidance": {"memory": 2, "cfg": 1.0},
    "another shift and boundary": {"memory": 2, "shift": 8.0, "boundary": 0.95},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_shots_latents_agree(m2v, diffusers, case, record_property):
    case = dict(case)
    bank = m2v.bank(case.pop("memory", 0))
    given = case.pop("given", 0)
    previous = m2v.images(given) if given else None
    continuity = {0: "cut", 1: "last_frame", 5: "last_five_frames"}[given]
    nodes = m2v.sample(
        bank=bank, previous_frames=previous, continuity=continuity, steps=STEPS, **case
    )
    headless = in_nodes(diffusers.sample(bank, previous, **case), diffusers)
    record_property("rel_l2", rel_l2(headless, nodes))
    assert rel_l2(headless, nodes) < 1e-4


def pools(frame) -> list:
    """Eight remembered frames for each expert, of which two are for both."""
    return [
        frame(
            noise_image(i, 48, 64), story="tale", shot=i // 8, frame=i % 8, moment=13 * i,
            pool="" if i < 2 else "high" if i < 8 else "low",
        )
        for i in range(14)
    ]  # fmt: skip


MEMENTO_CASES = {
    "an identity frame alone": {"memory": 0, "reconstruct": "who"},
    "a memory for each expert": {"memory": 14},
    "a shot that continues": {"memory": 5, "given": 1},
    "an identity frame and a cfg for cuts": {
        "memory": 14, "reconstruct": "who", "cfg_cut": 5.0, "cfg_low": 2.0,
    },
}  # fmt: skip


@pytest.mark.parametrize("case", MEMENTO_CASES.values(), ids=MEMENTO_CASES)
def test_mementos_latents_agree(m2v, diffusers, case, record_property):
    case = dict(case)
    count, given = case.pop("memory"), case.pop("given", 0)
    reconstruct = case.pop("reconstruct", "")
    previous = m2v.images(given) if given else None
    mode, continuity = {0: ("m2v", "cut"), 1: ("mi2v", "last_frame")}[given]

    def bank(module):
        frames = pools(module("storymem.memory.frame").MemoryFrame)[:count]
        return module("storymem.memory.bank").MemoryBank(tuple(frames), max_frames=14)

    shot = replace(m2v.shot(index=3, mode=mode, cut=not given), begin=175)
    texts = {"identity_positive": m2v.neg, "identity_negative": m2v.pos} if reconstruct else {}
    how = {"shot": shot, "previous_frames": previous, "continuity": continuity, "steps": STEPS}
    nodes = m2v.sample_with_identity(
        bank=bank(m2v.host.pack), method="memento", **how, **texts, **case
    )
    plan = ShotPlan(
        Shot(3, 1, 4, "a cat", not given), story="tale", prompt="a cat", mode=mode, begin=175
    )
    settings = RunSettings(Path("out"), width=WIDTH, height=HEIGHT, length=LENGTH, seed=SEED)
    request = request_of(
        settings, plan, bank(import_module), "memento", previous=previous, start=None
    )
    _, inputs = inputs_of(diffusers, plan, request, "memento", "a cat", reconstruct)
    recipe = Recipe(steps=STEPS, sampler="euler", scheduler="simple", **case)
    recipe, portraits = recipe.for_beginning(is_cut=request.is_cut), []
    latent = denoise(diffusers.experts(), inputs, recipe, on_identity=portraits.append)
    headless = in_nodes(latent, diffusers)
    record_property("rel_l2", rel_l2(headless, nodes[0]["samples"]))
    assert rel_l2(headless, nodes[0]["samples"]) < 1e-4
    assert len(portraits) == bool(reconstruct)
    for portrait in portraits:
        assert rel_l2(in_nodes(portrait, diffusers), nodes[1]["samples"]) < 1e-4


def test_the_first_shot_from_text_agrees(m2v, diffusers):
    nodes = m2v.sample(t2v_high=m2v.t2v_high, t2v_low=m2v.t2v_low, steps=STEPS)
    inputs = ShotInputs(diffusers.noise(0), *diffusers.texts, None, 0)
    recipe = Recipe(steps=STEPS, sampler="euler", scheduler="simple").for_text()
    latent = denoise(diffusers.experts("t2v"), inputs, recipe)
    assert rel_l2(in_nodes(latent, diffusers), nodes) < 1e-4


@pytest.mark.parametrize(
    "wrong",
    [{"rope_shift": 1}, {"shift": 5.0}, {"boundary": 0.5}, {"cfg": 3.4}],
    ids=str,
)
def test_a_setting_that_is_a_little_off_is_seen(m2v, diffusers, wrong):
    nodes = m2v.sample(bank=m2v.bank(3), steps=STEPS)
    headless = in_nodes(diffusers.sample(m2v.bank(3), **wrong), diffusers)
    assert rel_l2(headless, nodes) > 1e-3


def test_the_lora_is_equally_strong_on_both_roads(m2v, diffusers, host, tmp_path):
    """The same PEFT file through the host's patches and through peft, at strength 0.7."""
    from safetensors.torch import save_file

    generator, state = torch.Generator().manual_seed(3), {}
    dim, rank, blocks = 256, 4, 3
    for module in target_modules(blocks):
        for part, shape in (("A", (rank, dim)), ("B", (dim, rank))):
            value = torch.randn(shape, generator=generator) / shape[1] ** 0.5
            state[f"base_model.model.{module}.lora_{part}.weight"] = 0.05 * value
    folder = host.base / "models" / "loras"
    folder.mkdir(exist_ok=True)
    save_file(state, str(folder / "tiny_agreement.safetensors"))
    node = m2v.node("sampling.lora", "LoadLoRA")
    high, low, _ = node.execute(
        m2v.high, "tiny_agreement.safetensors", "tiny_agreement.safetensors", 0.7, model_low=m2v.low
    ).result
    nodes = m2v.sample(model_high=high, model_low=low, bank=m2v.bank(2), steps=STEPS)
    experts = diffusers.experts.__wrapped__(diffusers)
    for expert in experts:
        add_lora(expert, read_lora(state))
        set_lora_strength(expert, 0.7)
    headless = in_nodes(diffusers.sample(m2v.bank(2), experts=experts), diffusers)
    assert rel_l2(headless, nodes) < 1e-4
    assert rel_l2(in_nodes(diffusers.sample(m2v.bank(2)), diffusers), nodes) > 1e-3


def test_uni_pc_of_both_roads_differs_by_its_variant_only(m2v, diffusers, record_property):
    """The host's uni_pc and diffusers' UniPC are two readings of the paper: how far apart they are.

    Neither is the released one (storymem_unipc). Not an equality: other orders at the ends, and
    diffusers hands the model whole timesteps. It is a measure that both converge to the same shot:
    their distance falls with the number of steps.
    """
    bank = m2v.bank(2)
    apart = {}
    for steps in (5, 20):
        nodes = m2v.sample(bank=bank, steps=steps, sampler_name="uni_pc")
        headless = diffusers.sample(bank, steps=steps, sampler="uni_pc")
        apart[steps] = rel_l2(in_nodes(headless, diffusers), nodes)
    record_property("uni_pc, host against diffusers, rel_l2 by steps", str(apart))
    assert apart[20] < 0.7 * apart[5]
