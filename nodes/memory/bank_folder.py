"""Save and Load Memory Bank."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import folder_paths
from comfy_api.latest import io

from ...storymem.files.messages import shown
from ...storymem.memory.bank_folder import load_bank, save_bank
from ...storymem.memory.policies import POLICIES
from ..host.file_marks import mark_of
from ..host.folders import find_inside, shortens_host_paths
from ..page.bank_ui import HIDDEN, show_bank
from ..types import Bank
from .bank import BANK_TOOLTIP, check_policy, log_warnings, policy_inputs
from .known_embedders import KNOWN


def inside(root: str, name: str) -> Path:
    """``root/name``, which must lie inside ``root``."""
    base = Path(root).resolve()
    folder = find_inside(base, name.strip())
    if folder is None:
        raise ValueError(
            "folder must name a folder inside the output or input folder, such as "
            f"storymem/my_bank, but it is {shown(name)}"
        )
    return folder


class SaveMemoryBank(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemSaveMemoryBank",
            display_name="Save Memory Bank",
            category="StoryMem/memory",
            description="Writes the memory bank as a folder of PNGs and bank.json. You can open "
            "it, delete pictures, add your own, and load it again with Load Memory Bank.",
            is_output_node=True,
            not_idempotent=True,
            inputs=[
                Bank.Input("bank", tooltip="The memory to save."),
                io.String.Input(
                    "folder",
                    default="storymem/my_bank",
                    tooltip="Folder inside the output folder. A bank already there is replaced; "
                    "pictures you added yourself stay.",
                ),
            ],
            outputs=[
                Bank.Output(display_name="bank", tooltip=BANK_TOOLTIP),
                io.String.Output(display_name="folder", tooltip="Where the bank was written."),
            ],
        )

    @classmethod
    @shortens_host_paths
    def execute(cls, bank, folder):
        path = save_bank(inside(folder_paths.get_output_directory(), folder), bank)
        return io.NodeOutput(bank, str(path))


class LoadMemoryBank(io.ComfyNode):
    @classmethod
    def define_schema(cls):
        return io.Schema(
            node_id="StoryMemLoadMemoryBank",
            display_name="Load Memory Bank",
            category="StoryMem/memory",
            description="Reads a memory bank written by Save Memory Bank, including any changes "
            "you made by hand, or any folder of pictures.",
            inputs=[
                io.String.Input(
                    "folder",
                    default="storymem/my_bank",
                    tooltip="Folder inside the output folder or, if it is not there, inside the "
                    "input folder.",
                ),
                io.Boolean.Input(
                    "skip_damaged",
                    default=False,
                    tooltip="Leave out files that cannot be read, with a warning, instead of "
                    "stopping.",
                ),
                *policy_inputs(),
            ],
            outputs=[Bank.Output(display_name="bank", tooltip=BANK_TOOLTIP)],
            hidden=HIDDEN,
        )

    @classmethod
    def _find(cls, folder: str) -> Path:
        places = (folder_paths.get_output_directory(), folder_paths.get_input_directory())
        found = [inside(place, folder) for place in places]
        return next((path for path in found if path.is_dir()), found[0])

    @classmethod
    def read(cls, folder: str, skip_damaged: bool, policy: str = POLICIES[0]):
        """The bank of a folder, without an embedder; see ``load_bank`` for errors."""
        return replace(load_bank(cls._find(folder), skip_damaged=skip_damaged), policy=policy)

    @classmethod
    def fingerprint_inputs(cls, folder, **_):
        try:
            path = cls._find(folder)
        except ValueError:
            return ""
        files = (file for file in path.rglob("*") if file.is_file())
        return sorted(mark_of(str(file.relative_to(path)), file) for file in files)

    @classmethod
    @shortens_host_paths
    def execute(cls, folder, skip_damaged, policy=POLICIES[0], embedder=None):
        check_policy(policy, embedder)
        bank = replace(cls.read(folder, skip_damaged, policy), embedder=KNOWN.add(embedder))
        log_warnings(bank)
        return io.NodeOutput(bank, ui=show_bank(bank, cls.hidden))


NODES = [SaveMemoryBank, LoadMemoryBank]
