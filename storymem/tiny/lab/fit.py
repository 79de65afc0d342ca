"""What both trainings share: weights, their average, optimizers, a rate that follows the clock."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import torch

from .muon import StackedMuon

SHARD_BYTES = 15_000_000  # a file of the state; small enough to carry anywhere
WARM_UP_STEPS = 300
# What is written, and how: moments and the average need no more than half precision to resume.
STATE_PARTS = {
    "weights": torch.float32,
    "ema": torch.float16,
    "moment1": torch.bfloat16,
    "moment2": torch.bfloat16,
}


class Training:
    """A module in training, resumable from a folder.

    ``seconds`` is the training time spent, over all commands; the learning rate follows its share
    of the total, so that a training may be cut into commands of any length. AdamW steps the
    parameters, Muon those that ``by_muon`` (name, parameter) picks, both at one learning rate;
    ``share`` (name) is the part of it that a parameter gets.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        *,
        lr: float,
        betas: tuple[float, float],
        ema_decay: float,
        clip: float = 0.5,
        weight_decay: float = 0.0,
        by_muon: Callable[[str, torch.nn.Parameter], bool] = lambda name, parameter: False,
        share: Callable[[str], float] = lambda name: 1.0,
    ):
        self.module, self.lr, self.ema_decay, self.clip = module, lr, ema_decay, clip
        self.names = [name for name, _ in module.named_parameters()]
        self.parameters = list(module.parameters())
        self.device = self.parameters[0].device
        self.ema = [p.detach().clone() for p in self.parameters]
        named = list(zip(self.names, self.parameters, strict=True))
        self.is_muons = [by_muon(name, p) for name, p in named]
        groups: dict[bool, dict[float, list[torch.nn.Parameter]]] = {True: {}, False: {}}
        for (name, p), muons in zip(named, self.is_muons, strict=True):
            groups[muons].setdefault(share(name), []).append(p)
        matrices, others = (
            [{"params": group, "share": part} for part, group in groups[muons].items()]
            for muons in (True, False)
        )
        self.optimizer = torch.optim.AdamW(
            others,
            lr=lr,
            betas=betas,
            weight_decay=weight_decay,
            fused=self.device.type == "cuda",
        )
        self.muon = StackedMuon(matrices, lr=lr, weight_decay=weight_decay) if matrices else None
        self.steps, self.seconds = 0, 0.0

    def rate(self, total_seconds: float) -> float:
        """Linear warm-up, then a cosine down to 1 % by the share of time spent."""
        done = min(1.0, self.seconds / total_seconds)
        fall = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done))
        return self.lr * min(1.0, (self.steps + 1) / WARM_UP_STEPS) * fall

    def apply(self, rate: float) -> torch.Tensor:
        """One step on the gradients that are there; their norm."""
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        for optimizer in filter(None, (self.optimizer, self.muon)):
            for group in optimizer.param_groups:
                group["lr"] = rate * group["share"]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        decay = min(self.ema_decay, (self.steps + 1) / (self.steps + 10))
        torch._foreach_lerp_(self.ema, self.parameters, 1 - decay)
        return norm

    @torch.no_grad()
    def put(self, values) -> list[torch.Tensor]:
        """Give the module these values; what it had."""
        before = [p.detach().clone() for p in self.parameters]
        for p, value in zip(self.parameters, values, strict=True):
            p.copy_(value)
        return before

    def save(self, folder: Path) -> None:
        """Write the state as files of at most ``SHARD_BYTES`` each (``weights-0.safetensors``)."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        owners = [self.muon if muons else self.optimizer for muons in self.is_muons]
        moments = [o.state[p] for o, p in zip(owners, self.parameters, strict=True)]
        values = {
            "weights": self.parameters,
            "ema": self.ema,
            "moment1": [m.get("momentum_buffer", m.get("exp_avg")) for m in moments],
            "moment2": [m.get("exp_avg_sq") for m in moments],  # Muon has none
        }
        for part, dtype in STATE_PARTS.items():
            shards, size = [{}], 0
            for name, value in zip(self.names, values[part], strict=True):
                if value is None:
                    continue
                value = value.detach().to(dtype).cpu().contiguous()
                size += value.nbytes
                if size > SHARD_BYTES and shards[-1]:
                    shards.append({})
                    size = value.nbytes
                shards[-1][name] = value
            for number, shard in enumerate(shards):
                save_file(shard, str(folder / f"{part}-{number}.safetensors"))
        spent = {"steps": self.steps, "seconds": self.seconds}
        (folder / "spent.json").write_text(json.dumps(spent))

    @torch.no_grad()
    def load(self, folder: Path) -> bool:
        """Resume from ``folder``; False when none is there. Missing moments start at zero."""
        from safetensors.torch import load_file

        if not (folder / "spent.json").is_file():
            return False
        found: dict[str, dict[str, torch.Tensor]] = {part: {} for part in STATE_PARTS}
        for part in found:
            for path in sorted(folder.glob(f"{part}-*.safetensors")):
                found[part] |= load_file(str(path))
        spent = json.loads((folder / "spent.json").read_text())
        self.steps, self.seconds = spent["steps"], spent["seconds"]
        step = torch.tensor(float(self.steps))
        if self.device.type == "cuda":
            step = step.to(self.device)
        for i, (name, p) in enumerate(zip(self.names, self.parameters, strict=True)):
            p.copy_(found["weights"][name])
            self.ema[i].copy_(found["ema"].get(name, found["weights"][name]))
            first = found["moment1"].get(name, torch.zeros_like(p)).to(p)
            if self.is_muons[i]:
                self.muon.state[p] = {"momentum_buffer": first}
                continue
            self.optimizer.state[p] = {
                "step": step.clone(),
                "exp_avg": first,
                "exp_avg_sq": found["moment2"].get(name, torch.zeros_like(p)).to(p),
            }
        return True

    def recover(self, folder: Path) -> None:
        """Back to the saved state with half the rate, after a step that blew up."""
        if not self.load(folder):
            raise RuntimeError(f"The loss is not finite from the start; lower --lr ({self.lr}).")
        self.lr /= 2
