"""FCPXML 1.9 (Apple's DTD), which DaVinci Resolve and Final Cut Pro open.

Written here and not by OTIO's adapter, which leaves out transitions, sizes and every frame rate
that Final Cut does not offer, such as the 16 frames per second of Wan 2.2.
"""

from __future__ import annotations

from fractions import Fraction
from urllib.parse import quote
from xml.etree import ElementTree

from .timeline import Timeline, TimelineClip

VERSION = "1.9"
DISSOLVE = "FxPlug:4731E73A-8DAC-4113-9A30-AE85B1761265"  # Cross Dissolve, as Final Cut names it
SPACE = "1-1-1 (Rec. 709)"
AUDIO_RATE = "48000"
KEYS = ("prompt", "seed", "take", "cast", "memory", "negative", "mode")  # of a clip's metadata


def fcpxml_text(timeline: Timeline) -> str:
    """A timeline as the text of an FCPXML document."""
    root = ElementTree.Element("fcpxml", version=VERSION)
    resources = ElementTree.SubElement(root, "resources")
    formats: dict[tuple[int, int], str] = {}
    for clip in timeline.clips:
        size = (clip.width, clip.height)
        if size not in formats:
            formats[size] = f"r{len(formats) + 1}"
            ElementTree.SubElement(
                resources, "format", id=formats[size], name="FFVideoFormatRateUndefined",
                frameDuration=f"{timeline.rate.denominator}/{timeline.rate.numerator}s",
                width=str(clip.width), height=str(clip.height), colorSpace=SPACE,
            )  # fmt: skip
    ids = _Ids(len(formats))
    effect = ""
    if any(clip.fade for clip in timeline.clips):
        effect = ids.next()
        ElementTree.SubElement(resources, "effect", id=effect, name="Cross Dissolve", uid=DISSOLVE)
    first = timeline.clips[0]
    project_format = formats[first.width, first.height]
    library = ElementTree.SubElement(root, "library")
    event = ElementTree.SubElement(library, "event", name=timeline.name)
    project = ElementTree.SubElement(event, "project", name=timeline.name)
    sequence = ElementTree.SubElement(
        project, "sequence", format=project_format, duration=_seconds(timeline.duration, timeline),
        tcStart="0s", tcFormat="NDF", audioLayout="stereo", audioRate="48k",
    )  # fmt: skip
    spine = ElementTree.SubElement(sequence, "spine")
    for clip in timeline.clips:
        ref = ids.next()
        format_id = formats[clip.width, clip.height]
        _add_asset(resources, ref, clip, format_id, timeline)
        if clip.fade:
            _add_transition(spine, clip, effect, timeline)
        element = _add_clip(spine, ref, clip, format_id, timeline)
        audio = ids.next() if clip.has_audio and clip.audio_path else ""
        if audio:
            _add_sound_asset(resources, audio, clip.audio_path, clip.frames, timeline)
        track = ids.next() if timeline.track and clip is first else ""
        if track:
            _add_sound_asset(resources, track, timeline.track, timeline.duration, timeline)
        # Order of the DTD: what is connected, then markers, then metadata.
        if audio:
            _connect(element, audio, clip, clip.name, clip.first - clip.head, clip.duration, "-1",
                     timeline)  # fmt: skip
        if track:
            made = _connect(element, track, clip, "Sound of the film", 0, timeline.duration, "-2",
                            timeline)  # fmt: skip
            if timeline.is_mixed:
                made.set("enabled", "0")
        ElementTree.SubElement(
            element, "marker", start=_seconds(clip.first, timeline),
            duration=_seconds(1, timeline), value=clip.label, note=_clean(clip.info["prompt"]),
        )  # fmt: skip
        _add_metadata(element, clip)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n{text}\n'


# --- inside ----------------------------------------------------------------------------------


class _Ids:
    """Names of resources, ``r1`` and on."""

    def __init__(self, used: int):
        self.used = used

    def next(self) -> str:
        self.used += 1
        return f"r{self.used}"


def _seconds(frames: int, timeline: Timeline) -> str:
    """Frames as a rational number of seconds, a multiple of the frame's duration."""
    if not frames:
        return "0s"
    time = Fraction(frames) / timeline.rate
    return f"{time.numerator}/{time.denominator}s" if time.denominator > 1 else f"{time.numerator}s"


def _add_asset(resources, ref: str, clip: TimelineClip, format_id: str, timeline: Timeline) -> None:
    has_own_sound = clip.has_audio and not clip.audio_path
    sound = {"hasAudio": "1", "audioSources": "1", "audioChannels": "2", "audioRate": AUDIO_RATE}
    asset = ElementTree.SubElement(
        resources, "asset", id=ref, name=clip.path.rpartition("/")[2], start="0s",
        duration=_seconds(clip.available, timeline), hasVideo="1", format=format_id,
        videoSources="1", **(sound if has_own_sound else {}),
    )  # fmt: skip
    _add_file(asset, clip.path)


def _add_sound_asset(resources, ref: str, path: str, frames: int, timeline: Timeline) -> None:
    asset = ElementTree.SubElement(
        resources, "asset", id=ref, name=path.rpartition("/")[2], start="0s",
        duration=_seconds(frames, timeline), hasAudio="1", audioSources="1", audioChannels="2",
        audioRate=AUDIO_RATE,
    )  # fmt: skip
    _add_file(asset, path)


def _add_file(asset, path: str) -> None:
    source = f"./{quote(path)}"  # relative to the document
    ElementTree.SubElement(asset, "media-rep", kind="original-media", src=source)


def _add_transition(spine, clip: TimelineClip, effect: str, timeline: Timeline) -> None:
    transition = ElementTree.SubElement(
        spine, "transition", name="Cross Dissolve",
        offset=_seconds(clip.start - clip.fade_in[0], timeline),
        duration=_seconds(clip.fade, timeline),
    )  # fmt: skip
    ElementTree.SubElement(transition, "filter-video", ref=effect, name="Cross Dissolve")


def _add_clip(spine, ref: str, clip: TimelineClip, format_id: str, timeline: Timeline):
    return ElementTree.SubElement(
        spine, "asset-clip", ref=ref, name=_clean(clip.name), format=format_id, tcFormat="NDF",
        offset=_seconds(clip.start, timeline), start=_seconds(clip.first, timeline),
        duration=_seconds(clip.duration, timeline),
    )  # fmt: skip


def _connect(
    parent, ref: str, under: TimelineClip, name: str, first: int, frames: int, lane: str, timeline
):
    """Sound below a clip; it begins where the clip does, in the clip's own time."""
    return ElementTree.SubElement(
        parent, "asset-clip", ref=ref, lane=lane, name=_clean(name), srcEnable="audio",
        offset=_seconds(under.first, timeline), start=_seconds(first, timeline),
        duration=_seconds(frames, timeline),
    )  # fmt: skip


def _add_metadata(element, clip: TimelineClip) -> None:
    metadata = ElementTree.SubElement(element, "metadata")
    for key in KEYS:
        value = clip.info.get(key)
        if key == "memory":
            value = [frame["from"] for frame in value or ()]
        if isinstance(value, (list, tuple)):
            value = ", ".join(map(str, value))
        if value not in (None, ""):
            ElementTree.SubElement(metadata, "md", key=f"storymem.{key}", value=_clean(str(value)))


def _clean(text: str) -> str:
    """Without characters that XML cannot hold."""
    return "".join(c if c >= " " and not "\ud800" <= c <= "\udfff" else " " for c in text)
