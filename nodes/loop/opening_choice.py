"""The keyframes of a clip that a story begins from: chosen by a copy of the loop's own Keyframe
Select, once, before the first shot."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakKeyDictionary

import folder_paths
from comfy_api.latest import io
from comfy_execution.graph_utils import is_link

from ...storymem.files.hashing import digest_of
from ...storymem.loop.opening_clip import OpeningClip
from ...storymem.loop.opening_memory import (
    choice_key,
    chosen_of,
    find_choice,
    keep_choice,
    remember_clip,
)
from ...storymem.loop.render_version import versions_of_nodes
from ...storymem.loop.shot_store import ShotStore
from ...storymem.memory.bank import MemoryBank
from ...storymem.selection.algorithm import MAX_KEYFRAMES_PER_SHOT, SIMILARITY_THRESHOLD
from ..host.folders import shortens_host_paths
from ..host.store import STORE_FOLDER
from ..types import Bank, Keyframes, State
from .graph import CLOSE
from .named_files import files_of
from .wires import links_of, name_of

SELECT = "StoryMemKeyframeSelect"
OF_SHOT = ("frames", "bank", "shot")  # inputs of Keyframe Select that a clip has others for
OF_FILM = (CLOSE, "StoryMemJoinStory")  # what comes after them is another story's
_WAITING: WeakKeyDictionary = WeakKeyDictionary()  # by prompt, then by name


@dataclass(frozen=True)
class ClipChoice:
    """A clip whose keyframes begin the memory, and what chooses them.

    Args:
        dynprompt: the host's prompt.
        begin_id: the node that the clip is connected to.
        bank: the memory without them.
    """

    dynprompt: object
    begin_id: str
    clip: OpeningClip
    bank: MemoryBank

    @property
    def selector(self) -> str | None:
        """The Keyframe Select of the story's shots; ``None`` when there is none."""
        found = (
            node_id
            for node_id in sorted(self.dynprompt.all_node_ids())
            if self.dynprompt.get_node(node_id)["class_type"] == SELECT
        )
        return next((n for n in found if self._is_after(n)), None)

    def inputs(self) -> dict:
        """What the selector is told beside the frames.

        Raises:
            ValueError: for an input that changes from shot to shot.
        """
        if self.selector is None:
            return {"threshold": SIMILARITY_THRESHOLD, "max_keyframes": MAX_KEYFRAMES_PER_SHOT}
        given = self.dynprompt.get_node(self.selector)["inputs"]
        for name, value in given.items():
            if name not in OF_SHOT and is_link(value) and self._is_after(value[0]):
                raise ValueError(
                    f"{name} of {name_of(self.dynprompt, self.selector)} comes from inside of the "
                    "loop, so the clip that the story begins from cannot be judged by it; connect "
                    f"{name} from outside, or turn remember_opening off"
                )
        return {name: value for name, value in given.items() if name not in OF_SHOT}

    @property
    def key(self) -> str:
        """By what the choice is known; see ``choice_key``."""
        kinds, files = {SELECT}, {}

        def described(value: object) -> object:
            if not is_link(value):
                return value
            node = self.dynprompt.get_node(value[0])
            kinds.add(node["class_type"])
            files.update((path, os.stat(path)) for path in files_of(node))
            inputs = {name: described(one) for name, one in node["inputs"].items()}
            return [node["class_type"], value[1], inputs]

        inputs = {name: described(value) for name, value in self.inputs().items()}
        read = sorted([os.path.basename(p), s.st_size, s.st_mtime_ns] for p, s in files.items())
        how = [versions_of_nodes(sorted(kinds)), inputs, read]
        how = json.dumps(how, sort_keys=True, default=digest_of)
        return choice_key(self.clip, self.bank, how)

    def known_bank(self) -> MemoryBank | None:
        """The memory with the clip's keyframes, when these are known."""
        chosen = find_choice(_store(), self.clip, self.key)
        return None if chosen is None else remember_clip(self.bank, self.clip, chosen)

    def ask(
        self, child_id: Callable[[str], str], then: str, outputs: int, go_on: Callable[..., object]
    ) -> io.NodeOutput:
        """An expansion that chooses, and then goes on.

        Args:
            child_id: gives ids for the expanded nodes.
            then: kind of the node that goes on, of this module.
            outputs: how many it has.
            go_on: called with that node's ``hidden`` once the keyframes are known.
        """
        name, shown = uuid.uuid4().hex, self.dynprompt.get_display_node_id
        _WAITING.setdefault(self.dynprompt, {})[name] = (self, go_on)
        clip, select, end = (child_id(f"opening.{part}") for part in ("clip", "select", "end"))
        links = {"frames": [clip, 0], "bank": [clip, 1]}
        at = shown(self.begin_id)
        return io.NodeOutput(
            *([end, slot] for slot in range(outputs)),
            expand={
                clip: _node("StoryMemOpeningClip", at, name=name),
                select: _node(SELECT, shown(self.selector or self.begin_id),
                              **self.inputs(), **links),
                end: _node(then, at, name=name, keyframes=[select, 0]),
            },
        )  # fmt: skip

    def _is_after(self, node_id: str) -> bool:
        """Whether a node is of the story's shots: after its beginning, and not after its film."""
        waiting, seen = [node_id], set()
        while waiting:
            here = waiting.pop()
            if here == self.begin_id:
                return True
            node = self.dynprompt.get_node(here)
            if here not in seen and node["class_type"] not in OF_FILM:
                seen.add(here)
                waiting += [one for _, one, _ in links_of(node)]
        return False


