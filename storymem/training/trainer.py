"""The training loop, on accelerate."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from ..headless.adapters import STORYMEM_ADAPTER
from ..headless.models import WanVae
from ..headless.positions import install_memory_positions
from ..memory.frame import MemoryFrame
from ..sampling.conditioning import LatentCache, ShotEncoder, check_size
from ..sampling.lora import TARGETS
from ..sampling.lora_scale import LORA_ALPHA
from ..sampling.rope import MEMORY_ROPE_SHIFT
from . import checkpoints
from .data import Example, Examples, ExampleSettings, seeded
from .objective import NoiseLevels, TrainingInputs, flow_loss, lay_out

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainSettings:
    """How an expert is trained. The LoRA defaults are the release's."""

    out: Path
    steps: int = 10_000
    accumulate: int = 1  # examples per process and step
    learning_rate: float = 1e-4
    warmup: int = 100
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    all_weights: bool = False  # instead of a LoRA
    rank: int = 128
    alpha: float = LORA_ALPHA
    use_rslora: bool = True
    targets: tuple[str, ...] = TARGETS
    rope_shift: int = MEMORY_ROPE_SHIFT
    save_every: int = 500
    keep: int = 3
    save_dtype: torch.dtype = torch.float32
    workers: int = 0
    mixed_precision: str = "no"
    gradient_checkpointing: bool = True
    resume: bool = False
    examples: ExampleSettings = field(default_factory=ExampleSettings)
    levels: NoiseLevels = field(default_factory=NoiseLevels)

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "save_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, but it is {getattr(self, name)}")
        for name in ("learning_rate", "clip_norm", "alpha"):
            if not 0 < (value := getattr(self, name)) < math.inf:
                raise ValueError(f"{name} must be above 0 and finite, but it is {value}")
        for name, words in (
            ("keep", " (0 keeps all)"),
            ("warmup", ""),
            ("weight_decay", " and finite"),
            ("workers", ""),
        ):
            if not 0 <= (value := getattr(self, name)) < math.inf:
                raise ValueError(f"{name} must be 0 or more{words}, but it is {value}")
        check_size(self.examples.width, self.examples.height, self.examples.length)

    def identity(self) -> dict:
        """What must stay the same when training is resumed, as plain values."""
        names = (
            "accumulate", "learning_rate", "warmup", "weight_decay", "clip_norm", "all_weights",
            "rank", "alpha", "use_rslora", "rope_shift", "mixed_precision",
        )  # fmt: skip
        values = {name: getattr(self, name) for name in names}
        values |= {"targets": list(self.targets), "levels": asdict(self.levels)}
        examples = asdict(self.examples)
        return values | {"examples": {**examples, "modes": list(self.examples.modes)}}


