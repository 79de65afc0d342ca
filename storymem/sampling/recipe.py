"""How a shot is sampled: the released recipe for Wan 2.2 A14B, written once.

The defaults are the paper's. Nodes, headless runner and training take them from here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .rope import MEMORY_ROPE_SHIFT, check_memory_span

STEPS = 40
CFG = 3.5
SHIFT = 4.0  # of the noise schedule, for both experts
I2V_BOUNDARY = 0.9  # Wan 2.2 I2V A14B: the high-noise expert while sigma >= 0.900
T2V_BOUNDARY = 0.875  # Wan 2.2 T2V A14B's published configuration


@dataclass(frozen=True)
class Recipe:
    """Settings of one sampling run over both experts.

    Raises:
        ValueError: for settings that no sampler can work with.
    """

    steps: int = STEPS  # over both experts
    cfg: float = CFG
    cfg_low: float = 0.0  # of the low-noise expert; 0: the same as cfg
    shift: float = SHIFT  # 0: what the models bring
    boundary: float = I2V_BOUNDARY  # the high-noise expert works while sigma >= boundary
    sampler: str = "uni_pc"
    rope_shift: int = MEMORY_ROPE_SHIFT  # latent frames between two memory frames
    scheduler: str = "simple"  # within 0.0003 of the released schedule
    denoise: float = 1.0  # share of the schedule that runs

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be 1 or more, but it is {self.steps}")
        if not 0 <= self.shift < math.inf:
            raise ValueError(
                f"shift must be 0 or more (the recipe's is {SHIFT:g}), but it is {self.shift}"
            )
        if not 0 <= self.boundary <= 1:
            raise ValueError(f"boundary must be from 0 to 1, but it is {self.boundary}")
        if not all(0 <= cfg < math.inf for cfg in (self.cfg, self.cfg_low)):
            raise ValueError(f"cfg must be 0 or more, but it is {self.cfg} and {self.cfg_low}")
        check_memory_span(0, self.rope_shift)

    def guidance(self, *, high: bool) -> float:
        """The cfg of one of the experts."""
        return self.cfg if high or self.cfg_low == 0 else self.cfg_low
