"""The models of a run: texts, VAE, and the experts of the moment, on one GPU or several."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..files.messages import counted
from ..files.packages import explain_missing
from ..loop.render_version import HEADLESS
from ..sampling.conditioning import PATCH, LatentCache, ShotEncoder
from ..sampling.lora_file import load_memory_lora, one_method
from ..sampling.methods import MEMENTO
from ..sampling.recipe import T2V_BOUNDARY, Recipe
from ..selection.keyframe_query import KeyframeQuery, QueryScores
from . import parallel
from .adapters import (
    add_extra_lora,
    add_lora,
    check_extra_lora,
    check_lora_file,
    outline_of,
    set_lora_strength,
)
from .extra_lora import identity_note
from .lora_places import places_of_config
from .models import (
    I2V_CHANNELS,
    T2V_CHANNELS,
    Placement,
    WanVae,
    check_folder,
    encode_texts,
    load_experts,
    place,
    read_config,
    require_diffusers,
)
from .positions import install_memory_positions
from .sampling import ShotInputs, check_recipe, denoise
from .shot_loras import OnExpert, ShotAdapters

NO_LORAS: tuple[OnExpert, OnExpert] = ((), ())
ONLY_LOAD = "load i2v"  # a job of all processes without a shot
NOISE = ("high", "low")  # of the experts, in words
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelFiles:
    """Which weights a run uses. LoRA pairs are ``(high, low)``."""

    i2v: Path
    t2v: Path | None = None  # makes a first shot that has nothing to begin from
    lora: tuple[Path, Path] | None = None
    lora_scale: str = "auto"
    extra_lora: tuple[Path, Path] | None = None
    vae_tiling: bool = False
    vae: Path | None = None  # when i2v is a single file

    def check(self) -> None:
        """Raise ValueError for what is missing, before anything big is read."""
        require_diffusers()
        check_folder(self.i2v, I2V_CHANNELS)
        if self.t2v is not None:
            check_folder(self.t2v, T2V_CHANNELS, ("transformer", "transformer_2"))
        for path in (*(self.lora or ()), *(self.extra_lora or ())):
            if not path.is_file():
                raise ValueError(f"there is no LoRA file at {path}; check the path")
        for path in self.lora or ():
            check_lora_file(path, read_config(self.i2v, "transformer"), self.lora_scale)
        self.method()
        for path in dict.fromkeys(self.extra_lora or ()):
            check_extra_lora(path, read_config(self.i2v, "transformer"))
        if not (self.i2v / "transformer_2").is_dir():
            for _, low in filter(None, (self.lora, self.extra_lora)):
                logger.warning("%s has one expert, so %s is not used", self.i2v, low.name)
        if self.extra_lora and self.t2v is not None:
            logger.warning(
                "--extra-lora-high and --extra-lora-low go on the I2V experts; a first shot that "
                "--t2v makes from text alone is made without them"
            )
        if self.lora or self.extra_lora:
            try:
                import peft  # noqa: F401
            except ImportError as error:
                raise ValueError(explain_missing(["peft"])) from error

    def method(self) -> str:
        """The memory model that the LoRA files are of: ``storymem``, also without any, or
        ``memento``.

        Raises:
            ValueError: for one file of each.
        """
        has_low = self.lora and (self.i2v / "transformer_2").is_dir()
        files = (self.lora or ())[: 1 + bool(has_low)]
        return one_method({name: outline_of(f) for name, f in zip(NOISE, files, strict=False)})

    def has_query(self) -> bool:
        """Whether the LoRA files can choose a shot's memory."""
        return bool(self.lora) and self.method() == MEMENTO

    def extra_loras(self) -> list[tuple[Path, str]]:
        """The other LoRAs, each with what a shot's key says of how it is read."""
        return [
            (path, identity_note(path, places_of_config(read_config(self.i2v, "transformer"))))
            for path in self.extra_lora or ()
        ]

    def positions(self) -> int:
        """How many temporal positions the experts' table has, on either side of 0."""
        return int(read_config(self.i2v, "transformer").get("rope_max_seq_len", 1024))

    def t2v_boundary(self) -> float:
        """The boundary that the T2V experts were trained with."""
        index = check_folder(self.t2v, T2V_CHANNELS, ("transformer",))
        return float(index.get("boundary_ratio") or T2V_BOUNDARY)


