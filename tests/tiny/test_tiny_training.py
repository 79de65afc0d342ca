"""Training the tiny DiT: Muon is torch's, the faster parts are diffusers', a stop loses nothing."""

from __future__ import annotations

import pytest
import torch

from storymem.tiny import dit, text
from storymem.tiny.lab import corpus, fit, hearing, muon, revive, speed

SHAPES = ((24, 24), (24, 24), (80, 24), (24, 80), (80, 24))


def walk(make, steps: int = 6) -> list[torch.Tensor]:
    """Parameters after some steps on seeded gradients."""
    g = torch.Generator().manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(s, generator=g)) for s in SHAPES]
    optimizer = make(parameters)
    for _ in range(steps):
        for p in parameters:
            p.grad = torch.randn(p.shape, generator=g)
        optimizer.step()
    return [p.detach() for p in parameters]


def torchs(**how):
    how = {"lr": 0.02, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw", **how}
    return lambda parameters: torch.optim.Muon(parameters, **how)


def distance(ours: list[torch.Tensor], other: list[torch.Tensor], start: list[torch.Tensor]):
    moved = torch.cat([(o - s).flatten() for o, s in zip(other, start, strict=True)])
    apart = torch.cat([(a - o).flatten() for a, o in zip(ours, other, strict=True)])
    return (apart.norm() / moved.norm()).item()


def test_muon_is_torchs_and_nothing_like_it_is():
    start = walk(torchs(), steps=0)
    ours = walk(lambda parameters: muon.StackedMuon(parameters, lr=0.02, weight_decay=0.1))
    assert distance(ours, walk(torchs()), start) < 5e-3  # measured 1.5e-3, bfloat16's rounding
    for mutant in (
        {"nesterov": False},
        {"weight_decay": 0.0},
        {"adjust_lr_fn": "original"},
        {"momentum": 0.9},
        {"ns_steps": 4},
    ):
        assert distance(ours, walk(torchs(**mutant)), start) > 2e-2, mutant


def make_model(*, quick: bool):
    torch.manual_seed(0)
    model = dit.build(layers=2, ffn=64, heads=1)
    model.rope = dit.KnownPositions(model.rope)
    if quick:
        speed.quicken(model)
    return model


@pytest.mark.parametrize("memory_frames", [0, 3])
def test_the_faster_parts_compute_what_diffusers_does(memory_frames):
    g = torch.Generator().manual_seed(1)
    frames = 5 + memory_frames
    noisy, known = (torch.randn(2, frames, 16, 12, 12, generator=g) for _ in range(2))
    mask = torch.randint(2, (2, frames), generator=g).float()
    text = torch.randn(2, 6, 4096, generator=g)
    sigma = torch.tensor([0.2, 0.9])
    outputs, gradients = [], []
    for quick in (False, True):
        model = make_model(quick=quick)
        out = dit.predict(model, noisy, mask, known, sigma, text, memory_frames=memory_frames)
        found = dict(model.named_parameters())
        slopes = torch.autograd.grad(out.square().sum(), list(found.values()))
        gradients.append(dict(zip(found, slopes, strict=True)))
        outputs.append(out.detach())
    assert gradients[0].keys() == gradients[1].keys()
    # Measured 3e-7, and 1e-6 for gradients: the order of sums.
    assert ((outputs[0] - outputs[1]).norm() / outputs[0].norm()).item() < 1e-5
    for name, value in gradients[0].items():
        assert (value - gradients[1][name]).norm() <= 1e-4 * value.norm() + 1e-6, name


def test_a_rotation_the_other_way_would_be_seen():
    g = torch.Generator().manual_seed(1)
    x = torch.randn(1, 7, 1, 128, generator=g)
    angle = torch.rand(1, 7, 1, 64, generator=g).repeat_interleave(2, -1)
    there = speed.rotate(x, angle.cos(), angle.sin())
    torch.testing.assert_close(speed.rotate(there, angle.cos(), -angle.sin()), x)
    assert (there - speed.rotate(x, angle.cos(), -angle.sin())).abs().max() > 0.1


def test_a_slot_whose_words_come_out_alike_is_told():
    model, words = make_model(quick=False), hearing.Words("cpu")
    before = hearing.heard(model, words)
    assert set(before) == {
        *("left name", "right name", "left action", "right action", "place", "camera", "framing")
    }
    assert min(before.values()) > 0.1
    first = model.condition_embedder.text_embedder.linear_1
    place = words.slots[text.SLOTS.index("place")]
    with torch.no_grad():  # as AdamW's steps at the full rate left it: far below zero for a slot
        first.weight -= 40 * place / place.square().sum()
    after = hearing.heard(model, words)
    assert after["place"] < 1e-4
    assert after["camera"] > 0.1


def deaf_model():
    """Half of the text embedder's units are never on, and all are far below zero for two slots."""
    model, words = make_model(quick=False), hearing.Words("cpu")
    first = model.condition_embedder.text_embedder.linear_1
    slots = [words.slots[text.SLOTS.index(name)] for name in revive.DEAF]
    with torch.no_grad():
        first.bias[::2] = -20
        for slot in slots:
            first.weight -= 60 * slot / slot.square().sum()
    return model, words


def test_waking_makes_deaf_slots_heard_and_changes_no_other_word():
    model, words = deaf_model()
    rows = torch.tensor([text.tokens("Bomo hops, Fipi jumps, wide"), text.tokens("Anka stands")])
    others = [text.SLOTS.index(name) for name in ("left", "right", "framing")]

    def embedded():
        with torch.no_grad():
            return model.condition_embedder.text_embedder(words(rows))[:, others]

    before, was = hearing.heard(model, words), embedded()
    assert max(before["place"], before["camera"]) < 1e-3
    revive.wake(model)
    after = hearing.heard(model, words)
    assert min(after["place"], after["camera"]) > 0.05
    assert (embedded() - was).norm() < 0.01 * was.norm()


def test_reviving_trains_on_the_mix_and_returns_the_average():
    g = torch.Generator().manual_seed(0)

    def randn(*shape):
        return torch.randn(*shape, generator=g)

    data = corpus.Corpus(
        stories=None,
        shots=randn(2, 3, 5, 16, 4, 4),
        known=randn(2, 3, 5, 16, 4, 4),
        images=randn(2, 3, 3, 16, 4, 4),
        moments=torch.zeros(2, 3, 3, dtype=torch.long),
        portraits=randn(2, 3, 16, 4, 4),
        cast=torch.ones(2, 3, dtype=torch.bool),
        grey=randn(5, 16, 4, 4),
        near=torch.zeros(2, 3, 5, 4, 4),
        words=torch.tensor([[text.tokens("Bomo hops, snow, still")] * 3] * 2),
        begins=torch.zeros(2, 3, dtype=torch.long),
        visible=torch.zeros(2, 3, 3, dtype=torch.bool),
    )
    model, _ = deaf_model()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    how = {"minutes": 0.03, "muon_rate": 1e-3, "seed": 0}
    training = revive.revive(model, data, ((1, 0), (2, 2)), **how)
    found = dict(zip(training.names, training.ema, strict=True))
    assert found.keys() == before.keys()
    moved = [name for name in before if not torch.equal(found[name], before[name])]
    assert len(moved) > 20
    assert all(torch.isfinite(value).all() for value in found.values())


def test_a_parameter_gets_its_share_of_the_rate():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    how = {"lr": 1e-2, "betas": (0.9, 0.99), "ema_decay": 0.9}
    state = fit.Training(module, share=lambda name: 0.1 if name == "0.weight" else 1.0, **how)
    before = [p.detach().clone() for p in state.parameters]
    module(torch.ones(2, 4)).square().sum().backward()
    state.apply(1e-2)
    moved = [(p - b).abs().max().item() for p, b in zip(state.parameters, before, strict=True)]
    assert moved == pytest.approx([1e-3, 1e-2, 1e-2, 1e-2], rel=1e-3)


def test_steps_leave_the_losss_gradients():
    weight = torch.nn.Parameter(torch.tensor([2.0, 3.0]))
    steps = speed.ShapedSteps([weight], captures=False)
    loss = steps.run("any", lambda x: (weight * x).sum(), [torch.tensor([5.0, 7.0])])
    assert loss.item() == 31
    assert weight.grad.tolist() == [5, 7]


def test_training_with_muon_resumes_where_it_stopped(tmp_path):
    torch.manual_seed(0)
    inputs, target = torch.randn(32, 8), torch.randn(32, 8)

    def run(steps: int, state: fit.Training):
        for _ in range(steps):
            (state.module(inputs) - target).square().mean().backward()
            state.apply(state.rate(100.0))
            state.seconds += 1

    def fresh():
        torch.manual_seed(1)
        module = torch.nn.Sequential(
            torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 8)
        )
        how = {"lr": 1e-1, "betas": (0.9, 0.99), "ema_decay": 0.99}
        return fit.Training(module, by_muon=lambda name, p: p.ndim == 2, **how)

    whole, half, resumed, lost = fresh(), fresh(), fresh(), fresh()
    run(20, whole)
    run(10, half)
    half.save(tmp_path)
    assert resumed.load(tmp_path)
    run(10, resumed)
    run(10, lost)
    for a, b, c in zip(resumed.parameters, whole.parameters, lost.parameters, strict=True):
        torch.testing.assert_close(a, b, atol=5e-3, rtol=0)  # moments travel in bfloat16
        assert (c - b).abs().max() > 1e-2
