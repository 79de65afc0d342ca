"""Thin ComfyUI adapters over the ``storymem`` library."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from comfy_api.latest import ComfyExtension, io

# One module per subject; each lists its node classes in NODES.
MODULES = (
    "story",
    "memory.bank",
    "memory.bank_folder",
    "memory.embedders",
    "memory.keyframes",
    "memory.aesthetic_filter",
    "sampling.conditioning",
    "sampling.model_patch",
    "sampling.sampler",
    "sampling.lora",
    "sampling.match_color",
    "loop.open_close",
    "loop.expansion",
    "loop.state_nodes",
    "evaluate",
    "loop.start_images",
    "tiny",
)
# What the pack's own page asks the server for; each lists its handlers in ROUTES.
PAGE_MODULES = ("page.bank_ui", "page.story_routes")


class StoryMemExtension(ComfyExtension):
    """The pack's nodes."""

    async def on_load(self) -> None:
        import_module(".tiny", __package__).register_weights()
        server = import_module(".host.server", __package__)
        server.serve_web_files(Path(__file__).absolute().parent.parent)
        for name in PAGE_MODULES:
            server.add_routes(import_module(f".{name}", __package__).ROUTES)

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        nodes: list[type[io.ComfyNode]] = []
        for name in MODULES:
            nodes += import_module(f".{name}", __package__).NODES
        return nodes
