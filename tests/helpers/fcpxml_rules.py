"""What Apple's DTD of FCPXML 1.9 and its documentation ask of the elements that are written.

Order and number of children, attributes that must or may stand, references to resources, and times
that are multiples of the format's frame duration.
"""

from __future__ import annotations

import re
from fractions import Fraction
from xml.etree import ElementTree

# Children in the order of the DTD, as a regular expression over their names.
CHILDREN = {
    "fcpxml": r"(import-options )?(resources )?(library )",
    "resources": r"((asset|effect|format|media) )*",
    "format": "", "effect": "", "media-rep": "(bookmark )?", "filter-video": "", "marker": "",
    "md": "",
    "asset": r"(media-rep )+(metadata )?",
    "library": r"(event )*(smart-collection )*",
    "event": r"((clip|audition|mc-clip|ref-clip|sync-clip|asset-clip|project) )*",
    "project": r"(sequence )",
    "sequence": r"(note )?(spine )(metadata )?",
    "spine": r"((audio|video|clip|title|mc-clip|ref-clip|sync-clip|asset-clip|gap|transition) )*",
    "transition": r"(filter-video )?(filter-audio )?(marker )*(metadata )?",
    "asset-clip": r"(note )?(asset-clip )*(marker )*(audio-channel-source )*(filter-video )*"
    r"(metadata )?",
    "metadata": r"(md )*",
}  # fmt: skip
# Attributes: those that must stand, then those that may.
ATTRIBUTES = {
    "fcpxml": ("version", ""),
    "resources": ("", ""),
    "format": ("id", "name frameDuration width height colorSpace fieldOrder paspH paspV"),
    "effect": ("id uid", "name src"),
    "asset": (
        "id",
        "name uid start duration hasVideo format hasAudio videoSources audioSources audioChannels "
        "audioRate",
    ),
    "media-rep": ("src", "kind sig suggestedFilename"),
    "library": ("", "location colorProcessing"),
    "event": ("", "name uid"),
    "project": ("", "name uid id modDate"),
    "sequence": ("format", "duration tcStart tcFormat renderFormat audioLayout audioRate keywords"),
    "spine": ("", "lane offset name format"),
    "transition": ("duration", "name offset"),
    "filter-video": ("ref", "name enabled nameOverride"),
    "asset-clip": (
        "ref",
        "lane offset name start duration enabled srcEnable format tcStart tcFormat audioRole "
        "videoRole",
    ),
    "marker": ("start value", "duration note completed"),
    "metadata": ("", ""),
    "md": ("key", "value editable type displayName"),
}
TIMES = ("offset", "start", "duration", "tcStart")
TIME = re.compile(r"(\d+)(?:/(\d+))?s")


def broken_rules(text: str) -> list[str]:
    """What a document breaks, in words; nothing when it is right."""
    told = [] if "<!DOCTYPE fcpxml>" in text else ["there is no DOCTYPE"]
    root = ElementTree.fromstring(text)
    formats = {f.get("id"): _time(f.get("frameDuration")) for f in root.iter("format")}
    resources = [element.get("id") for element in root.find("resources")]
    if len(resources) != len(set(resources)):
        told.append("an id stands twice")
    for element in root.iter():
        told += _shape(element)
        for name in ("ref", "format"):
            if (ref := element.get(name)) and ref not in resources:
                told.append(f"{element.tag} refers to {ref}, which is no resource")
    step = formats[root.find(".//sequence").get("format")]
    for element in root.iter():
        for name in TIMES:
            if (given := element.get(name)) is None:
                continue
            time = _time(given)
            if time is None or (time / step).denominator != 1:
                told.append(f"{element.tag} {name} {given} is no multiple of a frame")
    return told or _spine(root)


def _shape(element) -> list[str]:
    tag = element.tag
    if tag not in CHILDREN:
        return [f"{tag} is no element that is written"]
    told = []
    children = "".join(f"{child.tag} " for child in element)
    if not re.fullmatch(CHILDREN[tag], children):
        told.append(f"{tag} has children {children}")
    must, may = (set(part.split()) for part in ATTRIBUTES[tag])
    told += [f"{tag} lacks {name}" for name in must - set(element.attrib)]
    told += [f"{tag} has {name}" for name in set(element.attrib) - must - may]
    return told


def _spine(root) -> list[str]:
    """Clips follow one another without a gap, inside their assets; fades lie over cuts."""
    told, end = [], Fraction(0)
    assets = {asset.get("id"): asset for asset in root.iter("asset")}
    items = list(root.find(".//spine"))
    for i, item in enumerate(items):
        offset, length = _time(item.get("offset")), _time(item.get("duration"))
        if item.tag == "transition":
            if i in (0, len(items) - 1) or not offset <= end <= offset + length:
                told.append("a transition lies over no cut")
            before, after = items[i - 1], items[i + 1]
            tail = _limit(assets, before) - _time(before.get("start")) - _time(
                before.get("duration")
            )  # fmt: skip
            if tail < offset + length - end or _time(after.get("start")) < end - offset:
                told.append("a clip has too few frames for its transition")
            continue
        if offset != end:
            told.append(f"a gap or overlap before {item.get('name')}")
        end = offset + length
        if _time(item.get("start")) + length > _limit(assets, item):
            told.append(f"{item.get('name')} is longer than its file")
    if end != _time(root.find(".//sequence").get("duration")):
        told.append("the sequence has another duration than its clips")
    return told


def _limit(assets, item) -> Fraction:
    asset = assets.get(item.get("ref"))
    return _time(asset.get("duration")) if asset is not None else Fraction(0)


def _time(text: str) -> Fraction | None:
    match = TIME.fullmatch(text or "")
    return Fraction(int(match[1]), int(match[2] or 1)) if match else None
