"""The graph that a story was made with, as its films keep it."""

from __future__ import annotations

from pathlib import Path

from ..files.json_text import parse_json
from ..files.video import open_video
from .library import story_videos

MOST_FILMS = 8  # that are looked into: the latest ones
KINDS = ("workflow", "prompt")  # as the page saves it, and as it is run


def stored_graph(folder: Path) -> dict[str, dict]:
    """The latest graph in the films of a story's folder, by kind; empty when none has one: ComfyUI
    was started with ``--disable-metadata``, or another program wrote them."""
    for video in story_videos(folder)[:MOST_FILMS]:
        texts = _metadata(video)
        found = {kind: graph for kind in KINDS if (graph := _graph(texts.get(kind)))}
        if found:
            return found
    return {}


def _metadata(video: Path) -> dict[str, str]:
    import av

    try:
        with open_video(video) as container:
            return dict(container.metadata)
    except (av.FFmpegError, OSError, ValueError):
        return {}


def _graph(text: str | None) -> dict | None:
    try:
        graph = parse_json(text.encode()) if text else None
    except ValueError:
        return None
    return graph if isinstance(graph, dict) else None
