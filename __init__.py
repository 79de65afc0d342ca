"""ComfyUI-StoryMem: multi-shot stories with a memory of keyframes, as native ComfyUI nodes."""

from __future__ import annotations

WEB_DIRECTORY = "./web"  # every .js below it is loaded by the page


async def comfy_entrypoint():
    """What ComfyUI calls to load the pack (V3 API)."""
    from .nodes import StoryMemExtension

    return StoryMemExtension()
