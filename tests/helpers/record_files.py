"""``record.json`` of finished shots, read and written by hand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def write_body(folder: Path, body: dict) -> None:
    """``record.json`` with a checksum that holds, as anybody can write it."""
    text = json.dumps(body)
    digest = hashlib.sha256(text.encode()).hexdigest()
    (folder / "record.json").write_text(json.dumps({"sha256": digest, "record": text}))


def body_of(folder: Path) -> dict:
    """What the ``record.json`` in ``folder`` says."""
    return json.loads(text_of(folder))


def text_of(folder: Path) -> str:
    """What the ``record.json`` in ``folder`` says, as it is checked."""
    return json.loads((folder / "record.json").read_text())["record"]
