"""Two cards at once (MultiGPU CFG Split): the latents of one card, to the bit, and nothing left.

One card that evaluates both prompts apart is the reference: it computes the same sums. Threads and
copies are the host's own; only the cards are one processor under two names.
"""

from __future__ import annotations

import gc
import threading
import time
from collections import Counter
from dataclasses import replace

import pytest
import torch

from helpers.lora_graphs import write_style
from helpers.m2v_helpers import M2V
from helpers.memento_shot import BEGIN, bank_of, encoded, evaluate, parts_of, patched
from helpers.two_cards import SECOND, Evaluations, split

FIRST = torch.device("cpu")
PROMPT, NEGATIVE = (0,), (1,)  # cond_or_uncond
EVERY_STEP = 8


@pytest.fixture(scope="module")
def m2v(host):
    import nodes

    if "MultiGPU_WorkUnits" not in nodes.NODE_CLASS_MAPPINGS:
        pytest.skip("this host uses one card")
    return M2V(host)


@pytest.fixture(autouse=True)
def apart(monkeypatch):
    """One card evaluates both prompts apart. Afterwards the host forgets models that are gone, on
    which its node would fail."""
    import comfy.model_management
    import comfy.samplers

    monkeypatch.setattr(comfy.samplers, "can_concat_cond", lambda one, other: one is other)
    yield
    gc.collect()
    entries = comfy.model_management.current_loaded_models
    entries[:] = [entry for entry in entries if entry.model is not None]


def pair(m2v, monkeypatch, *experts: str, high=None, low=None, max_gpus: int = 2) -> dict:
    """Models of M2V Sampler, with MultiGPU CFG Split on some experts."""
    models = {"model_high": high or m2v.high, "model_low": low or m2v.low}
    for one in experts or ("high", "low"):
        models[f"model_{one}"] = split(monkeypatch, models[f"model_{one}"], max_gpus)
    return models


def workers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if "_worker_loop" in t.name]


def both(steps: int) -> Counter:
    return Counter({(FIRST, PROMPT): steps, (SECOND, NEGATIVE): steps})


@pytest.mark.parametrize(
    ("experts", "steps"), [((), 8), (("high",), 3), (("low",), 5)], ids=["both", "high", "low"]
)
def test_a_shot_is_the_same_on_two_cards(m2v, monkeypatch, experts, steps):
    changes = {"bank": m2v.bank(3), "steps": EVERY_STEP}
    one = m2v.sample(**changes)
    ran = Evaluations(monkeypatch)
    two = m2v.sample(**changes, **pair(m2v, monkeypatch, *experts))
    assert torch.equal(one, two)
    shared = Counter({key: n for key, n in ran.cards.items() if key[0] is not None})
    assert shared == both(steps)
    assert ran.cards.total() == 2 * EVERY_STEP


def test_each_card_has_a_thread_and_weights_of_its_own(m2v, monkeypatch):
    models = pair(m2v, monkeypatch)
    ran = Evaluations(monkeypatch)
    m2v.sample(bank=m2v.bank(2), **models)
    assert len(set(ran.models)) == 4  # two experts, twice
    assert len(set(ran.threads)) == 4
    assert threading.get_ident() not in ran.threads


@pytest.mark.parametrize("sampler", ["storymem_unipc", "uni_pc", "heun", "dpmpp_2m"])
def test_every_sampler_gives_the_same(m2v, monkeypatch, sampler):
    scheduler = "storymem" if sampler == "storymem_unipc" else "simple"
    changes = {"bank": m2v.bank(2), "sampler_name": sampler, "scheduler": scheduler}
    assert torch.equal(m2v.sample(**changes), m2v.sample(**changes, **pair(m2v, monkeypatch)))


def test_a_schedule_that_goes_up_again_loads_both_experts_copies_again(m2v, monkeypatch):
    import comfy.samplers

    module = m2v.node("sampling.sampler", "sample_shot").__globals__
    up_and_down = torch.tensor([1.0, 0.93, 0.5, 0.95, 0.4, 0.0])
    positive, negative, latent, noise, frames = m2v.condition(bank=m2v.bank(2))

    def run(high, low):
        high, low = (m2v.patch(model, frames) for model in (high, low))
        guider = module["TwoExpertGuider"](high, low)
        guider.set_conds(positive, negative)
        guider.set_cfg(3.5)
        made = noise.generate_noise(latent)
        with torch.inference_mode():
            return guider.sample(
                made, latent["samples"], comfy.samplers.sampler_object("euler"), up_and_down,
                disable_pbar=True, seed=1,
            )  # fmt: skip

    one = run(m2v.high, m2v.low)
    ran = Evaluations(monkeypatch)
    assert torch.equal(one, run(*pair(m2v, monkeypatch).values()))
    assert ran.cards == both(5)


