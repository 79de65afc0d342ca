"""Memory Bank, Remember, Edit and Preview Memory Bank."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import folder_paths
from comfy_api.latest import io, ui

from ...storymem.files.images import read_picture
from ...storymem.files.messages import shown
from ...storymem.memory.bank import MemoryBank, start_bank
from ...storymem.memory.edits import BankEdits
from ...storymem.memory.policies import MAX_MEMORY_FRAMES, POLICIES, SINK_FRAMES, memory_warnings
from ...storymem.script.numbers import parse_ranges
from ...storymem.views.contact_sheet import contact_sheet
from ..host.file_marks import mark_of
from ..host.folders import find_inside, short_places, shortens_host_paths
from ..host.tensors import require_images
from ..page.bank_ui import HIDDEN, show_bank
from ..types import Bank, Embedder, Keyframes
from .known_embedders import KNOWN

BANK_TOOLTIP = "The story's memory, for a sampler, Keyframe Select, Remember or a Shot Loop."
MORE_IMAGES = ("images_2", "images_3", "images_4")  # a batch has one size; these need not share it
logger = logging.getLogger(__name__)


def policy_inputs() -> list:
    """How a shot's memory is chosen when the bank holds more than ``max_frames``."""
    return [
        io.Combo.Input(
            "policy",
            options=list(POLICIES),
            default=POLICIES[0],
            optional=True,
            tooltip="Which frames a shot sees when there are more than max_frames. window: the "
            "first and the most recent, as in the paper. relevant: the first, then those closest "
            "to the shot's prompt (needs an embedder with CLIP's text tower). entities: those that "
            "show the shot's characters, so that someone who comes back is remembered. "
            "entities_only: the same, but no frame that shows only others, even if it is pinned or "
            "places stay empty.",
        ),
        Embedder.Input(
            "embedder",
            optional=True,
            tooltip="For the relevant policy: Load Embedder with a full CLIP ViT-B/32 file.",
        ),
    ]


def check_policy(policy: str, embedder) -> None:
    """Find out now, and not hours later, that nothing can say what a prompt is related to.

    Raises:
        ValueError: for the policy relevant without an embedder that reads texts.
    """
    if policy != "relevant":
        return
    if embedder is None:
        raise ValueError(
            "the relevant policy needs an embedder that compares pictures with prompts: connect "
            "Load Embedder (clip) to embedder, or choose another policy"
        )
    embedder.embed_text("a picture")
    embedder.release()


