"""Load Embedder: what says how alike two frames are."""

from __future__ import annotations

import logging
from functools import partial

from comfy_api.latest import io

from ...storymem.memory.embedders import Embedder as AnyEmbedder
from ...storymem.memory.embedders import LayoutEmbedder
from ...storymem.models.clip_embedder import ClipEmbedder
from ...storymem.models.clip_text import load_clip_text
from ...storymem.models.clip_vision import ACTIVATIONS, ClipTower, load_clip
from ...storymem.models.weights import B32_NAMES, CLIP_B32, WeightsSource
from ...storymem.selection.algorithm import SIMILARITY_THRESHOLD
from ..host.clip import clip_parts
from ..host.folders import shortens_host_paths
from ..host.models import HostModel, file_options, weights_path
from ..host.once import warn_once_per_run
from ..types import Embedder
from .known_embedders import KNOWN

CLIP_WORKING_MEMORY = 512 * 1024**2  # a batch of 16 at 224 pixels in ViT-L/14, generously
logger = logging.getLogger(__name__)


def open_tower(source: WeightsSource, name: str, patterns: tuple, *, activation: str, fetch: bool):
    """A CLIP image tower under the host's management, and what the file says about it."""
    path = weights_path(source, name, patterns, fetch=fetch)
    tower: ClipTower = load_clip(path, activation=activation, parts=clip_parts())
    return HostModel(lambda: tower.module, working_memory=CLIP_WORKING_MEMORY), tower, path


def text_model(path: str, tower: ClipTower) -> HostModel:
    """The text tower of the same file; it is read when a text is first compared with pictures."""

    def build():
        if (module := load_clip_text(path, tower, parts=clip_parts())) is None:
            raise ValueError(
                f"{path} holds only an image tower, so it cannot compare pictures with words; "
                "choose a whole CLIP ViT-B/32 file, such as OpenAI's ViT-B-32.pt"
            )
        return module

    return HostModel(build, working_memory=CLIP_WORKING_MEMORY)


def load_embedder(kind: str, clip_name: str, activation: str, fetch: bool) -> AnyEmbedder:
    """What Load Embedder gives for its widgets."""
    if kind == "no_weights":
        return LayoutEmbedder()
    model, tower, path = open_tower(
        CLIP_B32, clip_name, B32_NAMES, activation=activation, fetch=fetch
    )
    words, token_ids = text_model(path, tower), clip_parts().token_ids
    token_ids("")  # a package that is missing is told before any shot, not after the first

    def release():
        model.release()
        words.release()

    return ClipEmbedder(
        model,
        tower.shape,
        openai=tower.openai,
        encode_tokens=words,
        token_ids=token_ids,
        identity=tower.identity,
        release=release,
    )


class LoadEmbedder(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemLoadEmbedder",
            display_name="Load Embedder",
            category="StoryMem/loaders",
            description="Loads the embedder that Keyframe Select compares frames with: CLIP "
            "ViT-B/32 as in the paper, or a rough measure that needs no weights.",
            inputs=[
                io.Combo.Input(
                    "embedder",
                    options=["clip", "no_weights"],
                    default="clip",
                    tooltip="clip: by meaning, as in the paper. no_weights: by layout and colours, "
                    "nothing to download.",
                ),
                io.Combo.Input(
                    "clip_name",
                    options=file_options(CLIP_B32.folder),
                    default="auto",
                    tooltip="CLIP file in models/clip_vision (open_clip, OpenAI or transformers "
                    "layout). auto looks for a ViT-B/32, which the 0.9 threshold is calibrated "
                    "for.",
                ),
                io.Combo.Input(
                    "activation",
                    options=list(ACTIVATIONS),
                    default="auto",
                    optional=True,
                    advanced=True,
                    tooltip="OpenAI's weights need quick_gelu, most others gelu. auto decides by "
                    "the file name. The wrong one skews all similarities.",
                ),
                io.Boolean.Input(
                    "download",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Download OpenAI's ViT-B/32 (354 MB) if it is missing. Off: nothing is "
                    "ever downloaded.",
                ),
            ],
            outputs=[
                Embedder.Output(
                    display_name="embedder", tooltip="For Keyframe Select's embedder input."
                )
            ],
        )

    # The host runs asynchronous nodes first: a file that cannot be used is told before any shot.
    @classmethod
    @shortens_host_paths
    async def execute(cls, embedder, clip_name, activation="auto", download=False):
        load = partial(load_embedder, embedder, clip_name, activation, download)
        loaded = load()
        if embedder != "no_weights" and (note := loaded.threshold_note(SIMILARITY_THRESHOLD)):
            warn_once_per_run(logger, note)
        KNOWN.add(loaded, load)
        return io.NodeOutput(loaded)


NODES = [LoadEmbedder]
