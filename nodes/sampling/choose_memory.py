"""Choose Memory: which frames each expert remembers for a shot, by Memento's keyframe query."""

from __future__ import annotations

import comfy.model_management as management
import torch
from comfy_api.latest import io

from ...storymem.loop.memory_choice import (
    HIGH,
    LOW,
    Pool,
    describe_choice,
    has_to_score,
    keep_chosen,
    pools_of,
)
from ...storymem.memory.policies import POLICIES
from ...storymem.sampling.request import memory_size
from ...storymem.selection.keyframe_query import TEXT_TOKENS, KeyframeQuery, QueryScores
from ..host.folders import shortens_host_paths
from ..host.wan_models import I2V_CHANNELS, require_pair, require_text, require_vae, require_wan
from ..page.bank_ui import HIDDEN, show_bank
from ..page.node_notice import tell_node
from ..types import Bank, Shot
from .conditioning import encoder_of
from .inputs import check_typed_size, size_inputs
from .memory_method import query_of, require_same_method

WINDOW = POLICIES[0]
COPIES = 8  # of a frame's tokens that are there at once: as they are, keys, values, turned ones


def queries_of(models: dict) -> dict[str, KeyframeQuery]:
    """The keyframe query of each expert.

    Raises:
        ValueError: for a model without one, and for one expert of each method.
    """
    require_same_method(models[HIGH], models.get(LOW))
    found = {expert: query_of(model) for expert, model in models.items()}
    for expert, query in found.items():
        if query is None:
            raise ValueError(
                f"model_{expert} has no keyframe query, by which Memento chooses memory; load "
                "Memento's LoRA on both models with Load Story LoRA, or take Choose Memory out: "
                "with StoryMem's LoRA the Memory Bank's policy chooses"
            )
    return found


def text_of(conditioning, name: str) -> torch.Tensor:
    """The encoded text ``[L, width]``, filled up with zeros to 512 tokens, as the release has it.

    Raises:
        ValueError: for a conditioning of several texts.
    """
    if len(conditioning) != 1 or conditioning[0][0].shape[0] != 1:
        raise ValueError(
            f"{name} must be one encoded text, but it holds {len(conditioning)} conditionings of "
            f"{[list(entry[0].shape) for entry in conditioning]}; connect CLIP Text Encode to it "
            "directly"
        )
    text = conditioning[0][0][0]
    missing = max(0, TEXT_TOKENS - text.shape[0])
    return torch.cat([text, text.new_zeros(missing, text.shape[1])])


def score_pool(
    model, query: KeyframeQuery, latents: torch.Tensor, positions, *texts: torch.Tensor
) -> QueryScores:
    """Scores of one expert's pool, computed in float32 on the device of its model.

    Args:
        latents: raw, ``[1, 16, M, h, w]``.
        texts: the prompt and the global caption, as ``text_of`` gives them.
    """
    device = model.load_device
    tokens = latents[0, 0, 0].numel() // 4  # of one frame
    needed = (COPIES * tokens + 4 * query.width) * query.width * 4  # bytes; and weights of four
    # The whole model, which the sampler needs next: its LoRAs may change the text's embedding.
    management.load_models_gpu([model], memory_required=needed)
    embedding = model.get_model_object("diffusion_model").text_embedding
    kind = model.model.manual_cast_dtype or model.model.get_dtype()
    embedded = [embedding(text[None].to(device, kind))[0].float() for text in texts]
    memory = model.model.process_latent_in(latents.to(device, torch.float32))
    return query.score(memory[0].transpose(0, 1), positions, *embedded)  # [16, M, h, w] -> [M, ...]


