"""Names that become files and folders: checked alike whether a person typed them or a file holds
them."""

from __future__ import annotations

import hashlib
import re
import unicodedata

from .messages import is_unicode, shown

MAX_NAME_BYTES = 120  # leaves room for suffixes in file systems that allow 255
MAX_FILE_BYTES = 255  # of one name in most file systems
_NUMBERS = (*"123456789", "¹", "²", "³")  # Windows takes the raised ones for the others
RESERVED = {"con", "prn", "aux", "nul", "conin$", "conout$", "clock$"} | {
    f"{port}{number}" for port in ("com", "lpt") for number in _NUMBERS
}
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LABEL = re.compile(r"[0-9]{1,7}_[0-9]{1,7}")


def check_name(name: str, what: str) -> str:
    """A name that may become a folder, or a clear error.

    Raises:
        ValueError: for path separators, ``..``, reserved and empty names.
    """
    bare = name.strip()
    if not bare or not bare.strip(". "):
        raise ValueError(
            f"{what} must be a name, but it is {shown(name)}; type at least one letter"
        )
    if "/" in bare or "\\" in bare or bare == ".." or "\0" in bare:
        raise ValueError(
            f"{what} must be one folder name inside the output folder, but {shown(name)} holds a "
            "path separator or '..'; take it out"
        )
    if not is_unicode(bare):
        raise ValueError(
            f"{what} holds characters that are not valid Unicode ({shown(name)}); type it again"
        )
    if is_reserved(bare):
        raise ValueError(
            f"{what} must not be {shown(name)}: Windows reserves that name; choose another"
        )
    return bare


def is_reserved(name: str) -> bool:
    """Whether Windows takes a name for a device, also with an ending or blanks behind it."""
    return name.split(".")[0].split(":")[0].strip().casefold() in RESERVED


def folder_name(name: str) -> str:
    """``name`` with what some file systems cannot hold replaced by ``_``, and cut when very
    long."""
    safe = re.sub(r'[<>:"|?*\x00-\x1f\x7f]', "_", name.strip()).rstrip(". ")
    encoded = safe.encode("utf-8", "replace")
    if len(encoded) <= MAX_NAME_BYTES:
        return encoded.decode()
    mark = hashlib.sha256(encoded).hexdigest()[:8]
    return encoded[: MAX_NAME_BYTES - 9].decode("utf-8", "ignore").rstrip(". ") + "_" + mark


def composed(name: str) -> str:
    """A name with its accents encoded in the one way in which names are compared (NFC)."""
    return unicodedata.normalize("NFC", name)


def is_plain_name(name: object) -> bool:
    """Whether a value that a file holds is the name of something right in one folder."""
    if not isinstance(name, str) or name in ("", ".", "..") or not is_unicode(name):
        return False
    return len(name.encode()) <= MAX_FILE_BYTES and not set(name) & set("/\\:\0")


def is_digest(text: object) -> bool:
    """Whether a value is a SHA-256 in hexadecimal digits: the name of a picture or a record."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def is_label(text: object) -> bool:
    """Whether a value is a shot's label: scene and number, such as ``01_02``."""
    return isinstance(text, str) and _LABEL.fullmatch(text) is not None