# --- memory that is cached, and Memento -----------------------------------------------------------


@pytest.mark.parametrize("steps", ["", "0 2"])
def test_cached_memory_is_copied_to_the_other_card(m2v, monkeypatch, steps):
    changes = {
        "bank": m2v.bank(3), "steps": EVERY_STEP, "memory_refresh": "cached",
        "refresh_steps": steps,
    }  # fmt: skip
    one = m2v.sample(**changes)
    exact = m2v.sample(**{**changes, "memory_refresh": "exact"})
    ran = Evaluations(monkeypatch)
    assert torch.equal(one, m2v.sample(**changes, **pair(m2v, monkeypatch)))
    assert not torch.equal(one, exact)
    frames = {card: sorted(found) for card, found in ran.frames.items()}
    assert frames[FIRST] == frames[SECOND]  # the second card's steps are as short
    assert len(set(frames[SECOND])) == 2


def test_every_place_of_cached_memory_is_copied_as_it_is_read(m2v):
    """Where each card keeps it: on the card as it is, or in fp8 (a loss that is the keeper's)."""
    store = m2v.host.pack("nodes.sampling.memory_store")
    draw = torch.Generator().manual_seed(0)
    pairs = [tuple(torch.randn(2, 1, 5, 8, generator=draw)) for _ in range(2)]
    for source_place in (store.Place.CARD, store.Place.FP8):
        source = store.KeptMemory(2, source_place, FIRST)
        source.begin(0.9)
        for block, kept in enumerate(pairs):
            source.keep(block, *kept)
        copy = store.KeptMemory(2, store.Place.CARD, SECOND)
        copy.copy(source)
        assert copy.is_whole
        for block, kept in enumerate(pairs):
            read, made = source.take(block, kept[0]), copy.take(block, kept[0])
            assert all(torch.equal(a, b) for a, b in zip(read, made, strict=True))
        before = copy.take(0, pairs[0][0])[0]
        copy.copy(source)
        assert copy.take(0, pairs[0][0])[0] is before  # each refresh once
        source.begin(0.9)  # another one, at the same level
        for block, kept in enumerate(pairs):
            source.keep(block, *(a + 1 for a in kept))
        copy.copy(source)
        assert torch.equal(copy.take(0, pairs[0][0])[0], source.take(0, pairs[0][0])[0])


def test_what_the_other_card_keeps_at_this_very_level_is_not_read(m2v):
    """It may be about to: whether it is there would be chance."""
    cached = m2v.node("sampling.cached_memory", "CachedMemory")(2, None)
    store = m2v.host.pack("nodes.sampling.memory_store")
    source, mine = (store.KeptMemory(1, store.Place.CARD, card) for card in (FIRST, SECOND))
    assert not cached._is_there(mine, 0.5, None)
    cached._source = source
    source.begin(0.5)
    assert not cached._is_there(mine, 0.4, None)  # not whole
    source.keep(0, torch.ones(1, 2, 3), torch.ones(1, 2, 3))
    assert not cached._is_there(mine, 0.5, None)
    assert cached._is_there(mine, 0.4, None)


def test_a_prompt_in_parts_runs_its_memory_along_on_two_cards(m2v, monkeypatch):
    """Its parts are on both, so that neither has all of what the other one reads."""
    parts = [[m2v.pos[0][0], dict(m2v.pos[0][1])], [m2v.neg[0][0] + 1, dict(m2v.pos[0][1])]]
    changes = {"bank": m2v.bank(2), "positive": parts}
    exact = m2v.sample(**changes)
    two = m2v.sample(**changes, memory_refresh="cached", **pair(m2v, monkeypatch))
    assert torch.equal(two, exact)


def test_memento_with_an_identity_frame_is_the_same(m2v, monkeypatch):
    changes = {
        "bank": bank_of(m2v, 3), "shot": replace(m2v.shot(index=2), begin=BEGIN),
        "method": "memento", "identity_positive": encoded(5), "identity_negative": encoded(6),
        "steps": EVERY_STEP,
    }  # fmt: skip
    one = m2v.sample_with_identity(**changes)
    two = m2v.sample_with_identity(**changes, **pair(m2v, monkeypatch))
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a["samples"], b["samples"])


@pytest.mark.parametrize("has_identity", [True, False])
def test_memory_whose_noise_is_found_is_the_same(m2v, monkeypatch, has_identity):
    """A sampler that goes on where another stopped: the first evaluation finds the noise."""
    parts = parts_of(m2v, 3, has_identity=has_identity)
    parts = replace(parts, noise=torch.zeros_like(parts.noise))
    sigmas = (0.7, 0.5, 0.3)
    one = evaluate(patched(m2v, parts.layout), parts, 3.5, sigmas)
    model = split(monkeypatch, patched(m2v, parts.layout))
    for _ in range(3):
        assert torch.equal(one, evaluate(model, parts, 3.5, sigmas))


