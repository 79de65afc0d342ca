"""The choice of attention kernel: only where it pays, never over the artist's own."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend

from helpers.m2v_helpers import M2V, rel_l2

OVERRIDE = "optimized_attention_override"


@pytest.fixture(scope="module")
def m2v(host):
    return M2V(host)


@pytest.fixture
def hopper(m2v, monkeypatch):
    """A host that would ask for FlashAttention first, on a card of that kind."""
    import comfy.ldm.modules.attention as host_attention
    import comfy.ops

    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    priority = [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION]
    monkeypatch.setattr(comfy.ops, "SDPA_BACKEND_PRIORITY", priority, raising=False)
    monkeypatch.setattr(host_attention, "optimized_attention", host_attention.attention_pytorch)
    return m2v.node("host.attention", "is_faster_here")


def test_nothing_is_chosen_on_a_cpu(m2v):
    if m2v.high.load_device.type != "cpu":
        pytest.skip("the host runs on a graphics card")
    assert OVERRIDE not in m2v.patch(m2v.high, 2).model_options["transformer_options"]


def test_cudnn_is_chosen_on_hopper(hopper):
    assert hopper(torch.device("cuda", 0))
    assert not hopper(torch.device("cpu"))


def test_other_cards_keep_the_kernel_of_the_host(hopper, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (8, 9))
    assert not hopper(torch.device("cuda", 0))


def test_an_attention_chosen_at_start_up_stays(hopper, monkeypatch):
    import comfy.ldm.modules.attention as host_attention

    chosen = host_attention.attention_sub_quad
    monkeypatch.setattr(host_attention, "optimized_attention", chosen)
    assert not hopper(torch.device("cuda", 0))


def test_a_host_that_asks_for_cudnn_itself_is_left_alone(hopper, monkeypatch):
    import comfy.ops

    monkeypatch.setattr(comfy.ops, "SDPA_BACKEND_PRIORITY", [SDPBackend.CUDNN_ATTENTION])
    assert not hopper(torch.device("cuda", 0))


def test_an_attention_that_a_node_put_on_the_model_stays(m2v, hopper, monkeypatch):
    def mine(func, *args, **kwargs):
        return func(*args, **kwargs)

    prefer = m2v.node("host.attention", "prefer_cudnn")
    module = m2v.host.pack("nodes.host.attention")
    monkeypatch.setattr(module, "is_faster_here", lambda device: True)
    chosen = m2v.high.clone()
    chosen.model_options["transformer_options"][OVERRIDE] = mine
    prefer(chosen)
    assert chosen.model_options["transformer_options"][OVERRIDE] is mine
    free = m2v.high.clone()
    prefer(free)
    assert free.model_options["transformer_options"][OVERRIDE] is module.cudnn_attention
    assert OVERRIDE not in m2v.high.model_options["transformer_options"]


def random_qkv(dtype):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 40, 256, generator=generator).to(dtype) for _ in range(3)]


def test_the_kernel_computes_plain_attention(m2v, monkeypatch):
    def host_function(*_, **__):
        raise AssertionError("not asked for")

    monkeypatch.setattr(m2v.host.pack("nodes.host.attention"), "PLAIN", host_function)
    q, k, v = random_qkv(torch.bfloat16)
    out = m2v.node("host.attention", "cudnn_attention")(
        host_function, q, k, v, heads=2, transformer_options={}
    )
    a, b, c = (x.double().unflatten(-1, (2, -1)).transpose(1, 2) for x in (q, k, v))
    weights = (a @ b.transpose(-1, -2) / 128**0.5).softmax(-1)
    assert rel_l2(out, (weights @ c).transpose(1, 2).flatten(2)) < 1e-2  # bf16


@pytest.mark.parametrize(
    ("dtype", "extra"),
    [
        (torch.float32, {}),
        (torch.bfloat16, {"mask": torch.zeros(40, 40)}),
        (torch.bfloat16, {"skip_reshape": True}),
        (torch.bfloat16, {"scale": 0.5}),
    ],
)
def test_all_else_goes_to_the_host(m2v, monkeypatch, dtype, extra):
    seen = []

    def host_function(*args, **kwargs):
        seen.append((len(args), set(kwargs)))
        return "host"

    monkeypatch.setattr(m2v.host.pack("nodes.host.attention"), "PLAIN", host_function)
    kernel = m2v.node("host.attention", "cudnn_attention")
    assert kernel(host_function, *random_qkv(dtype), heads=2, **extra) == "host"
    assert seen == [(4, set(extra))]


def test_a_patched_model_runs_through_it(m2v, monkeypatch):
    """In fp32 the host computes, so that the result is the same to the bit."""
    plain = m2v.sample(bank=m2v.bank(2))
    module = m2v.host.pack("nodes.host.attention")
    monkeypatch.setattr(module, "is_faster_here", lambda device: True)
    assert torch.equal(m2v.sample(bank=m2v.bank(2)), plain)


def test_the_host_hands_over_its_plain_attention(m2v):
    import comfy.ldm.modules.attention as host_attention

    handed = []

    def override(function, q, k, v, heads, *args, **kwargs):
        handed.append(function)
        return function(q, k, v, heads, *args, **kwargs)

    q, k, v = random_qkv(torch.float32)
    host_attention.attention_pytorch(q, k, v, heads=2, transformer_options={OVERRIDE: override})
    assert handed == [m2v.node("host.attention", "PLAIN")]


def test_a_kernel_installed_after_the_patch_is_used(m2v):
    kernel = m2v.node("host.attention", "cudnn_attention")
    assert kernel(lambda *_, **__: "theirs", *random_qkv(torch.bfloat16), heads=2) == "theirs"


def test_torch_compile_takes_both_ways_without_a_break(m2v):
    kernel, plain = (
        m2v.node("host.attention", "cudnn_attention"),
        m2v.node("host.attention", "PLAIN"),
    )
    torch.compiler.reset()
    qkv = random_qkv(torch.bfloat16)
    for function in (plain, lambda q, *_, **__: q + 1):
        call = torch.compile(
            lambda q, k, v, f=function: kernel(f, q, k, v, heads=2), backend="eager", fullgraph=True
        )
        assert torch.equal(call(*qkv), kernel(function, *qkv, heads=2))