class MemoryBankNode(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemMemoryBank",
            display_name="Memory Bank",
            category="StoryMem/memory",
            search_aliases=[
                "consistent character",
                "character reference",
                "reference images",
                "same person",
                "memory",
                "角色一致",
                "参考图",
            ],
            description="Starts the story's memory: empty, or with pictures of your own characters "
            "and places, which every shot then sees.",
            inputs=[
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="Reference pictures of characters or places, one per batch entry. Not "
                    "connected: the story begins with no memory.",
                ),
                *(
                    io.Image.Input(
                        name,
                        optional=True,
                        tooltip="More reference pictures, of any size, after those above.",
                    )
                    for name in MORE_IMAGES
                ),
                io.Int.Input(
                    "max_frames",
                    default=MAX_MEMORY_FRAMES,
                    min=0,
                    max=64,
                    tooltip="How many frames of the bank a shot sees. More frames take longer and "
                    "use more VRAM. The model was trained with up to 10; 0 turns memory off.",
                ),
                io.Int.Input(
                    "sink",
                    display_name="opening_frames",
                    default=SINK_FRAMES,
                    min=0,
                    max=64,
                    tooltip="How many opening frames, the first of the memory, always stay in "
                    "view, so that characters hold up in long stories. The remaining places go to "
                    "the most recent frames. Safe: 2 to 4.",
                ),
                io.Boolean.Input(
                    "pin_references",
                    default=True,
                    tooltip="Keep every reference picture in view for the whole story. Each takes "
                    "one of max_frames.",
                ),
                io.String.Input(
                    "edits",
                    optional=True,
                    default="",
                    advanced=True,
                    tooltip="Your changes in the memory gallery, as JSON: pin, unpin, drop and "
                    "keep list frames of any shot, from lists such changes for a shot and those "
                    "after it, names says who is in them, images adds pictures from the input "
                    "folder. Only shots that see something different as a result are regenerated. "
                    "Clear it to undo everything.",
                ),
                *policy_inputs(),
                io.String.Input(
                    "reference_names",
                    optional=True,
                    default="",
                    advanced=True,
                    tooltip="Who is in the reference pictures, in order, separated by commas, such "
                    "as Mara, Pip. Only the policies entities and entities_only use it.",
                ),
            ],
            outputs=[Bank.Output(display_name="bank", tooltip=BANK_TOOLTIP)],
            hidden=HIDDEN,
        )

    @classmethod
    async def validate_inputs(cls, edits=None):
        try:
            # In a thread: the host asks in the loop that answers everybody's requests.
            await asyncio.to_thread(lambda: edit_images(BankEdits.parse(edits or "")))
        except ValueError as error:
            return short_places(str(error))
        return True

    @classmethod
    def fingerprint_inputs(cls, edits="", **_):
        try:
            files = edit_images(BankEdits.parse(edits or ""))
        except ValueError as error:
            return str(error)
        return [mark_of(name, path) for name, path in files]

    @classmethod
    @shortens_host_paths
    def execute(
        cls, max_frames, sink, pin_references, images=None, images_2=None, images_3=None,
        images_4=None, edits="", policy=POLICIES[0], embedder=None, reference_names="",
    ):  # fmt: skip
        check_policy(policy, embedder)
        bank = make_bank(
            max_frames, sink, pin_references, (images, images_2, images_3, images_4),
            edits, policy, reference_names, KNOWN.add(embedder),
        )  # fmt: skip
        log_warnings(bank)
        return io.NodeOutput(bank, ui=show_bank(bank, cls.hidden))


def make_bank(
    max_frames: int, sink: int, pin_references: bool, batches=(), edits="", policy=POLICIES[0],
    reference_names="", embedder="",
) -> MemoryBank:  # fmt: skip
    """What Memory Bank gives for its widgets. Writes and shows nothing.

    Args:
        batches: of ``images`` and ``MORE_IMAGES``, in their order; ``None`` for none.
        embedder: full name of the one that the policy goes by.

    Raises:
        ValueError: for pictures and edits that cannot be used.
    """
    clicks = BankEdits.parse(edits or "")
    references = [
        picture
        for name, batch in zip(("images", *MORE_IMAGES), batches, strict=False)
        if batch is not None
        for picture in require_images(batch, name)
    ]
    return start_bank(
        references,
        max_frames=max_frames,
        sink=sink,
        pinned=pin_references,
        names=[name.strip() for name in reference_names.split(",") if name.strip()],
        added={name: read_picture(path) for name, path in edit_images(clicks)},
        edits=clicks,
        policy=policy,
        embedder=embedder,
    )


def edit_bank(bank: MemoryBank, pin="", unpin="", forget="", restore="") -> MemoryBank:
    """What Edit Memory Bank gives.

    Raises:
        ValueError: for numbers that the bank does not have.
    """
    return bank.edit(
        pin=parse_ranges(pin, "pin"),
        unpin=parse_ranges(unpin, "unpin"),
        forget=parse_ranges(forget, "forget"),
        restore=parse_ranges(restore, "restore"),
    )


def log_warnings(bank) -> None:
    """Log what the artist should know of a bank's settings; loops show it on their nodes."""
    for warning in memory_warnings(bank.max_frames, bank.sink, bank.policy):
        logger.warning("StoryMem: %s", warning)


