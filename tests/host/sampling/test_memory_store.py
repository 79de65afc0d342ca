"""Where a memory's keys and values are kept, and in which order a card copies and reads them."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch

GIB = 2**30
CARD, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture
def store(host):
    return host.pack("nodes.sampling.memory_store")


class Copied:
    """What stands for a tensor on the card that was copied there."""

    def __init__(self, name, log):
        self.name, self.log = name, log

    def record_stream(self, stream):
        self.log.append(("used by", stream.name, self.name))


class Pinned:
    """What stands for a pinned tensor."""

    def __init__(self, name, log):
        self.name, self.log = name, log

    def to(self, device, non_blocking=False):
        self.log.append(("copy", self.name, device, non_blocking))
        return Copied(self.name, self.log)

    def copy_(self, other, non_blocking=False):
        self.log.append(("keep", self.name, other, non_blocking))


class Streams:
    """What stands for a card's streams and events: it writes down what is asked of them."""

    def __init__(self, monkeypatch, store):
        self.log, self.events, self.now, self.inside = [], 0, self.stream("now"), "now"
        card = store.torch.cuda
        monkeypatch.setattr(card, "Stream", lambda device: self.of(device, self.stream("copies")))
        monkeypatch.setattr(card, "current_stream", lambda device: self.of(device, self.now))
        monkeypatch.setattr(card, "synchronize", lambda device: self.of(device, None))
        monkeypatch.setattr(card, "stream", self.entered)
        monkeypatch.setattr(card, "Event", self.event)

    @staticmethod
    def of(device, answer):
        assert device == CARD
        return answer

    def stream(self, name):
        return SimpleNamespace(
            name=name,
            wait_stream=lambda other: self.log.append((name, "waits for", other.name)),
            wait_event=lambda event: self.log.append((name, "waits for", event.number)),
        )

    @contextmanager
    def entered(self, stream):
        self.inside = stream.name
        yield
        self.inside = "now"

    def event(self):
        self.events += 1
        made = SimpleNamespace(number=self.events)
        made.record = lambda stream: self.log.append((stream.name, "records", made.number))
        return made

    def kept(self, store, layers):
        kept = store.KeptMemory(layers, store.Place.HOST, CARD)
        kept._pairs = [
            [Pinned(f"k{n}", self.log), Pinned(f"v{n}", self.log)] for n in range(layers)
        ]
        return kept

    def taken(self, kept, block) -> list:
        """What happens when the pair of ``block`` is asked for."""
        self.log.clear()
        pair = kept.take(block, None)
        assert isinstance(pair, tuple)
        assert [one.name for one in pair] == [f"k{block}", f"v{block}"]
        return list(self.log)


def fetched(block, event):
    """A pair is copied on its own stream, after what may still write it."""
    return [
        ("copies", "waits for", "now"),
        ("copy", f"k{block}", CARD, True),
        ("copy", f"v{block}", CARD, True),
        ("copies", "records", event),
    ]


def read(block, event):
    """A pair is read after it was copied, and its memory stays until that is over."""
    return [
        ("now", "waits for", event),
        ("used by", "now", f"k{block}"),
        ("used by", "now", f"v{block}"),
    ]


def test_the_card_copies_each_block_ahead_and_reads_it_when_it_is_there(store, monkeypatch):
    streams = Streams(monkeypatch, store)
    kept = streams.kept(store, 3)
    assert streams.taken(kept, 0) == fetched(0, 1) + fetched(1, 2) + read(0, 1)
    assert streams.taken(kept, 1) == fetched(2, 3) + read(1, 2)
    assert streams.taken(kept, 2) == read(2, 3)
    assert streams.taken(kept, 0) == fetched(0, 4) + fetched(1, 5) + read(0, 4)  # the next step
    assert streams.inside == "now"


@pytest.mark.parametrize("drop", ["begin", "free"])
def test_what_was_copied_ahead_is_not_read_after_a_refresh(store, monkeypatch, drop):
    streams = Streams(monkeypatch, store)
    kept = streams.kept(store, 3)
    streams.taken(kept, 0)
    pairs = kept._pairs
    getattr(kept, drop)()
    kept._pairs = pairs
    assert streams.taken(kept, 1) == fetched(1, 3) + fetched(2, 4) + read(1, 3)


def test_a_refresh_waits_for_no_copy_into_pinned_memory(store, monkeypatch):
    streams = Streams(monkeypatch, store)
    kept = streams.kept(store, 1)
    kept.keep(0, "keys", "values")
    assert streams.log == [("keep", "k0", "keys", True), ("keep", "v0", "values", True)]


def test_the_card_is_waited_for_before_its_pinned_memory_goes(store, monkeypatch):
    Streams(monkeypatch, store)  # asks for no other device
    kept = store.KeptMemory(1, store.Place.HOST, CARD)
    pinned = torch.zeros(3)
    kept._pinned.append(pinned)
    gone = []
    monkeypatch.setattr(store.model_management, "unpin_memory", gone.append)
    kept.free()
    assert [one is pinned for one in gone] == [True]


def test_what_is_kept_on_the_card_is_a_copy(store):
    kept = store.KeptMemory(1, store.Place.CARD, CPU)
    assert not kept.is_whole
    keys, values = torch.ones(1, 2, 4), torch.full((1, 2, 4), 2.0)
    kept.keep(0, keys, values)
    keys.zero_()
    values.zero_()
    assert [pair.unique().tolist() for pair in kept.take(0, keys)] == [[1.0], [2.0]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_fp8_keeps_each_token_as_exactly_as_its_size_allows(store, dtype):
    """A token's largest value comes back to the digit, however small the token is beside others,
    and a token of nothing but zeros comes back as zeros."""
    size = torch.tensor([1e-4, 1.0, 300.0, 0.0])[None, :, None]
    keys = (torch.linspace(-1, 0.9, 16)[None, None] * size).to(dtype)
    kept = store.KeptMemory(1, store.Place.FP8, CPU)
    kept.keep(0, keys, keys)
    assert [values.element_size() for values, _ in kept._pairs[0]] == [1, 1]
    assert [scale.numel() for _, scale in kept._pairs[0]] == [4, 4]  # one a token
    for found in kept.take(0, keys):
        assert found.dtype == dtype
        assert torch.equal(found[..., 0], keys[..., 0])
        off = (found.float() - keys.float()).abs().amax(-1) / size[..., 0].clamp(min=1e-12)
        assert off.max() < 0.05


def test_half_of_an_odd_number_of_bytes_fits_to_the_byte(store):
    how = {"host_free": 0, "is_cuda": True}
    assert store.choose_place(5, store.ROOM + 2, **how) is store.Place.FP8
    assert store.choose_place(6, store.ROOM + 2, **how) is store.Place.NOWHERE


@pytest.mark.parametrize(
    ("device", "needed", "host_free", "place"),
    [
        (CARD, 1, 0, "CARD"),  # 10 free, 1 for a forward, 6 kept, 2 stay
        (CARD, 3, 16, "HOST"),
        (CARD, 3, 13, "FP8"),
        (CARD, 6, 13, "NOWHERE"),
        (CPU, 6, 0, "CARD"),
    ],
)
def test_what_a_forward_needs_is_not_free(store, monkeypatch, device, needed, host_free, place):
    asked = []
    monkeypatch.setattr(
        store.model_management, "get_free_memory", lambda of: asked.append(of) or 10 * GIB
    )
    monkeypatch.setattr(
        store.psutil, "virtual_memory", lambda: SimpleNamespace(available=host_free * GIB)
    )
    assert store.place_for(6 * GIB, device, needed * GIB).name == place
    assert asked == [device]