def _node(kind: str, shown: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs, "override_display_id": shown}


def _store() -> ShotStore:
    return ShotStore(Path(folder_paths.get_output_directory()) / STORE_FOLDER)


def _waiting(dynprompt, name: str) -> tuple[ClipChoice, Callable[..., object]]:
    try:
        return _WAITING[dynprompt][name]
    except KeyError:
        raise ValueError(
            "this node belongs to the node that a story begins with, which adds it automatically; "
            "remove it from the workflow"
        ) from None


async def _go_on(hidden, name: str, keyframes) -> io.NodeOutput:
    choice, go_on = _waiting(hidden.dynprompt, name)
    keep_choice(_store(), choice.key, chosen_of(keyframes.frames))
    output = go_on(hidden)
    return await output if isinstance(output, Awaitable) else output


class OpeningClipNode(io.ComfyNode):
    """Gives the clip to the selector."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemOpeningClip",
            display_name="Loop: opening clip",
            category="StoryMem/internal",
            description="Added by Shot Loop Close and Begin Story for a clip that is remembered. "
            "Not for workflows.",
            is_dev_only=True,
            inputs=[io.String.Input("name", tooltip="Different in every run.")],
            outputs=[
                io.Image.Output(display_name="frames", tooltip="The clip."),
                Bank.Output(display_name="bank", tooltip="The memory without its keyframes."),
            ],
            hidden=[io.Hidden.dynprompt],
        )

    @classmethod
    @shortens_host_paths
    def execute(cls, name) -> io.NodeOutput:
        choice, _ = _waiting(cls.hidden.dynprompt, name)
        return io.NodeOutput(choice.clip.frames.float() / 255, choice.bank)


def _after_inputs() -> list:
    return [
        io.String.Input("name", tooltip="Different in every run."),
        Keyframes.Input("keyframes", tooltip="Of the clip."),
    ]


class LoopOpened(io.ComfyNode):
    """Goes on with a loop once the keyframes of its clip are known."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemLoopOpened",
            display_name="Loop: after the opening clip",
            category="StoryMem/internal",
            description="Added by Shot Loop Close for a clip that is remembered. Not for "
            "workflows.",
            is_dev_only=True,
            inputs=_after_inputs(),
            outputs=[
                io.Video.Output(display_name="video", tooltip="The story video."),
                Bank.Output(display_name="bank", tooltip="The memory after the last shot."),
                io.String.Output(display_name="folder", tooltip="The folder with all the results."),
            ],
            hidden=[io.Hidden.dynprompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
            not_idempotent=True,
            enable_expand=True,
        )

    @classmethod
    @shortens_host_paths
    async def execute(cls, name, keyframes) -> io.NodeOutput:
        return await _go_on(cls.hidden, name, keyframes)


class StoryOpened(io.ComfyNode):
    """Begins a story on one wire once the keyframes of its clip are known."""

    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemStoryOpened",
            display_name="Story: after the opening clip",
            category="StoryMem/internal",
            description="Added by Begin Story for a clip that is remembered. Not for workflows.",
            is_dev_only=True,
            inputs=_after_inputs(),
            outputs=[
                State.Output(display_name="state", tooltip="The loop's one value."),
                io.Int.Output(
                    display_name="shot_count", tooltip="How many times the loop must run."
                ),
            ],
            hidden=[io.Hidden.dynprompt],
            not_idempotent=True,
        )

    @classmethod
    @shortens_host_paths
    async def execute(cls, name, keyframes) -> io.NodeOutput:
        return await _go_on(cls.hidden, name, keyframes)


NODES = [OpeningClipNode, LoopOpened, StoryOpened]
