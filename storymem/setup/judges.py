"""What Load Embedder and Load Scorer need, also where they look for it themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..models.weights import B32_NAMES, HPSV3_NAMES, L14_NAMES, LAION_NAMES, find_file
from .kinds import TITLES
from .model_files import ModelFile
from .report import Finding
from .workflow import Node

FOLDERS = ("clip_vision", "aesthetics")
B32, L14 = "ViT-B/32", "ViT-L/14"
AUTO = "auto"


def find_judges(nodes: Mapping[str, Node], files: Sequence[ModelFile]) -> Iterator[Finding]:
    """What of it is not there, or is another file than is needed."""
    for node in nodes.values():
        if node.kind == "StoryMemLoadEmbedder" and node.inputs.get("embedder") != "no_weights":
            yield from _clip(node, B32, B32_NAMES, files, "warning")
        if node.kind == "StoryMemLoadScorer":
            if node.inputs.get("scorer") == "hpsv3":
                yield from _score(node, "hpsv3", HPSV3_NAMES, files)
            elif node.inputs.get("scorer") == "laion":
                yield from _score(node, "laion", LAION_NAMES, files)
                yield from _clip(node, L14, L14_NAMES, files, "error")


def _clip(
    node: Node, name: str, patterns: Sequence[str], files: Sequence[ModelFile], level: str
) -> Iterator[Finding]:
    found = _chosen(node, "clip_name", patterns, "clip_vision", files)
    values = {"node": node.kind, "clip": name}
    if found is None:
        if node.inputs.get("clip_name", AUTO) == AUTO and not node.inputs.get("download"):
            text = "{node} finds no CLIP {clip} in clip_vision, by its name"
            yield Finding("error", text, values)
    elif found.kind.kind != "clip":
        text = "{node} has a file that is no CLIP: {kind}"
        yield Finding("error", text, values | {"kind": found.kind.title}, {"file": found.name})
    elif name not in found.kind.details:
        text = "{node} has CLIP {found} instead of {clip}, for which its threshold is made"
        values["found"] = found.kind.details[0]
        yield Finding(level, text, values, {"file": found.name})


def _score(
    node: Node, kind: str, patterns: Sequence[str], files: Sequence[ModelFile]
) -> Iterator[Finding]:
    found = _chosen(node, "score_file", patterns, "aesthetics", files)
    values = {"node": node.kind, "needed": TITLES[kind]}
    if found is None:
        if node.inputs.get("score_file", AUTO) == AUTO and not node.inputs.get("download"):
            yield Finding("error", "{node} finds no {needed} in aesthetics, by its name", values)
    elif found.kind.kind != kind:
        text = "{node} has a file that is no {needed}: {kind}"
        yield Finding("error", text, values | {"kind": found.kind.title}, {"file": found.name})


def _chosen(
    node: Node, name: str, patterns: Sequence[str], folder: str, files: Sequence[ModelFile]
) -> ModelFile | None:
    here = {file.name: file for file in reversed(files) if file.folder == folder}
    value = node.inputs.get(name, AUTO)
    chosen = find_file(here, patterns) if value == AUTO else str(value).replace("\\", "/")
    return here.get(chosen) if chosen else None
