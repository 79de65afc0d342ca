"""Whether a request comes from the page that the server itself served."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit


def is_same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a browser sent this from the page that the server itself served.

    Programs outside of browsers send neither header.
    """
    site = headers.get("Sec-Fetch-Site")  # no page can set it; plain http lacks it
    if site is not None and site != "none":
        return site == "same-origin"  # behind a proxy Host is another name than in Origin
    origin = headers.get("Origin")
    if origin is None:
        return True
    asked = headers.get("Host", "").lower()
    try:
        return urlsplit(origin).netloc.lower() == asked != ""
    except ValueError:
        return False
