"""Where the memory's keys and values are kept during a shot: what is free decides.

On the card, else in pinned host memory, from where each block's are copied while the block before
it computes, else on the card in fp8, else nowhere: then memory runs along in every step.
"""

from __future__ import annotations

from enum import Enum

import psutil
import torch
from comfy import model_management

ROOM = 2 * 2**30  # bytes that stay free on the card, and
HOST_ROOM = 8 * 2**30  # in the host's memory: the other expert's weights, decoded frames


class Place(Enum):
    """Where keys and values are kept."""

    CARD = "on the card"
    HOST = "in pinned host memory"
    FP8 = "on the card in fp8"
    NOWHERE = "nowhere"


def choose_place(size: int, free: int, host_free: int, *, is_cuda: bool) -> Place:
    """Where ``size`` bytes are kept, without swapping and without filling the card.

    Args:
        free: bytes free on the card beside what a forward needs.
        host_free: bytes of the host's memory that are available.
    """
    if not is_cuda or size + ROOM <= free:
        return Place.CARD
    if size + HOST_ROOM <= host_free:
        return Place.HOST
    if size // 2 + ROOM <= free:
        return Place.FP8
    return Place.NOWHERE


def place_for(size: int, device: torch.device, needed: int) -> Place:
    """``choose_place`` as things are now; ``needed``: bytes that a forward takes on the card."""
    free = model_management.get_free_memory(device) - needed
    host_free = psutil.virtual_memory().available
    return choose_place(size, int(free), host_free, is_cuda=device.type == "cuda")


class KeptMemory:
    """Keys and values of the memory's tokens of one model on one device, ``[1, L, C]`` per block.

    ``L`` is frames * tokens of a frame. What is kept is of one refresh, whole or not at all.
    """

    def __init__(self, layers: int, place: Place, device: torch.device):
        self.layers, self.place, self.device = layers, place, device
        self._pairs: list = [None] * layers
        self._pinned: list[torch.Tensor] = []  # by the host, which has to take that back
        self._count = 0
        self._dtype: torch.dtype | None = None  # what fp8 stands for
        self.level: float | None = None  # noise level of the refresh
        self.refresh = object()  # stands for what is kept; another one for each
        self._copied: object = None  # another card's, of which this is a copy
        self._is_shared = False  # the other card's host memory is read
        self._ahead: dict = {}
        is_host = place is Place.HOST
        self._stream = torch.cuda.Stream(device) if is_host else None

    @property
    def is_whole(self) -> bool:
        """Whether every block's are there."""
        return self._count == self.layers

    def begin(self, level: float | None = None) -> None:
        """A refresh begins, at a noise level: what was kept is out of date."""
        self._count, self.level = 0, level
        self.refresh, self._copied = object(), None
        self._ahead.clear()
        if self._is_shared:
            self._pairs, self._is_shared = [None] * self.layers, False

    def copy(self, other: KeptMemory) -> None:
        """Keep what ``other`` keeps, whole and of another card; each refresh of it is copied once.

        What both cards keep in the host's memory is there once.
        """
        if self._copied is other.refresh:
            return
        self.begin(other.level)
        if other.place is Place.HOST:
            torch.cuda.synchronize(other.device)  # it may still be written
        if self.place is other.place is Place.HOST:
            self._pairs, self._count, self._is_shared = other._pairs, other._count, True
        else:
            for block in range(self.layers):
                self.keep(block, *other._read(block, self.device))
        self._copied = other.refresh

    def keep(self, block: int, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Keep those of one block, ``[b, L, C]`` each."""
        pair = keys, values
        if self.place is Place.HOST:
            if self._pairs[block] is None:
                self._pairs[block] = self._host_pair(pair)
            for to, a in zip(self._pairs[block], pair, strict=True):
                to.copy_(a, non_blocking=True)
        elif self.place is Place.FP8:
            self._dtype = keys.dtype
            self._pairs[block] = [_to_fp8(a) for a in pair]
        else:
            self._pairs[block] = [a.clone() for a in pair]
        self._count += 1

    def take(self, block: int, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Those of one block, as ``like`` is in type and place."""
        if self.place is Place.FP8:
            return tuple(_from_fp8(a, like.dtype) for a in self._pairs[block])
        if self.place is not Place.HOST:
            return tuple(self._pairs[block])
        if block not in self._ahead:
            self._fetch(block)
        if block + 1 < self.layers:
            self._fetch(block + 1)
        pair, event = self._ahead.pop(block)
        now = torch.cuda.current_stream(self.device)
        now.wait_event(event)
        for a in pair:
            a.record_stream(now)
        return tuple(pair)

    def free(self) -> None:
        """Let go of everything."""
        pinned, self._pinned = self._pinned, []
        if pinned:
            torch.cuda.synchronize(self.device)  # it may still be read
        for whole in pinned:
            model_management.unpin_memory(whole)
        self._pairs, self._count = [None] * self.layers, 0
        self._ahead.clear()

    def _host_pair(self, pair: tuple[torch.Tensor, torch.Tensor]) -> list[torch.Tensor]:
        """Pinned host memory for keys and values of one block, exactly as much as they take.

        Pinning by the host gives it back when asked to, which torch's own pinned memory, rounded up
        to a power of 2, does not. All cores make the pages, and the card works on meanwhile.
        """
        sizes = [a.nbytes for a in pair]
        whole = torch.empty(sum(sizes), dtype=torch.uint8)
        whole.zero_()
        if model_management.pin_memory(whole):
            self._pinned.append(whole)
        else:  # the host may not: its limit is reached, or it was told not to
            whole = torch.empty(sum(sizes), dtype=torch.uint8, pin_memory=True)
        return [
            part.view(a.dtype).view(a.shape)
            for part, a in zip(whole.split(sizes), pair, strict=True)
        ]

    def _read(self, block: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        if self.place is Place.FP8:
            moved = (tuple(a.to(device) for a in kept) for kept in self._pairs[block])
            return tuple(_from_fp8(kept, self._dtype) for kept in moved)
        return tuple(a.to(device) for a in self._pairs[block])

    def _fetch(self, block: int) -> None:
        self._stream.wait_stream(torch.cuda.current_stream(self.device))  # it may still be written
        with torch.cuda.stream(self._stream):
            pair = [a.to(self.device, non_blocking=True) for a in self._pairs[block]]
            event = torch.cuda.Event()
            event.record(self._stream)
        self._ahead[block] = pair, event


def _to_fp8(a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """e4m3 with a scale per head row, so that no value is beyond its range."""
    largest = a.abs().amax(dim=-1, keepdim=True).float().clamp(min=1e-12)
    scale = largest / torch.finfo(torch.float8_e4m3fn).max
    return (a.float() / scale).to(torch.float8_e4m3fn), scale


def _from_fp8(kept: tuple[torch.Tensor, torch.Tensor], dtype: torch.dtype) -> torch.Tensor:
    a, scale = kept
    return (a.float() * scale).to(dtype)
