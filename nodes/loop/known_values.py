"""What feeds a loop, as far as it is known before a run: widgets, pictures from disk, banks made of
them, and what the host still holds.

Nothing is written, no model is loaded, and no other pack's node is run.
"""

from __future__ import annotations

import inspect
import os

from comfy_api.latest import io
from comfy_execution.graph_utils import ExecutionBlocker, is_link

import nodes

from ...storymem.files.video import read_info
from ...storymem.sampling.start_images import as_batch, from_folder
from ...storymem.script.story import Story
from ..host import executor as host_cache
from ..memory.bank import MORE_IMAGES, edit_bank, make_bank
from ..memory.bank_folder import LoadMemoryBank
from ..memory.rehearsal import make_rehearsal
from ..story import LoadStory
from ..story_shots import StoryShots
from ..write import outputs_of_answer
from .draft_settings import DraftSettings
from .host_loops import NotKnownError
from .start_images import find_pictures
from .wires import name_of

# Nodes of the host that read a file, hold a value or move pixels: quick, and always the same.
QUICK = frozenset({
    "CaseConverter", "EmptyImage", "ImageBatch", "ImageCrop", "ImageCropV2",
    "ImageFlip", "ImageFromBatch", "ImageInvert", "ImageRotate", "ImageScale", "ImageScaleBy",
    "ImageScaleToMaxDimension", "ImageScaleToTotalPixels", "ImageStitch", "LoadImage",
    "LoadImageOutput", "LoadVideo", "PrimitiveBoolean", "PrimitiveFloat", "PrimitiveInt",
    "PrimitiveString", "PrimitiveStringMultiline", "RepeatImageBatch", "ResizeAndPadImage",
    "StringConcatenate", "StringReplace", "StringSubstring", "StringTrim",
})  # fmt: skip
OF_HOST = ("nodes", "comfy_extras")
RELEVANT = "relevant"
VIDEO_FRAMES = "GetVideoComponents"  # of the host: decodes a whole video
LARGEST_VIDEO = 16 * 2**20  # bytes of a file that is decoded for a look ahead
BYTES_OF_A_PIXEL = 3 * 4  # three floats
LARGEST_FRAMES = 2**30  # bytes of its frames: 14 seconds at 832x480
START_IMAGES = "StoryMemLoadStartImages"


