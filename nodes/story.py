"""Load Story: a script typed in or chosen from the input folder."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ..storymem.files.messages import reason_of, shown
from ..storymem.script.fields import ScriptError
from ..storymem.script.file import read_script_text
from ..storymem.script.reader import load_story
from ..storymem.script.story import DEFAULT_NAME, summarise
from .host.folders import find_inside, short_places, shortens_host_paths
from .types import Story

NO_FILE = "none"
SUFFIXES = (".json", ".txt")


class LoadStory(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemLoadStory",
            display_name="Load Story",
            category="StoryMem/story",
            search_aliases=[
                "storyboard",
                "multi-shot",
                "script",
                "screenplay",
                "shot list",
                "scenes",
                "分镜",
                "多镜头",
                "剧本",
            ],
            description="Reads a story script: ST-Bench JSON, or plain text with --- lines between "
            "the shots. A shot that starts with a [continue] line follows without a cut. If the "
            "first block starts with a [character] line, it goes before every prompt.",
            inputs=[
                io.String.Input(
                    "script",
                    multiline=True,
                    default="",
                    placeholder="[character]\nMira, a woman of sixty in a yellow raincoat.\n---\n"
                    "She climbs the stairs of a lighthouse.\n---\n[continue]\nShe opens the door.",
                    tooltip="The script itself. Leave it empty when a file is chosen.",
                ),
                io.Combo.Input(
                    "file",
                    options=[NO_FILE, *_script_files()],
                    default=NO_FILE,
                    tooltip="A .json or .txt script in ComfyUI's input folder, instead of typing "
                    "one.",
                ),
                io.String.Input(
                    "character",
                    multiline=True,
                    default="",
                    optional=True,
                    tooltip="A description that goes before every prompt, after the script's own. "
                    "Describe what must look the same in all shots.",
                ),
                io.Boolean.Input(
                    "prompt_weights",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Off: parentheses are part of the text. On: text encoders read them as "
                    "weights, as in CLIP Text Encode: (red dress:1.2) counts 1.2 times. Only shots "
                    "with parentheses are regenerated when it changes.",
                ),
            ],
            outputs=[
                Story.Output(display_name="story", tooltip="The story, for Shot Loop Open."),
                io.Int.Output(display_name="shot_count", tooltip="How many shots the story has."),
                io.String.Output(
                    display_name="summary",
                    tooltip="The story as read, line by line, with warnings about fields that are "
                    "ignored.",
                ),
            ],
        )

    @classmethod
    async def validate_inputs(cls, script=None, file=NO_FILE):
        if script is None or file is None:
            return True  # linked: known only when it runs
        try:
            # In a thread: the host asks in the loop that answers everybody's requests.
            await asyncio.to_thread(_load, script, file, "", quiet=True)
        except ValueError as error:
            return short_places(str(error))
        return True

    @classmethod
    def fingerprint_inputs(cls, file=NO_FILE, **_):
        return _read(file) if file and file != NO_FILE else ""

    @classmethod
    @shortens_host_paths
    def execute(cls, script, file, character="", prompt_weights=False) -> io.NodeOutput:
        story = replace(_load(script, file, character), prompt_weights=prompt_weights)
        told = {"storymem_notice": list(story.warnings)} if story.warnings else None
        return io.NodeOutput(story, len(story.shots), summarise(story), ui=told)


def read_source(script: str, file: str) -> tuple[str, str]:
    """The text of the script, and what its story is called when the text does not say.

    Raises:
        ValueError: for a script beside a file, or a file that cannot be read.
    """
    if file == NO_FILE:
        return script, DEFAULT_NAME
    if script.strip():
        raise ValueError(f"both a script and the file {shown(file)} are given: clear one of them")
    return _read(file), Path(file).stem or DEFAULT_NAME


def _load(script: str, file: str, character: str, quiet: bool = False):
    text, name = read_source(script, file)
    return load_story(text, default_name=name, character=character, quiet=quiet)


def _read(name: str) -> str:
    path = find_inside(folder_paths.get_input_directory(), name)
    if path is None or path.suffix.lower() not in SUFFIXES:
        raise ValueError(
            f"file must be a .json or .txt file in the input folder, but it is {shown(name)}"
        )
    try:
        return read_script_text(path, shown(name))
    except ScriptError:
        raise
    except ValueError as error:
        raise ValueError(f"{shown(name)} cannot be read: {error}") from None
    except OSError as error:
        raise ValueError(
            f"{shown(name)} cannot be read from the input folder: {reason_of(error)}"
        ) from error


def _script_files() -> list[str]:
    folder = Path(folder_paths.get_input_directory())
    names = (path.name for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    return sorted(names)


NODES = [LoadStory]
