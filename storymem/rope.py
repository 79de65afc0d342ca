"""Positions in time (see :mod:`storymem.sampling.rope`)."""

from .sampling.rope import MEMORY_ROPE_SHIFT, temporal_positions

__all__ = ["MEMORY_ROPE_SHIFT", "temporal_positions"]