class KnownValues:
    """Values on the wires of one prompt."""

    def __init__(self, dynprompt):
        self.dynprompt = dynprompt
        self._outputs: dict[str, list] = {}
        self._looked_at: set[str] = set()

    def tell(self, node_id: str, outputs: list) -> None:
        """What a node gives that is not asked."""
        self._outputs[node_id] = outputs

    async def inputs(self, node_id: str, *leave: str) -> dict:
        """The inputs of a node, without those to leave.

        Raises:
            NotKnownError: naming the node that gives one.
            ValueError: when a node cannot give what it is asked for, as in a run.
        """
        given = self.dynprompt.get_node(node_id)["inputs"]
        return {name: await self.value(v) for name, v in given.items() if name not in leave}

    async def value(self, given: object) -> object:
        """An input's value: itself, or what the wire brings."""
        if not is_link(given):
            return given
        source, slot = given
        outputs = await self._of(source)
        try:
            return outputs[slot]
        except IndexError:
            raise self._not_known(source) from None

    async def start_images(self, given: object, story: Story) -> dict | None:
        """Pictures of a folder as ``uint8``, by shot; ``None`` for what comes from elsewhere. As
        one batch of floats, those of a long story would take gigabytes."""
        source = self.dynprompt.get_node(given[0]) if is_link(given) else {}
        if source.get("class_type") != START_IMAGES:
            return None
        inputs = await self.inputs(given[0])
        if inputs["story"] is not story:
            return None
        found = from_folder(find_pictures(inputs["folder"]), story)
        if len({picture.shape for picture in found.values()}) > 1:
            as_batch(found, story)  # tells which one is of another size
        return found

    async def _of(self, node_id: str) -> list:
        if node_id not in self._outputs:
            if node_id in self._looked_at:
                raise ValueError(f"{name_of(self.dynprompt, node_id)} feeds itself")
            self._looked_at.add(node_id)
            self._outputs[node_id] = await self._find(node_id)
        return self._outputs[node_id]

    async def _find(self, node_id: str) -> list:
        kind = self.dynprompt.get_node(node_id)["class_type"]
        if kind in OWN:
            return await OWN[kind](self, node_id)
        if kind == VIDEO_FRAMES and _is_of_host(kind):
            return await self._frames(node_id)
        if kind in QUICK and _is_of_host(kind):
            return await _run(kind, await self.inputs(node_id))
        return await self._held(node_id)

    async def _held(self, node_id: str) -> list:
        """What the host keeps of an earlier run."""
        held = await host_cache.kept_outputs(self.dynprompt, node_id)
        if not held or any(len(values) != 1 for values in held):  # lists are no single value
            raise self._not_known(node_id)
        values = [values[0] for values in held]
        if any(isinstance(value, ExecutionBlocker) for value in values):
            raise self._not_known(node_id)
        return values

    async def _frames(self, node_id: str) -> list:
        """A video's frames: as the host holds them, else decoded, where the file is short."""
        try:
            return await self._held(node_id)
        except NotKnownError:
            inputs = await self.inputs(node_id)
            if not _is_short(inputs["video"].get_stream_source()):
                raise
        return await _run(VIDEO_FRAMES, inputs)

    def _not_known(self, node_id: str, because: str = "computed") -> NotKnownError:
        shown = self.dynprompt.get_display_node_id(node_id)
        return NotKnownError(shown, name_of(self.dynprompt, node_id), because)

    # --- the pack's own nodes: what each gives, with nothing shown and nothing written ---

    async def _story(self, node_id: str) -> list:
        return list(LoadStory.execute(**await self.inputs(node_id)).args)

    async def _written(self, node_id: str) -> list:
        inputs = await self.inputs(node_id, "clip", "portraits")
        if not str(inputs.get("answer") or "").strip():
            return await self._held(node_id)  # a language model writes it when it runs
        return outputs_of_answer(**inputs)

    async def _bank(self, node_id: str) -> list:
        inputs = await self._without_embedder(node_id)
        batches = [inputs.pop(name, None) for name in ("images", *MORE_IMAGES)]
        return [make_bank(batches=batches, **inputs)]

    async def _loaded_bank(self, node_id: str) -> list:
        return [LoadMemoryBank.read(**await self._without_embedder(node_id))]

    async def _edited_bank(self, node_id: str) -> list:
        return [edit_bank(**await self.inputs(node_id))]

    async def _saved_bank(self, node_id: str) -> list:
        return [(await self.inputs(node_id))["bank"]]

    async def _finished(self, node_id: str) -> list:
        return list(StoryShots.execute(**{**await self.inputs(node_id), "index": 0}).args)

    async def _draft(self, node_id: str) -> list:
        return list(DraftSettings.execute(**await self.inputs(node_id)).args)

    async def _rehearsal(self, node_id: str) -> list:
        if "scorer" in self.dynprompt.get_node(node_id)["inputs"]:  # its model would be loaded
            raise self._not_known(node_id)
        return [make_rehearsal(**await self.inputs(node_id)).bank]

    async def _without_embedder(self, node_id: str) -> dict:
        """Only the policy ``relevant`` asks the embedder, whose model is loaded for it."""
        inputs = await self.inputs(node_id, "embedder")
        if inputs.get("policy") == RELEVANT:
            raise self._not_known(node_id, RELEVANT)
        return inputs


OWN = {
    "StoryMemLoadStory": KnownValues._story,
    "StoryMemStoryShots": KnownValues._finished,
    "StoryMemDraftSettings": KnownValues._draft,
    "StoryMemWriteStory": KnownValues._written,
    "StoryMemMemoryBank": KnownValues._bank,
    "StoryMemLoadMemoryBank": KnownValues._loaded_bank,
    "StoryMemEditMemoryBank": KnownValues._edited_bank,
    "StoryMemSaveMemoryBank": KnownValues._saved_bank,
    "StoryMemRehearsal": KnownValues._rehearsal,
}


def _is_short(source: object) -> bool:
    """Whether the frames of a video are few enough to be decoded for a look ahead."""
    if not isinstance(source, str) or os.path.getsize(source) > LARGEST_VIDEO:
        return False
    try:
        info = read_info(source)
    except ValueError:
        return False
    return info.frames * info.width * info.height * BYTES_OF_A_PIXEL <= LARGEST_FRAMES


def _is_of_host(kind: str) -> bool:
    """Whether a node is the host's own, and not another pack's under that name."""
    place = getattr(nodes.NODE_CLASS_MAPPINGS[kind], "RELATIVE_PYTHON_MODULE", OF_HOST[0])
    return str(place).split(".")[0] in OF_HOST


async def _run(kind: str, inputs: dict) -> list:
    """What a node gives for the inputs that it has; the host hands on no others."""
    node = nodes.NODE_CLASS_MAPPINGS[kind]
    listed = node.INPUT_TYPES()
    wanted = {*listed.get("required", ()), *listed.get("optional", ())}
    inputs = {name: value for name, value in inputs.items() if name in wanted}
    is_new = issubclass(node, io.ComfyNode)
    given = node.execute(**inputs) if is_new else getattr(node(), node.FUNCTION)(**inputs)
    given = await given if inspect.isawaitable(given) else given
    return list(given.args if isinstance(given, io.NodeOutput) else given)