def edit_images(edits: BankEdits) -> list[tuple[str, Path]]:
    """The pictures that clicks added: names, and files of the input folder.

    Raises:
        ValueError: for a name that is no file in there.
    """
    folder = Path(folder_paths.get_input_directory()).resolve()
    found = [(name, find_inside(folder, name)) for name in edits.images]
    for name, path in found:
        if path is None or not path.is_file():
            raise ValueError(
                f"edits names the picture {shown(name)}, which is not in the input folder; put it "
                "there, or take it out in the memory gallery"
            )
    return found


class Remember(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemRemember",
            display_name="Remember",
            category="StoryMem/memory",
            description="Adds a shot's keyframes to the memory bank and outputs the new bank. The "
            "incoming bank is not changed.",
            inputs=[
                Keyframes.Input(
                    "keyframes", tooltip="What Keyframe Select or Aesthetic Filter kept."
                ),
                Bank.Input(
                    "bank",
                    optional=True,
                    tooltip="The memory so far. Not connected: starts a new bank.",
                ),
                io.Boolean.Input(
                    "pin",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="Keep these keyframes in view for the rest of the story. Each takes "
                    "one of the bank's max_frames.",
                ),
            ],
            outputs=[
                Bank.Output(display_name="bank", tooltip=BANK_TOOLTIP),
                io.String.Output(
                    display_name="report",
                    tooltip="One line per frame: what was kept or not kept, and why.",
                ),
            ],
            hidden=HIDDEN,
        )

    @classmethod
    @shortens_host_paths
    def execute(cls, keyframes, bank=None, pin=False):
        bank = MemoryBank() if bank is None else bank
        kept = keyframes.pinned() if pin else keyframes.frames
        bank = bank.remember(kept, dropped=keyframes.rejected)
        bank.used_indices()  # more pins than places is an error here, not in the next sampler
        return io.NodeOutput(bank, keyframes.describe(), ui=show_bank(bank, cls.hidden))


class EditMemoryBank(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        def numbers(name, what):
            return io.String.Input(
                name,
                default="",
                tooltip=f"{what}, by their numbers on the contact sheet, such as 1, 4-6.",
            )

        return io.Schema(
            node_id="StoryMemEditMemoryBank",
            display_name="Edit Memory Bank",
            category="StoryMem/memory",
            description="Overrides what the memory bank kept: pin, unpin or forget frames, or "
            "restore dropped ones, using the numbers that Preview Memory Bank shows.",
            inputs=[
                Bank.Input("bank", tooltip="The memory to edit. The incoming bank is not changed."),
                numbers("pin", "Frames to keep in view for the rest of the story"),
                numbers("unpin", "Frames that need not stay in view"),
                numbers("forget", "Frames to take out of the bank"),
                numbers("restore", "Dropped frames to keep after all"),
            ],
            outputs=[Bank.Output(display_name="bank", tooltip=BANK_TOOLTIP)],
            hidden=HIDDEN,
        )

    @classmethod
    @shortens_host_paths
    def execute(cls, bank, pin, unpin, forget, restore):
        edited = edit_bank(bank, pin, unpin, forget, restore)
        return io.NodeOutput(edited, ui=show_bank(edited, cls.hidden))


class PreviewMemoryBank(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemPreviewMemoryBank",
            display_name="Preview Memory Bank",
            category="StoryMem/memory",
            description="Shows the memory bank as a contact sheet: opening and pinned frames, the "
            "window the next shot sees, the rest, and what was dropped and why.",
            is_output_node=True,
            inputs=[Bank.Input("bank", tooltip="The memory to look at.")],
            outputs=[
                io.Image.Output(display_name="contact_sheet", tooltip="The sheet as one picture."),
            ],
            hidden=HIDDEN,
        )

    @classmethod
    @shortens_host_paths
    def execute(cls, bank):
        sheet = contact_sheet(bank)[None].float() / 255
        picture = ui.PreviewImage(sheet, cls=cls).as_dict()
        return io.NodeOutput(sheet, ui={**picture, **show_bank(bank, cls.hidden)})


NODES = [MemoryBankNode, Remember, EditMemoryBank, PreviewMemoryBank]