class ChooseMemory(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        sizes = {one.id: one for one in size_inputs()}
        return io.Schema(
            node_id="StoryMemChooseMemory",
            display_name="Choose Memory",
            category="StoryMem/memory",
            search_aliases=["Memento", "keyframe query", "learned memory", "记忆选择"],
            description="Chooses what a shot remembers with Memento's keyframe query: of all "
            "frames of the bank, six that are closest to the shot's prompt and two that are "
            "closest to the story's global caption, for each expert its own. What is not chosen is "
            "gone from the bank; pinned frames always stay. Goes between Shot Loop Open and both "
            "M2V Sampler and Remember.",
            inputs=[
                io.Model.Input(
                    "model_high", tooltip="Wan 2.2 I2V A14B, high noise, with Memento's LoRA."
                ),
                io.Model.Input(
                    "model_low",
                    optional=True,
                    tooltip="Wan 2.2 I2V A14B, low noise, with Memento's LoRA. Not connected: "
                    "model_high chooses for both.",
                ),
                Bank.Input("bank", tooltip="The memory of Shot Loop Open."),
                Shot.Input(
                    "shot",
                    optional=True,
                    tooltip="The shot from Shot Loop Open: how long ago each frame was counts "
                    "from it.",
                ),
                io.Vae.Input("vae", tooltip="The Wan 2.1 VAE."),
                io.Conditioning.Input("positive", tooltip="The encoded prompt of the shot, whole."),
                io.Conditioning.Input(
                    "global_positive",
                    tooltip="The encoded global caption: Shot Loop Open's global_prompt through "
                    "CLIP Text Encode.",
                ),
                sizes["width"],
                sizes["height"],
                io.Combo.Input(
                    "size_rule",
                    options=sizes["size_rule"].options,
                    default="exact",
                    optional=True,
                    advanced=True,
                    tooltip="As on M2V Sampler, so that memory is encoded once for both.",
                ),
            ],
            outputs=[
                Bank.Output(
                    display_name="bank",
                    tooltip="The memory with what was chosen, for M2V Sampler and Remember.",
                ),
                io.String.Output(
                    display_name="report",
                    tooltip="One line per frame: whether it stays, and its scores for each expert.",
                ),
            ],
            hidden=HIDDEN,
        )

    @classmethod
    def validate_inputs(cls, width=None, height=None):
        return check_typed_size(width, height, None)

    @classmethod
    @shortens_host_paths
    def execute(
        cls, model_high, bank, vae, positive, global_positive, width, height,
        model_low=None, shot=None, size_rule="exact",
    ):  # fmt: skip
        models = {HIGH: model_high} | ({} if model_low is None else {LOW: model_low})
        for expert, model in models.items():
            require_wan(model, f"model_{expert}", I2V_CHANNELS)
        require_pair(model_high, model_low, "model_high", "model_low")
        require_vae(vae)
        queries = queries_of(models)
        for name, text in (("positive", positive), ("global_positive", global_positive)):
            require_text(text, model_high, name)
        texts = text_of(positive, "positive"), text_of(global_positive, "global_positive")
        if bank.policy != WINDOW:
            tell_node(
                cls.hidden,
                f"policy of the Memory Bank is {bank.policy}, but Choose Memory chooses instead; "
                "set it to window",
            )
        pools = pools_of(bank, shot, tuple(models))
        scores = {}
        to_score = {expert: pool for expert, pool in pools.items() if has_to_score(bank, pool)}
        if to_score:
            size = memory_size(bank.frames, shot, width=width, height=height, size_rule=size_rule)
            latents = _encoded(vae, to_score, size)
            # The high-noise expert last: it is the one that the sampler begins with.
            for expert in sorted(to_score, key=(LOW, HIGH).index):
                scores[expert] = score_pool(
                    models[expert], queries[expert], latents[expert],
                    pools[expert].positions, *texts,
                )  # fmt: skip
        chosen = keep_chosen(bank, shot, pools, scores)
        report = describe_choice(chosen, bank)
        return io.NodeOutput(chosen, report, ui=show_bank(chosen, cls.hidden))


def _encoded(vae, pools: dict[str, Pool], size: tuple[int, int]) -> dict[str, torch.Tensor]:
    """Raw latents ``[1, 16, M, h, w]`` of each pool, before any model is loaded for it."""
    encoder = encoder_of(vae)
    return {expert: encoder.memory(pool.frames, *size) for expert, pool in pools.items()}


NODES = [ChooseMemory]