class Engine:
    """Everything that a run asks of models. Loads on first use; one kind of experts at a time."""

    render_parts = HEADLESS
    takes_loras = True

    def __init__(self, files: ModelFiles, placement: Placement, recipe: Recipe):
        check_recipe(recipe)
        self.files = files
        self.placement = placement
        self.recipe = recipe
        self._texts: dict[str, torch.Tensor] = {}
        self._vae: WanVae | None = None
        self._latents = LatentCache()
        self._kind = ""
        self._experts: tuple[torch.nn.Module, ...] = ()
        self._pipeline = None
        self._queries: list[KeyframeQuery | None] = []
        self._adapters = ShotAdapters()

    # --- used by the process that drives ---------------------------------------------------

    def encode_texts(self, texts) -> None:
        """Encode all texts of the story that are not known yet."""
        wanted = [text for text in texts if text not in self._texts]
        if wanted:
            logger.info("encoding %s", counted(len(set(wanted)), "text"))
            self._texts |= encode_texts(self.files.i2v, self.placement, wanted)

    def text(self, text: str) -> torch.Tensor:
        """The embedding ``[1, L, D]`` of a text, on the CPU; ``encode_texts`` comes first."""
        return self._texts[text]

    @property
    def vae(self) -> WanVae:
        """The VAE, loaded when it is first asked for."""
        if self._vae is None:
            self._vae = WanVae.load(self.files.i2v, self.placement, tiling=self.files.vae_tiling)
        return self._vae

    def encoder(self) -> ShotEncoder:
        """The library's encoder of memory and given frames, with its cache."""
        return ShotEncoder(self.vae.encode, self._latents, self.vae.module)

    def experts_of_choice(self) -> tuple[str, ...]:
        """The experts that choose memory: ``high`` and ``low``, or ``high`` for both."""
        return NOISE if (self.files.i2v / "transformer_2").is_dir() else NOISE[:1]

    def score_memory(
        self,
        expert: str,
        memory: torch.Tensor,
        positions: Sequence[int],
        prompt: str,
        global_prompt: str,
    ) -> QueryScores:
        """What the keyframe query of the ``high``- or ``low``-noise expert says of memory frames.

        Args:
            memory: ``[M, 16, h, w]``, normalised.
            positions: of the frames, see ``query_positions``.
            prompt: the whole prompt; ``global_prompt``: the story's part of it.
        """
        self._ready()
        which = NOISE.index(expert)
        embedder = self._experts[which].condition_embedder.text_embedder
        place = next(embedder.parameters())  # where it is, also while the expert is offloaded

        @torch.no_grad()
        def embed(text: str) -> torch.Tensor:
            return embedder(self.text(text).to(place.device, place.dtype))[0].float()

        device = self.placement.device
        texts = (embed(text).to(device) for text in (prompt, global_prompt))
        return self._queries[which].score(memory.to(device), positions, *texts)

    def _ready(self) -> None:
        """Load the I2V experts, in all processes together."""
        if self._kind != "i2v" and parallel.world_size() > 1:
            parallel.send((ONLY_LOAD, None, 1.0, self.recipe))
        self._load("i2v")

    def sample(
        self,
        kind: str,
        inputs: ShotInputs,
        *,
        lora_strength: float = 1.0,
        loras: tuple[OnExpert, OnExpert] = NO_LORAS,
        is_cut: bool = False,
        on_step: Callable[[int, int], None] | None = None,
        on_identity: Callable[[torch.Tensor], None] | None = None,
    ) -> torch.Tensor:
        """Latents of a shot by the ``i2v`` or ``t2v`` experts, by all processes together.

        Args:
            loras: what the shot alone has on the I2V experts.
            is_cut: whether the shot begins with a cut.
            on_identity: gets the identity frame's latents ``[1, 16, 1, h, w]``, if there is one.
        """
        recipe = self.recipe.for_beginning(is_cut=is_cut and kind == "i2v")
        if parallel.world_size() > 1:
            parallel.send((kind, inputs, lora_strength, recipe, loras))
        return self.take_part(kind, inputs, lora_strength, recipe, loras, on_step, on_identity)

    # --- used by every process -------------------------------------------------------------

    def take_part(
        self,
        kind: str,
        inputs: ShotInputs | None,
        lora_strength: float,
        recipe: Recipe,
        loras: tuple[OnExpert, OnExpert] = NO_LORAS,
        on_step: Callable[[int, int], None] | None = None,
        on_identity: Callable[[torch.Tensor], None] | None = None,
    ) -> torch.Tensor | None:
        """This process's share of ``sample``; the others get the job from process 0.

        The T2V experts work with their own shift and boundary (``Recipe.for_text``). Of the kind
        ``ONLY_LOAD`` the I2V experts are loaded, and that is all.

        Returns:
            The shot's latents ``[1, 16, F, h, w]``, normalised, on the CPU.

        Raises:
            ValueError: when they hold NaN or infinite values.
        """
        if kind == ONLY_LOAD:
            self._load("i2v")
            return None
        experts = self._load(kind)
        if kind == "t2v":
            recipe = recipe.for_text(self.files.t2v_boundary())
            logger.info("%s", recipe.describe_text_shot())
        loras = loras if kind == "i2v" else NO_LORAS
        for expert, files in zip(experts, loras, strict=False):
            set_lora_strength(expert, lora_strength, self._adapters.put(expert, files))
            if parallel.world_size() > 1:
                _, _, frames, height, width = inputs.noise.shape
                parallel.fit_split(expert, frames * (height // PATCH) * (width // PATCH))
        latents = denoise(
            experts, inputs, recipe,
            device=self.placement.device, on_step=on_step, on_identity=on_identity,
        )  # fmt: skip
        self._pipeline.maybe_free_model_hooks()
        return latents

    def _load(self, kind: str) -> tuple[torch.nn.Module, ...]:
        if kind == self._kind:
            return self._experts
        self._experts, self._pipeline, self._kind = (), None, ""
        self._adapters.forget()
        if self.placement.device.type == "cuda":
            torch.cuda.empty_cache()
        folder = self.files.i2v if kind == "i2v" else self.files.t2v
        logger.info("loading the experts of %s", folder)
        experts = load_experts(folder, self.placement.dtype)
        if kind == "i2v":
            self._prepare(experts)
        if parallel.world_size() > 1:
            for expert in experts:
                parallel.spread(expert, self.placement.device)
        names = ("transformer", "transformer_2")
        self._pipeline = place(self.placement, **dict(zip(names, experts, strict=False)))
        self._experts, self._kind = experts, kind
        return experts

    def _prepare(self, experts: tuple[torch.nn.Module, ...]) -> None:
        """Memory positions and LoRA on the I2V experts."""
        self._queries = []
        for i, expert in enumerate(experts):
            install_memory_positions(expert, rope_shift=self.recipe.rope_shift)
            if self.files.lora:
                path = self.files.lora[i]
                lora, heads = load_memory_lora(path), expert.config.num_attention_heads
                self._queries.append(lora.query and KeyframeQuery(lora.query, heads))
                scale = self.files.lora_scale
                report = add_lora(expert, lora.modules, name=path.name, scale=scale)
                logger.info("%s (%s noise): %s", path.name, NOISE[i], report)
            if self.files.extra_lora:
                path = self.files.extra_lora[i]
                logger.info("%s (%s noise): %s", path.name, NOISE[i], add_extra_lora(expert, path))
