"""Thin ComfyUI adapters over the ``storymem`` library."""

from __future__ import annotations

from pathlib import Path

from comfy_api.latest import ComfyExtension, io

from . import board, evaluate, story, story_shots, tiny, write
from .host import server
from .loop import (
    draft_settings,
    expansion,
    open_close,
    opening_choice,
    plan_routes,
    shot_parts,
    sound_nodes,
    start_images,
    state_nodes,
)
from .memory import aesthetic_filter, bank, bank_folder, embedders, keyframes, rehearsal
from .page import (
    bank_ui,
    board_routes,
    input_pictures,
    library_routes,
    promote_routes,
    seen_routes,
    setup_routes,
    story_routes,
    take_routes,
    write_routes,
)
from .sampling import (
    choose_memory,
    conditioning,
    lora,
    lora_route,
    match_color,
    model_patch,
    parts,
    sampler,
    shot_loras,
)

# One module per subject; each lists its node classes in NODES, in the order of the node menu.
MODULES = (
    story,
    story_shots,
    write,
    bank,
    bank_folder,
    rehearsal,
    embedders,
    keyframes,
    aesthetic_filter,
    choose_memory,
    conditioning,
    model_patch,
    sampler,
    parts,
    lora,
    shot_loras,
    match_color,
    open_close,
    draft_settings,
    expansion,
    shot_parts,
    opening_choice,
    sound_nodes,
    state_nodes,
    board,
    evaluate,
    start_images,
    tiny,
)
# What the pack's own page asks the server for; each lists its handlers in ROUTES.
PAGE_MODULES = (
    bank_ui,
    input_pictures,
    seen_routes,
    story_routes,
    take_routes,
    write_routes,
    plan_routes,
    library_routes,
    board_routes,
    promote_routes,
    lora_route,
    setup_routes,
)


class StoryMemExtension(ComfyExtension):
    """The pack's nodes."""

    async def on_load(self) -> None:
        tiny.register_weights()
        server.serve_web_files(Path(__file__).absolute().parent.parent)
        for module in PAGE_MODULES:
            server.add_routes(module.ROUTES)

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [node for module in MODULES for node in module.NODES]
