"""The wrapper that sets memory back onto its flow, around a model that tells what it is given."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

FIRST, MEMORY, FRAMES = 1, 2, 5  # an identity frame, memory, and all latent frames
SHAPE = (1, 16, FRAMES, 2, 2)


@pytest.fixture(scope="module")
def module(host):
    return host.pack("nodes.sampling.memory_flow")


@pytest.fixture
def flow(module):
    return module.MemoryFlow(FIRST, MEMORY)


class Model:
    """Gives sevens, and keeps what it was asked."""

    def __init__(self):
        self.out = torch.full(SHAPE, 7.0)

    def __call__(self, x, t, c_concat, *args, **kwargs):
        self.x, self.more = x, (args, kwargs)
        self.t, self.known = float(t.max()), float(c_concat.max())
        return self.out


def condition(clean: float) -> torch.Tensor:
    return torch.full((1, 20, *SHAPE[2:]), clean)


def frames(x: torch.Tensor) -> list[float]:
    """The value of each latent frame."""
    assert all(len(x[:, :, i].unique()) == 1 for i in range(FRAMES))
    return x[0, 0, :, 0, 0].tolist()


def at(sigma: float) -> torch.Tensor:
    return torch.tensor([sigma])


def test_memory_alone_is_set_to_its_noise_level_and_comes_out_clean(flow):
    model, x = Model(), torch.full(SHAPE, 3.0)
    flow.begin(torch.full(SHAPE, -4.0))
    out = flow(model, x, at(0.25), condition(4.0), "text", None, {}, more=1)
    assert frames(model.x) == [3, 2, 2, 3, 3]
    assert frames(out) == [7, 4, 4, 7, 7]
    assert model.more == (("text", None, {}), {"more": 1})
    assert (frames(x), frames(model.out)) == ([3] * FRAMES, [7] * FRAMES)  # both another's


def test_each_part_of_a_batch_holds_every_row_of_it(flow):
    """Two prompts evaluated together, of two shots at noise levels of their own."""
    rows = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1, 1)
    flow.begin(rows.expand(2, *SHAPE[1:]))
    model = Model()
    model.out = torch.zeros(4, *SHAPE[1:])
    clean = condition(0.0).expand(4, -1, -1, -1, -1)
    flow(model, torch.zeros_like(model.out), torch.tensor([0.5, 1.0] * 2), clean)
    assert model.x[:, 0, FIRST, 0, 0].tolist() == [0.5, 2.0, 0.5, 2.0]
    flow.begin(torch.zeros(2, *SHAPE[1:]))
    x = rows.repeat(2, 1, 1, 1, 1).expand(4, *SHAPE[1:])
    flow(model, x, torch.tensor([0.5, 1.0] * 2), clean)
    flow(model, x, torch.tensor([0.25, 0.5] * 2), clean)
    assert model.x[:, 0, FIRST, 0, 0].tolist() == [0.5, 1.0, 0.5, 1.0]
    with pytest.raises(ValueError, match="has to be whole"):
        flow(model, x[:3], at(0.5), clean[:3])


@pytest.mark.parametrize("scale", [{"noise_scale": 2.0}, {}])
def test_noise_is_scaled_as_the_host_scales_it(module, flow, scale):
    sampling = SimpleNamespace(**scale)
    patcher = SimpleNamespace(get_model_object=lambda name: sampling)
    seen = []

    def sample(noise, latent, seed):
        assert (latent, seed) == ("latent", 7)
        model = Model()
        flow(model, torch.zeros(SHAPE), at(1.0), condition(4.0))
        seen.append(frames(model.x))
        raise RuntimeError("interrupted")

    sample.class_obj = SimpleNamespace(model_patcher=patcher)
    with pytest.raises(RuntimeError, match="interrupted"):
        module._run(flow)(sample, noise=torch.full(SHAPE, -1.0), latent="latent", seed=7)
    with pytest.raises(RuntimeError, match="interrupted"):
        module._run(flow)(sample, torch.full(SHAPE, -1.0), "latent", seed=7)
    level = -scale.get("noise_scale", 1.0)
    assert seen == [[0, level, level, 0, 0]] * 2
    model = Model()  # the run is over, however it ended
    out = flow(model, torch.zeros(SHAPE), at(0.5), condition(4.0), "text", more=1)
    assert (frames(model.x), frames(out)) == ([0] * FRAMES, [7] * FRAMES)
    assert model.more == (("text",), {"more": 1})
    assert (model.t, model.known) == (0.5, 4.0)


def test_without_noise_the_first_latent_says_what_it_was(flow):
    model = Model()
    flow.begin(torch.zeros(SHAPE))
    flow(model, torch.full(SHAPE, 3.0), at(0.0), condition(4.0))
    assert frames(model.x) == [3] * FRAMES  # no noise is left in it to be found
    flow(model, torch.full(SHAPE, 2.0), at(0.5), condition(4.0))
    assert frames(model.x) == [2] * FRAMES
    flow(model, torch.full(SHAPE, 9.0), at(0.25), condition(4.0))
    assert frames(model.x) == [9, 3, 3, 9, 9]


@pytest.mark.parametrize("known", [None, torch.zeros(1, 16, *SHAPE[2:])])
def test_a_prompt_without_memory_is_refused(flow, known):
    flow.begin(torch.ones(SHAPE))
    with pytest.raises(ValueError, match="the prompt brings no memory to the model"):
        flow(Model(), torch.zeros(SHAPE), at(0.5), known)


def test_a_layout_that_keeps_nothing_changes_no_model(module, host):
    layouts = host.pack("storymem.sampling.memory_layout")
    model = SimpleNamespace(added=[])
    model.add_wrapper_with_key = lambda *given: model.added.append(given[:2])
    for layout in (layouts.storymem_layout(3), layouts.memento_layout((), 0, has_identity=True)):
        module.keep_on_flow(model, layout)
    assert model.added == []
    module.keep_on_flow(model, layouts.memento_layout((0,), 81))
    assert {kind for kind, _ in model.added} == {"outer_sample", "apply_model"}