def test_torch_compile_is_off_until_the_last_card_is_done(m2v):
    """PyTorch has one setting for all threads, and the first to leave would turn it on again."""
    from torch._dynamo import eval_frame

    eager = m2v.node("sampling.identity_frame", "SplitAttention")(1)._eager
    inside, leave = threading.Event(), threading.Event()

    def other():
        with eager:
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=other)
    before = eval_frame._stance.stance
    with eager:
        thread.start()
        assert inside.wait(30)
    assert eval_frame._stance.stance == "force_eager"
    leave.set()
    thread.join(30)
    assert eval_frame._stance.stance == before == "default"


# --- other roads, and other nodes on the way ------------------------------------------------------


@pytest.mark.parametrize("order", ["split last", "split first"])
@pytest.mark.parametrize("refresh", ["exact", "cached"])
def test_stock_samplers_in_two_stages_give_the_same(m2v, monkeypatch, order, refresh):
    """M2V Conditioning, M2V Model Patch and KSampler Advanced, once for each expert."""
    from nodes import KSamplerAdvanced

    positive, negative, latent, _, frames = m2v.condition(bank=m2v.bank(3))
    node = m2v.node("sampling.model_patch", "M2VModelPatch")

    def stages(prepare):
        made = latent
        for expert, begin, end in ((m2v.high, 0, 3), (m2v.low, 3, 6)):
            (made,) = KSamplerAdvanced().sample(
                prepare(expert), "enable" if begin == 0 else "disable", 5, 6, 3.5, "euler",
                "simple", positive, negative, made, begin, end, "enable" if end < 6 else "disable",
            )  # fmt: skip
        return made["samples"]

    def patch(model):
        return node.execute(model, frames, 5, refresh, "0").result[0]

    with torch.inference_mode():
        one = stages(patch)
        ran = Evaluations(monkeypatch)
        if order == "split last":
            two = stages(lambda model: split(monkeypatch, patch(model)))
        else:
            two = stages(lambda model: patch(split(monkeypatch, model)))
    assert torch.equal(one, two)
    assert ran.cards == both(6)


@pytest.mark.parametrize("order", ["loras first", "split first"])
def test_loras_of_a_shot_are_on_both_cards(m2v, monkeypatch, order):
    path = write_style(m2v.host.base / "models" / "loras" / "two_cards.safetensors", 4)
    entries = m2v.host.pack("storymem.script.loras").read_loras("two_cards")
    apply = m2v.node("sampling.shot_loras", "ApplyShotLoRAs").execute

    def styled(high, low):
        return apply(high, m2v.shot(loras=entries), low).result

    try:
        changes = {"bank": m2v.bank(2)}
        names = ("model_high", "model_low")
        one = m2v.sample(**changes, **dict(zip(names, styled(m2v.high, m2v.low), strict=True)))
        plain = m2v.sample(**changes)
        if order == "loras first":
            high, low = styled(m2v.high, m2v.low)
            models = pair(m2v, monkeypatch, high=high, low=low)
        else:
            models = dict(zip(names, styled(*pair(m2v, monkeypatch).values()), strict=True))
        ran = Evaluations(monkeypatch)
        assert torch.equal(one, m2v.sample(**changes, **models))
        assert ran.cards == both(4)
        assert not torch.equal(one, plain)
        # The next shot has none: the copies' weights are the plain ones again.
        again = pair(m2v, monkeypatch)
        assert torch.equal(plain, m2v.sample(**changes, **again))
    finally:
        path.unlink()


@pytest.mark.parametrize("device", ["low", "high"])
def test_each_expert_may_have_a_card_of_its_own(m2v, monkeypatch, device):
    """Select Model Device: nothing is split, and the experts need not make room for each other."""
    one = m2v.sample(bank=m2v.bank(2), memory_refresh="cached")
    models = {"model_high": m2v.high, "model_low": m2v.low}
    moved = models[f"model_{device}"].deepclone_multigpu(new_load_device=SECOND)
    models[f"model_{device}"] = moved
    assert torch.equal(one, m2v.sample(bank=m2v.bank(2), memory_refresh="cached", **models))


@pytest.mark.parametrize("why", ["one card", "cfg 1"])
def test_with_nothing_to_split_one_card_does_all(m2v, monkeypatch, why):
    cfg = 1.0 if why == "cfg 1" else 3.5
    models = pair(m2v, monkeypatch, max_gpus=1 if why == "one card" else 2)
    ran = Evaluations(monkeypatch)
    two = m2v.sample(bank=m2v.bank(2), cfg=cfg, **models)
    assert SECOND not in {card for card, _ in ran.cards}
    assert torch.equal(two, m2v.sample(bank=m2v.bank(2), cfg=cfg))


