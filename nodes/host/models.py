"""Small models under the host's model management, and where their files are found."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

import comfy.model_management as management
import comfy.model_patcher
import comfy.utils
import folder_paths
import torch

from ...storymem.models.weights import WeightsSource, download, find_file
from .executor import loaded_models_beside, shown_as_loading

AUTO = "auto"


class HostModel:
    """A module that the host moves: on the device while it is used, off it after ``release``.

    ``build`` reads the weights the first time the model is used, so that a loader node costs
    nothing until then.
    """

    def __init__(self, build: Callable[[], torch.nn.Module], *, working_memory: int):
        self._build = build
        self._working_memory = working_memory  # bytes that one batch needs beside the weights
        self._patcher: comfy.model_patcher.ModelPatcher | None = None

    @property
    def module(self) -> torch.nn.Module:
        """The module itself, wherever the host keeps it now; the first use reads its weights."""
        return self._load().model

    @property
    def device(self) -> torch.device:
        """Where the host computes, and where calls run the module."""
        return management.get_torch_device()

    def _load(self) -> comfy.model_patcher.ModelPatcher:
        if self._patcher is None:
            with shown_as_loading():  # moving it to the card is told by the host
                module = self._build()
            self._patcher = comfy.model_patcher.ModelPatcher(
                module,
                load_device=management.get_torch_device(),
                offload_device=torch.device("cpu"),
            )
        return self._patcher

    def __call__(self, *tensors: torch.Tensor) -> torch.Tensor:
        """Run the module on ``tensors`` with the model loaded; the result is on the CPU."""
        # Loading too: weights moved in one mode cannot be used after a move in the other.
        with torch.inference_mode():
            patcher = self._load()
            management.load_models_gpu([patcher], memory_required=self._working_memory)
            bring_the_rest(patcher.model, patcher.load_device)
            result = patcher.model(*(t.to(patcher.load_device) for t in tensors))
        return result.float().cpu().clone()

    def release(self) -> None:
        """Off the device now, whatever else the host keeps there."""
        if self._patcher is None or self._patcher.load_device.type == "cpu":
            return
        others = loaded_models_beside(self._patcher)
        management.free_memory(1e30, self._patcher.load_device, keep_loaded=others)


def bring_the_rest(model: torch.nn.Module, device: torch.device) -> None:
    """Put on ``device`` what the host leaves behind when a model fits there in part.

    Layers of the host's classes compute with weights that lie elsewhere. Of others it loads the
    largest that fit, and no buffers that stand alone.
    """
    for part in model.modules():
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, buffer.to(device))
        if not hasattr(part, "comfy_cast_weights"):
            for name, weight in part.named_parameters(recurse=False):
                if weight.device != device:
                    comfy.utils.set_attr_param(part, name, weight.to(device))


@contextlib.contextmanager
def released_after(*users) -> Iterator[None]:
    """What the embedder and the scorer put on the device is off it afterwards, come what may."""
    try:
        yield
    finally:
        for user in users:
            if user is not None:
                user.release()


@contextlib.contextmanager
def told_as(path: str, name: str) -> Iterator[None]:
    """Errors about the file at ``path`` call it by the name that the artist chose."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error).replace(str(path), name)) from None


def register_folder(folder: str) -> None:
    """Make ``models/<folder>`` known to the host (``extra_model_paths`` may add to it)."""
    folder_paths.add_model_folder_path(folder, os.path.join(folder_paths.models_dir, folder))


def file_options(folder: str) -> list[str]:
    """What a loader offers: ``auto``, then the weights files of a model folder."""
    if folder not in folder_paths.folder_names_and_paths:
        register_folder(folder)
    suffixes = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
    return [AUTO, *(n for n in folder_paths.get_filename_list(folder) if n.endswith(suffixes))]


def weights_path(source: WeightsSource, name: str, patterns: tuple, *, fetch: bool) -> str:
    """The file called ``name`` in the source's folder, or for ``auto`` the one that fits.

    Raises:
        ValueError: when there is none: its name, folder and download page.
    """
    files = file_options(source.folder)[1:]
    if name == AUTO:
        name = source.file if source.file in files else find_file(files, patterns) or source.file
    path = folder_paths.get_full_path(source.folder, name)
    if path:
        return path
    target = folder_paths.get_folder_paths(source.folder)[0]
    if name != source.file:
        raise ValueError(f"{name} is no longer in {target}; choose another file, or {AUTO}")
    if not fetch:
        raise source.missing(target)
    return str(download(source, target))
