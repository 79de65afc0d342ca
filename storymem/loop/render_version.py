"""Versions of the code that decides how a shot looks, raised by hand when its pixels change.

A shot's key holds the versions of the parts that made it, and no text of the code: finished shots
outlive a reworded message, a new tooltip and a file that moved. When the code of a part changes,
``tests/loop/test_render_version.py`` asks whether the pixels do; ``tests/helpers/render_digest.py``
writes down what it compares with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

FIRST = 1  # left out of keys, so that a new or divided part changes none


@dataclass(frozen=True)
class Part:
    """Code that computes pixels together.

    ``sources`` are files of the pack, each as a whole or, after ``::``, one function, class,
    method or constant of it.
    """

    version: int
    sources: tuple[str, ...]


PARTS = {
    # What the model is told of memory and of the frames before: both samplers of the pack use it.
    "conditioning": Part(
        1,
        (
            "storymem/sampling/conditioning.py",
            "storymem/sampling/rope.py",
            "storymem/sampling/methods.py",
            "storymem/sampling/memory_layout.py",
            "storymem/sampling/shot_layout.py",
            "storymem/sampling/request.py",
            "storymem/sampling/recipe.py",
            "storymem/sampling/draft.py",
            "storymem/sampling/memory_refresh.py",
            "storymem/sampling/continuity.py::OVERLAP_FRAMES",
            "storymem/script/continuity.py::MODE_OF_CONTINUITY",
            "storymem/sampling/continuity.py::ShotPlan",
            "storymem/sampling/continuity.py::resolve_mode",
            "storymem/sampling/continuity.py::take_overlap_frames",
        ),
    ),
    # M2V Sampler and its parts for stock samplers.
    "sampling": Part(
        1,
        (
            "nodes/sampling/sampler.py",
            "nodes/sampling/shot_run.py",
            "nodes/sampling/unipc_sampler.py",
            "nodes/sampling/draft_pass.py",
            "nodes/sampling/parts.py",
            "nodes/sampling/expert_guider.py",
            "storymem/sampling/unipc.py",
            "storymem/sampling/experts.py",
            "nodes/sampling/conditioning.py",
            "nodes/sampling/model_patch.py",
            "nodes/sampling/cached_memory.py",
            "nodes/sampling/memory_store.py",
            "nodes/sampling/identity_frame.py",
            "nodes/sampling/memory_flow.py",
            "storymem/sampling/memory_flow.py",
            "storymem/sampling/split_attention.py",
            "nodes/host/attention.py",
            "nodes/host/tensors.py",
        ),
    ),
    # A scale that an update changes is in the key of its files' shots alone: ``scale_change``.
    "lora": Part(
        1,
        (
            "nodes/sampling/lora.py",
            "nodes/sampling/memory_method.py",
            "storymem/sampling/lora.py",
            "storymem/sampling/lora_file.py",
            "storymem/sampling/lora_release.py",
            "storymem/sampling/lora_scale.py",
            "storymem/sampling/query_weights.py",
            "storymem/sampling/methods.py",
        ),
    ),
    # Which frames Memento's experts choose for a shot.
    "choice": Part(
        1,
        (
            "nodes/sampling/choose_memory.py",
            "nodes/sampling/memory_method.py::query_of",
            "storymem/selection/keyframe_query.py",
            "storymem/loop/memory_choice.py",
            "storymem/sampling/memory_layout.py",
        ),
    ),
    # In the keys of shots that have LoRAs of their own, and in no others: ``LoraFiles``.
    "shot loras": Part(
        1,
        (
            "nodes/sampling/shot_loras.py",
            "nodes/sampling/patched_models.py",
            "storymem/headless/shot_loras.py",
            "storymem/sampling/lora_names.py",
            "storymem/script/loras.py",
        ),
    ),
    "colour": Part(1, ("nodes/sampling/match_color.py", "storymem/sampling/colour_match.py")),
    # Which frames of a shot are kept as keyframes.
    "selection": Part(
        1,
        (
            "nodes/memory/keyframes.py",
            "nodes/memory/aesthetic_filter.py",
            "nodes/memory/embedders.py",
            "nodes/memory/scorers.py",
            "nodes/host/clip.py",
            "nodes/host/models.py::HostModel",
            "nodes/memory/known_embedders.py",
            "storymem/selection/keyframes.py",
            "storymem/selection/even.py",
            "storymem/selection/algorithm.py",
            "storymem/selection/scorers.py",
            "storymem/memory/embedders.py",
            "storymem/selection/preprocess.py",
            "storymem/files/images.py::on_white",
            "storymem/files/images.py::to_uint8",
            "storymem/models/clip_parts.py",
            "storymem/models/clip_vision.py",
            "storymem/models/clip_embedder.py",
            "storymem/models/clip_text.py",
            "storymem/models/clip_words.py",
            "storymem/models/laion.py",
            "storymem/models/hpsv3.py",
        ),
    ),
    # What a shot sees of the bank.
    "memory": Part(
        1,
        (
            "nodes/memory/bank.py::MemoryBankNode",
            "nodes/memory/bank.py::Remember",
            "nodes/memory/bank.py::EditMemoryBank",
            "nodes/memory/bank.py::make_bank",
            "nodes/memory/bank.py::edit_bank",
            "nodes/memory/bank_folder.py::LoadMemoryBank",
            "storymem/memory/bank.py",
            "storymem/memory/frame.py",
            "storymem/files/images.py::on_white",
            "storymem/files/images.py::to_uint8",
            "storymem/memory/policies.py",
            "storymem/memory/retrieval.py",
            "storymem/memory/weights.py",
            "storymem/script/remembered.py",
            "storymem/script/cast.py",
            "storymem/memory/edits.py::BankEdits",
            "storymem/memory/edits.py::undo_edits",
            "storymem/memory/edits_from.py",
            "storymem/loop/run_memory.py::bank_at_start",
            "storymem/loop/run_memory.py::bank_of_run",
            "storymem/loop/run_memory.py::begin_memory",
            "storymem/loop/draft_memory.py",
            "storymem/loop/moments.py",
            "storymem/loop/shot_memory.py::shot_memory",
            "storymem/loop/run_memory.py::with_settings",
        ),
    ),
    # From decoded frames to the film, and to what the next shot continues from.
    "hand-over": Part(
        1,
        (
            "nodes/loop/expansion.py::body_values",
            "storymem/script/captions.py",
            "storymem/script/prompt_weights.py",
            "storymem/loop/begin.py::begin_shot",
            "storymem/loop/given_edits.py::given_tail",
            "storymem/loop/shots.py::finish_shot",
            "storymem/loop/shots.py::join_parts",
            "storymem/loop/shot_store.py::TAIL_FRAMES",
            "storymem/loop/shot_store.py::_eight_bit",
            "storymem/files/images.py::on_white",
            "storymem/files/images.py::to_uint8",
        ),
    ),
    "headless": Part(
        1,
        (
            "storymem/headless/sampling.py",
            "storymem/headless/engine.py",
            "storymem/sampling/unipc.py",
            "storymem/sampling/experts.py",
            "storymem/headless/models.py",
            "storymem/headless/adapters.py",
            "storymem/headless/extra_lora.py",
            "storymem/headless/lora_places.py",
            "storymem/headless/positions.py",
            "storymem/headless/cached_memory.py",
            "storymem/headless/parallel.py",
            "storymem/headless/judges.py",
            "storymem/headless/method.py",
            "storymem/headless/identity_frame.py",
            "storymem/headless/shot_inputs.py",
            "storymem/headless/memory_choice.py",
            "storymem/headless/remember.py",
            "storymem/headless/runner.py::StoryRun._make",
            "storymem/headless/runner.py::StoryRun.prompt_of",
            "storymem/headless/runner.py::StoryRun._request",
            "storymem/headless/runner.py::StoryRun._sample",
            "storymem/headless/runner.py::StoryRun.length_of",
        ),
    ),
    # The demo's model.
    # 2: its second edition, with other words and another world.
    "tiny": Part(
        2,
        (
            "nodes/tiny.py",
            "storymem/tiny/engine.py",
            "storymem/tiny/dit.py",
            "storymem/headless/cached_memory.py",
            "storymem/tiny/vae.py",
            "storymem/tiny/text.py",
            "storymem/tiny/demo.py",
            "storymem/tiny/picture.py",
            "storymem/tiny/world.py",
        ),
    ),
}
IN_EVERY_LOOP = ("memory", "hand-over")
HEADLESS = (*IN_EVERY_LOOP, "conditioning", "selection", "lora", "headless")
PARTS_OF_NODES = {
    "StoryMemM2VSampler": ("conditioning", "sampling"),
    "StoryMemSampler": ("sampling",),
    "StoryMemSigmas": ("sampling",),
    "StoryMemM2VGuider": ("sampling",),
    "StoryMemM2VConditioning": ("conditioning", "sampling"),
    "StoryMemM2VModelPatch": ("conditioning", "sampling"),
    "StoryMemLoadLoRA": ("lora",),
    "StoryMemChooseMemory": ("choice",),
    "StoryMemApplyShotLoRAs": ("shot loras",),
    "StoryMemMatchColor": ("colour",),
    "StoryMemKeyframeSelect": ("selection",),
    "StoryMemAestheticFilter": ("selection",),
    "StoryMemLoadEmbedder": ("selection",),
    "StoryMemLoadScorer": ("selection",),
    "StoryMemMemoryBank": ("memory",),
    "StoryMemLoadMemoryBank": ("memory",),
    "StoryMemEditMemoryBank": ("memory",),
    "StoryMemRemember": ("memory",),
    "StoryMemTinyTextEncoder": ("tiny",),
    "StoryMemTinyPortrait": ("tiny",),
}


def render_versions(parts: Iterable[str]) -> dict[str, int]:
    """Versions of these parts, for a shot's key; the first version is left out."""
    return {name: PARTS[name].version for name in sorted(set(parts)) if PARTS[name].version > FIRST}


def versions_of_nodes(node_ids: Iterable[str]) -> dict[str, int]:
    """Versions of the parts that a loop with these kinds of nodes uses, for its shots' keys.

    Args:
        node_ids: ``StoryMemM2VSampler`` and so on; other packs' nodes have no part here.
    """
    parts = (part for node_id in node_ids for part in PARTS_OF_NODES.get(node_id, ()))
    return render_versions((*IN_EVERY_LOOP, *parts))
