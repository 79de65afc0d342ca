"""What the script in a workflow asks for: how many shots, and LoRAs of single shots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..sampling.lora_names import LoraNameError, find_lora
from ..script.reader import load_story
from ..script.story import Story
from .model_files import ModelFile
from .report import Finding
from .workflow import Node

LOADER = "StoryMemLoadStory"


def story_of(nodes: Mapping[str, Node]) -> Story | None:
    """The story of the first Load Story that has one typed in it; None where none can be read,
    which its own editor tells."""
    for node in nodes.values():
        script = node.inputs.get("script")
        if node.kind != LOADER or not isinstance(script, str) or not script.strip():
            continue
        try:
            return load_story(script)
        except ValueError:
            continue
    return None


def find_shot_loras(nodes: Mapping[str, Node], files: Sequence[ModelFile]) -> Iterator[Finding]:
    """The LoRAs that a script names for single shots and that are not there."""
    story = story_of(nodes)
    names = [file.name for file in files if file.folder == "loras"]
    shots = story.shots if story else ()
    for entry in dict.fromkeys(lora for shot in shots for lora in shot.loras):
        try:
            find_lora(entry, names)
        except LoraNameError:
            text = (
                "a LoRA that the script names for single shots is not in loras, or its name fits "
                "several files there"
            )
            yield Finding("error", text, private={"file": entry.name})
