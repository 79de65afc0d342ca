"""Positions in time (see :mod:`storymem.sampling.rope` and ``memory_layout``)."""

from .sampling.memory_layout import query_positions, real_time_positions
from .sampling.rope import MEMORY_ROPE_SHIFT, temporal_positions

__all__ = ["MEMORY_ROPE_SHIFT", "query_positions", "real_time_positions", "temporal_positions"]
