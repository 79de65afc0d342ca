"""Weights files: where they come from, and what to say when one is missing."""

from __future__ import annotations

import hashlib
import logging
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..files.disk import remove_unfinished, replacing
from ..files.messages import reason_of

DOWNLOAD_CHUNK = 1 << 20  # bytes
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightsSource:
    """A file that an artist may need: its name, the model folder it belongs in, and its origin."""

    title: str
    file: str
    folder: str  # below the host's models folder
    page: str  # where a person reads about it and downloads it
    url: str  # the file itself
    sha256: str = ""  # of the file, where its publisher states one

    def missing(self, folder: str | Path) -> ValueError:
        """The error for a file that is not there."""
        return ValueError(
            f"{self.title} needs a weights file: {self.file} was not found in {folder}. Download "
            f"it from {self.page} and put it there, or switch download on to fetch it now"
        )


CLIP_B32 = WeightsSource(
    title="CLIP ViT-B/32",
    file="ViT-B-32.pt",
    folder="clip_vision",
    page="https://github.com/openai/CLIP",
    url="https://openaipublic.azureedge.net/clip/models/"
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
    sha256="40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
)
CLIP_L14 = WeightsSource(
    title="CLIP ViT-L/14 (of the LAION aesthetic predictor and of the stand-in for ViCLIP)",
    file="ViT-L-14.pt",
    folder="clip_vision",
    page="https://github.com/openai/CLIP",
    url="https://openaipublic.azureedge.net/clip/models/"
    "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/ViT-L-14.pt",
    sha256="b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
)
LAION_HEAD = WeightsSource(
    title="The LAION aesthetic predictor",
    file="sac+logos+ava1-l14-linearMSE.pth",
    folder="aesthetics",
    page="https://github.com/christophschuhmann/improved-aesthetic-predictor",
    url="https://github.com/christophschuhmann/improved-aesthetic-predictor/raw/main/"
    "sac%2Blogos%2Bava1-l14-linearMSE.pth",
)
LAION_LINEAR = WeightsSource(
    title="Aesthetic quality (the head that VBench uses)",
    file="sa_0_4_vit_l_14_linear.pth",
    folder="aesthetics",
    page="https://github.com/LAION-AI/aesthetic-predictor",
    url="https://github.com/LAION-AI/aesthetic-predictor/raw/main/sa_0_4_vit_l_14_linear.pth",
)
VICLIP = WeightsSource(
    title="ViCLIP",
    file="ViClip-InternVid-10M-FLT.pth",
    folder="viclip",
    page="https://huggingface.co/OpenGVLab/VBench_Used_Models",
    url="https://huggingface.co/OpenGVLab/VBench_Used_Models/resolve/main/"
    "ViClip-InternVid-10M-FLT.pth",
)
HPSV3 = WeightsSource(
    title="HPSv3",
    file="HPSv3.safetensors",
    folder="aesthetics",
    page="https://huggingface.co/MizzenAI/HPSv3",
    url="https://huggingface.co/MizzenAI/HPSv3/resolve/main/HPSv3.safetensors",
)

# What each is called in a file's name without punctuation, best first.
B32_NAMES = ("vitb32", "vitbasepatch32")
L14_NAMES = ("vitl14", "vitlargepatch14", "clipvitl")
LAION_NAMES = ("l14linearmse", "vitl14linear", "aestheticpredictor", "laion")
HPSV3_NAMES = ("hpsv3",)


def find_file(names: Iterable[str], patterns: Iterable[str]) -> str | None:
    """The first file name that, without punctuation, holds one of the patterns."""
    names = list(names)
    for pattern in patterns:
        for name in names:
            plain = "".join(c for c in name.lower() if c.isalnum())
            if pattern in plain:
                return name
    return None


def download(source: WeightsSource, folder: str | Path) -> Path:
    """Fetch ``source`` into ``folder`` (whole or not at all) and return the file.

    Only ever called because the artist switched it on.

    Raises:
        ValueError: when it cannot be fetched, or is not the file that its publisher describes.
    """
    target = Path(folder) / source.file
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(target.parent)
    logger.info("StoryMem: downloading %s from %s", source.file, source.url)
    try:
        with replacing(target) as unfinished:
            _fetch(source, unfinished)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{source.file} could not be downloaded from {source.url}: {reason_of(error)}; "
            f"download it from {source.page} and put it in {folder}"
        ) from error
    return target


def _fetch(source: WeightsSource, target: Path) -> None:
    digest = hashlib.sha256()
    with urllib.request.urlopen(source.url, timeout=60) as answer, open(target, "wb") as file:
        expected = int(answer.headers.get("Content-Length") or 0)
        received = 0
        while chunk := answer.read(DOWNLOAD_CHUNK):
            file.write(chunk)
            digest.update(chunk)
            received += len(chunk)
    if expected and received != expected:
        raise ValueError(f"{received} of {expected} bytes arrived")
    if source.sha256 and digest.hexdigest() != source.sha256:
        raise ValueError("its SHA-256 is not the published one")
