"""Which weights a run uses, so that shots of others are not taken for its own."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..files.hashing import digest_of

SAMPLE_BYTES = 1 << 16  # of each end of a weights file: header, and the last tensor
WEIGHTS = (".safetensors", ".pth", ".pt", ".bin")


def identify_weights(path: Path | None) -> str:
    """A hash that changes when weights are replaced, without reading them whole.

    Names, sizes and both ends of every weights file, and all of the small files, but no times: a
    folder that was moved or copied stays the same.
    """
    if path is None:
        return ""
    if path.is_file():
        files, root = [path], path.parent
    else:
        files, root = sorted(file for file in path.rglob("*") if file.is_file()), path
    entries = []
    for file in files:
        if any(part.startswith(".") for part in file.relative_to(root).parts):
            continue  # a downloader's own notes
        if file.suffix not in (*WEIGHTS, ".json", ".model"):
            continue
        size = file.stat().st_size
        digest = hashlib.sha256()
        with open(file, "rb") as stream:
            digest.update(stream.read(SAMPLE_BYTES))
            if size > SAMPLE_BYTES:
                stream.seek(-SAMPLE_BYTES, 2)
                digest.update(stream.read())
        entries.append([str(file.relative_to(root)), size, digest.hexdigest()])
    return digest_of(entries)
