"""Which embedder a memory bank's policy goes by: the bank, a value, holds its name only.

Load Embedder says how to load it again, in case the host let go of its result since; an embedder
of another pack's node is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from weakref import WeakValueDictionary

from ...storymem.memory.bank import MemoryBank
from ...storymem.memory.embedders import Embedder


class KnownEmbedders:
    """Embedders by their full name."""

    def __init__(self):
        self._live: WeakValueDictionary[str, Embedder] = WeakValueDictionary()
        self._kept: dict[str, Embedder] = {}
        self._loaders: dict[str, Callable[[], Embedder]] = {}

    def add(self, embedder: Embedder | None, load: Callable[[], Embedder] | None = None) -> str:
        """Remember ``embedder``; its full name, empty for none.

        Args:
            load: makes one that says the same, so that nothing need be kept.
        """
        if embedder is None:
            return ""
        name = embedder.full_name
        self._live[name] = embedder
        if load is not None:
            self._loaders[name] = load
        if name not in self._loaders:
            self._kept[name] = embedder
        return name

    def of(self, bank: MemoryBank) -> Embedder | None:
        """The embedder that a bank names, ``None`` where its policy needs none.

        Raises:
            ValueError: when its file was replaced or is gone.
        """
        if bank.policy != "relevant" or not bank.embedder:
            return None
        embedder = self._live.get(bank.embedder)
        if embedder is None and (load := self._loaders.get(bank.embedder)):
            embedder = load()
            self._live[embedder.full_name] = embedder
        if embedder is None or embedder.full_name != bank.embedder:
            raise ValueError(
                f"the embedder of the memory ({bank.embedder}) is no longer loaded; queue the "
                "workflow again, and check whether its file in models/clip_vision was replaced"
            )
        return embedder


KNOWN = KnownEmbedders()
