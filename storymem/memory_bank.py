"""The memory bank (see :mod:`storymem.memory`)."""

from .memory.bank import MemoryBank, start_bank
from .memory.frame import MemoryFrame
from .memory.policies import MAX_MEMORY_FRAMES, SINK_FRAMES, window

__all__ = ["MAX_MEMORY_FRAMES", "SINK_FRAMES", "MemoryBank", "MemoryFrame", "start_bank", "window"]
