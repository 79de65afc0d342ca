"""How a shot is sampled: the released recipe for Wan 2.2 A14B, written once.

The defaults are the paper's. Nodes, headless runner and training take them from here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from .memory_refresh import EXACT, Refresh
from .rope import MEMORY_ROPE_SHIFT, check_memory_span
from .unipc import SAMPLER, SCHEDULER

STEPS = 40
CFG = 3.5
SHIFT = 4.0  # of the noise schedule, for both experts
I2V_BOUNDARY = 0.9  # Wan 2.2 I2V A14B: the high-noise expert while the timestep is >= 900 of 1000
T2V_SHIFT = 12.0  # Wan 2.2 T2V A14B's published configuration, as its boundary
T2V_BOUNDARY = 0.875
NEGATIVE_PROMPT = (  # Wan 2.2's own, as its authors publish it
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，"
    "低质量，JPEG压缩残留，丑陋的，残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，"
    "毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)


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
    boundary: float = I2V_BOUNDARY  # the high-noise expert works above this sigma
    sampler: str = SAMPLER
    rope_shift: int = MEMORY_ROPE_SHIFT  # latent frames between two memory frames
    scheduler: str = SCHEDULER
    denoise: float = 1.0  # share of the schedule that runs
    memory_refresh: str = EXACT  # or cached: memory runs along in few steps
    refresh_steps: str = ""  # of cached, counted from each expert's first; empty: the library's
    cfg_cut: float = 0.0  # of shots that begin with a cut; 0: the same as cfg

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps must be 1 or more, but it is {self.steps}")
        if not 0 <= self.shift < math.inf:
            raise ValueError(
                f"shift must be 0 or more (the recipe's is {SHIFT:g}), but it is {self.shift}"
            )
        if not 0 <= self.boundary <= 1:
            raise ValueError(f"boundary must be from 0 to 1, but it is {self.boundary}")
        for name in ("cfg", "cfg_low", "cfg_cut"):
            if not 0 <= (cfg := getattr(self, name)) < math.inf:
                raise ValueError(f"{name} must be 0 or more, but it is {cfg}")
        check_memory_span(0, self.rope_shift)
        Refresh.of(self.memory_refresh, self.refresh_steps)

    def refresh(self, whole: int) -> Refresh:
        """In which steps memory runs along, in a run of ``whole`` steps."""
        return replace(Refresh.of(self.memory_refresh, self.refresh_steps), whole=whole)

    def guidance(self, *, high: bool) -> float:
        """The cfg of one of the experts."""
        return self.cfg if high or self.cfg_low == 0 else self.cfg_low

    def for_beginning(self, *, is_cut: bool) -> Recipe:
        """The recipe of a shot by how it begins: one that begins with a cut may have a cfg of its
        own, which holds for both experts (Memento's 5 beside 3.5)."""
        if not is_cut or self.cfg_cut == 0:
            return self
        return replace(self, cfg=self.cfg_cut, cfg_low=0.0)

    def for_text(self, boundary: float = T2V_BOUNDARY) -> Recipe:
        """The recipe of a first shot that the T2V experts make from text alone.

        They have a shift and a boundary of their own, which hold while these settings are the
        released ones of the I2V experts; another value of the artist's holds for both.
        """
        return replace(
            self,
            shift=T2V_SHIFT if self.shift == SHIFT else self.shift,
            boundary=boundary if self.boundary == I2V_BOUNDARY else self.boundary,
        )

    def describe_text_shot(self) -> str:
        """One line of what a shot that the T2V experts make from text is sampled with."""
        shift = f"shift {self.shift:g}" if self.shift else "the models' own shift"
        return (
            f"this shot is made from text by the T2V pair with {shift} and boundary "
            f"{self.boundary:g}"
        )


def odd_pair(sampler: str, scheduler: str) -> str | None:
    """What half of the released pair of sampler and schedule means, to be told; None otherwise."""
    if sampler == SAMPLER and scheduler != SCHEDULER:
        return (
            f"sampler_name {SAMPLER} is the released sampler, but scheduler {scheduler} is not its "
            f"schedule, so shots differ from the released run; set scheduler to {SCHEDULER}"
        )
    if sampler != SAMPLER and scheduler == SCHEDULER:
        return (
            f"scheduler {SCHEDULER} is the released schedule, but sampler_name {sampler} is not "
            f"its sampler, so shots differ from the released run; set sampler_name to {SAMPLER}, "
            "or scheduler to simple"
        )
    return None
