"""Digests of values and of files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def digest_of(value) -> str:
    """SHA-256 of a JSON value, independent of the order of its keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def checksum(path: Path) -> str:
    """SHA-256 of a file's bytes in hexadecimal, read one MiB at a time.

    Raises:
        OSError: when the file cannot be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