# --- after a run, however it ended ----------------------------------------------------------------


def loaded() -> list[tuple]:
    """Cards and weights, as the host knows them."""
    import comfy.model_management

    entries = comfy.model_management.current_loaded_models
    return [(e.device, id(e.model.model)) for e in entries if e.model is not None]


def test_the_host_knows_where_the_copies_are_when_a_shot_is_done(m2v, monkeypatch):
    """Else it would take a copy's weights for those of the model, and never free their card."""
    import comfy.model_management

    comfy.model_management.unload_all_models()
    models = pair(m2v, monkeypatch)
    for _ in range(2):
        m2v.sample(bank=m2v.bank(2), **models)
        gc.collect()
        wanted = set()
        for model in models.values():
            (copy,) = model.get_additional_models_with_key("multigpu")
            wanted |= {(FIRST, id(model.model)), (SECOND, id(copy.model))}
        found = loaded()
        assert wanted <= set(found)
        assert len(found) == len(set(found)), "each of them once"
    comfy.model_management.free_memory(1e30, SECOND)
    assert SECOND not in {device for device, _ in loaded()}


def test_no_thread_and_no_state_is_left(m2v, monkeypatch):
    before = set(threading.enumerate())
    m2v.sample(bank=m2v.bank(2), **pair(m2v, monkeypatch))
    assert set(threading.enumerate()) <= before


class Slow:
    """An evaluation on the second card that takes its time, until it is interrupted or done."""

    def __init__(self, monkeypatch, at: float, fails):
        import comfy.model_base
        import comfy.model_management

        plain, self.running, self.ended = comfy.model_base.BaseModel._apply_model, 0, []
        started = threading.Event()

        def evaluate(model, x, t, c_concat, c_crossattn, control, options, **kwargs):
            card = options.get("multigpu_thread_device")
            if float(t.flatten()[0]) > at:
                return plain(model, x, t, c_concat, c_crossattn, control, options, **kwargs)
            if card == FIRST:
                assert started.wait(30)
                fails()
                comfy.model_management.throw_exception_if_processing_interrupted()
                raise AssertionError("not reached")
            self.running += 1
            started.set()
            try:
                for _ in range(600):
                    time.sleep(0.05)
                    comfy.model_management.throw_exception_if_processing_interrupted()
            finally:
                self.running -= 1
                self.ended.append(card)

        monkeypatch.setattr(comfy.model_base.BaseModel, "_apply_model", evaluate)


@pytest.mark.parametrize("at", [2.0, 0.85], ids=["high", "low"])
@pytest.mark.parametrize("kind", ["interrupt", "error"])
def test_a_card_that_stops_stops_the_other_before_the_run_ends(m2v, monkeypatch, at, kind):
    import comfy.model_management as management

    def fails():
        if kind == "error":
            raise RuntimeError("out of memory")
        management.interrupt_current_processing(True)

    plain = m2v.sample(bank=m2v.bank(2))
    models, before = pair(m2v, monkeypatch), set(threading.enumerate())
    wanted = RuntimeError if kind == "error" else management.InterruptProcessingException
    with monkeypatch.context() as patch:
        slow = Slow(patch, at, fails)
        begin = time.perf_counter()
        with pytest.raises(wanted):
            m2v.sample(bank=m2v.bank(2), **models)
        assert time.perf_counter() - begin < 20
        assert (slow.running, slow.ended) == (0, [SECOND])
    assert not management.processing_interrupted()
    assert set(threading.enumerate()) <= before
    assert torch.equal(plain, m2v.sample(bank=m2v.bank(2), **models))


def test_a_card_that_cannot_be_used_is_not_waited_for(m2v):
    """Its thread answers everything with an error, and never says that it is idle."""
    import comfy.multigpu

    wait = m2v.node("host.cards", "_wait")

    class Broken(comfy.multigpu.MultiGPUThreadPool):
        def _worker_loop(self, device, work_q, result_q):
            while work_q.get() is not None:
                result_q.put((None, RuntimeError("no such card")))

    for pool in (Broken([FIRST]), comfy.multigpu.MultiGPUThreadPool([FIRST, SECOND])):
        pool.submit(FIRST, lambda: 1)  # nobody took its result
        done = threading.Thread(target=wait, args=[pool], daemon=True)
        done.start()
        done.join(10)
        assert not done.is_alive()
        if type(pool) is not Broken:
            pool.submit(FIRST, lambda: 2)
            assert pool.get_result(FIRST) == (2, None), "something was left for who tries again"
        pool.shutdown()