class Trainer:
    """Trains one expert. ``texts`` gives the embedding ``[1, 512, D]`` of each caption."""

    def __init__(
        self,
        transformer: torch.nn.Module,
        vae: WanVae,
        texts: dict[str, torch.Tensor],
        groups: list,
        settings: TrainSettings,
    ):
        from accelerate import Accelerator

        self.settings = settings
        self.texts, self.groups, self.vae = texts, groups, vae
        self.accelerator = Accelerator(
            gradient_accumulation_steps=settings.accumulate,
            mixed_precision=settings.mixed_precision,
            cpu=vae.device.type == "cpu",
        )
        self._latents = LatentCache()
        self._prepare(transformer)

    def _prepare(self, transformer: torch.nn.Module) -> None:
        settings = self.settings
        install_memory_positions(transformer, rope_shift=settings.rope_shift)
        transformer.requires_grad_(settings.all_weights)
        if not settings.all_weights:
            config = checkpoints.lora_config(
                settings.rank, settings.alpha, settings.use_rslora, settings.targets
            )
            with torch.random.fork_rng():  # the same first weights in every process and run
                torch.manual_seed(settings.examples.seed)
                transformer.add_adapter(config, adapter_name=STORYMEM_ADAPTER)
            for _, parameter in checkpoints.trainable(transformer):
                parameter.data = parameter.data.float()  # small updates vanish in bf16
        if settings.gradient_checkpointing:
            transformer.enable_gradient_checkpointing()
        transformer.train()
        parameters = [p for _, p in checkpoints.trainable(transformer)]
        optimizer = torch.optim.AdamW(
            parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        self.transformer = transformer
        self.model, self.optimizer = self.accelerator.prepare(transformer, optimizer)

    def train(self, on_step: Callable[[int, float], None] | None = None) -> list[float]:
        """Train up to ``steps``; the loss of each step. ``on_step(step, loss)`` after each."""
        settings, accelerator = self.settings, self.accelerator
        identity = {**settings.identity(), "processes": accelerator.num_processes}
        step = 0
        if settings.resume:
            step = checkpoints.resume(
                settings.out, self.transformer, self.optimizer.optimizer, identity
            )
            logger.info("continuing after step %d", step)
        losses: list[float] = []
        total = 0.0
        for micro, (index, example) in enumerate(self._examples(step)):
            with accelerator.accumulate(self.model):
                loss = self.loss(example, index)
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(self.model.parameters(), settings.clip_norm)
                    warm = min(1.0, (step + 1) / max(1, settings.warmup))
                    for group in self.optimizer.param_groups:
                        group["lr"] = settings.learning_rate * warm
                self.optimizer.step()
                self.optimizer.zero_grad()
            total += float(accelerator.gather(loss.detach()[None]).mean()) / settings.accumulate
            if (micro + 1) % settings.accumulate:
                continue
            step += 1
            losses.append(total)
            if not torch.isfinite(torch.tensor(total)):
                raise ValueError(
                    f"the loss of step {step} is not finite; lower the learning rate, and check "
                    "the weights and clips"
                )
            if on_step:
                on_step(step, total)
            total = 0.0
            if step % settings.save_every == 0 or step == settings.steps:
                self._save(step, identity)
        return losses

    def _save(self, step: int, identity: dict) -> None:
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            folder = checkpoints.save(
                self.settings.out,
                step,
                self.transformer,
                self.optimizer.optimizer,
                expert=self.settings.levels.expert,
                settings=identity,
                dtype=self.settings.save_dtype,
                keep=self.settings.keep,
            )
            logger.info("saved %s", folder)

    def _examples(self, step: int):
        """``(index, example)`` of this process, from ``step`` on."""
        settings, accelerator = self.settings, self.accelerator
        world, rank = accelerator.num_processes, accelerator.process_index
        per_step = settings.accumulate * world
        total = settings.steps * per_step
        mine = range(step * per_step + rank, total, world)
        loader = torch.utils.data.DataLoader(
            Examples(self.groups, settings.examples, total),
            sampler=list(mine),
            batch_size=None,
            num_workers=settings.workers,
        )
        try:
            yield from zip(mine, loader, strict=True)
        except ValueError as error:  # a worker puts its traceback in front of what is wrong
            raise ValueError(str(error).rpartition("\nValueError: ")[2].strip()) from error

    def loss(self, example: Example, index: int) -> torch.Tensor:
        """The loss of example ``index``: its noise and noise level depend on the index alone."""
        inputs = self.inputs(example)
        generator = seeded(self.settings.examples.seed, "noise", index)
        noise = torch.randn(inputs.latents.shape, generator=generator)
        sigma = self.settings.levels.draw(generator)
        return flow_loss(self.model, inputs, noise.to(inputs.latents.device), sigma)

    def inputs(self, example: Example) -> TrainingInputs:
        """Encode an example, laid out as in sampling (paper 3.3); on the accelerator's device."""
        settings = self.settings.examples
        encoder = ShotEncoder(self.vae.encode, self._latents, self.vae.module)
        conditioning = encoder.condition(
            [MemoryFrame.from_pixels(pixels) for pixels in example.memory],
            example.given,
            width=settings.width,
            height=settings.height,
            length=settings.length,
        )
        shot = self.vae.encode(example.shot)
        laid = lay_out(conditioning, shot, self.texts[example.caption], self.vae.normalise)
        device = self.accelerator.device
        return TrainingInputs(
            laid.latents.to(device),
            laid.condition.to(device),
            laid.text.to(device),
            laid.memory_frames,
        )
