"""Timelines as files that editing programs open: OpenTimelineIO, FCPXML and EDL."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from ..files.disk import write_whole
from ..files.packages import needs
from .fcpxml import fcpxml_text
from .timeline import Timeline, TimelineClip, read_timeline

KINDS = ("none", "otio", "fcpxml", "edl")
SLOWEST_EDL = 24  # frames per second
NEEDED = {  # modules, and what pip calls them
    "otio": {"opentimelineio": "opentimelineio"},
    "edl": {"opentimelineio": "opentimelineio", "otio_cmx3600_adapter": "otio-cmx3600-adapter"},
}
METADATA = "storymem"  # the name under which OTIO keeps ours


def check_timeline(kind: str, fps: float) -> None:
    """Whether a timeline can be written, before anything is made.

    Raises:
        ValueError: when a package is missing, or the frame rate has no timecode.
    """
    if kind not in KINDS:
        raise ValueError(f"timeline must be one of {', '.join(KINDS)}, but it is {kind!r}")
    if kind == "edl" and fps < SLOWEST_EDL:
        raise ValueError(
            f"timeline is edl, but fps is {fps:g}: an EDL counts in SMPTE timecode, which knows no "
            f"{fps:g} frames per second; set timeline to otio or fcpxml, or fps to 24 or more (as "
            "after interpolation)"
        )
    if kind == "edl" and fps != round(fps):
        raise ValueError(
            f"timeline is edl, but fps is {fps:g}: only whole frame rates are written as EDL; set "
            "timeline to otio or fcpxml"
        )
    for module, package in NEEDED.get(kind, {}).items():
        needs(module, package, f"timeline {kind}")


def export_timeline(folder: Path, kind: str, film: str = "") -> Path:
    """Write the timeline of a story's film beside it; its path.

    Args:
        film: name of the story video; empty for the one that the folder shows.

    Raises:
        ValueError: without a film, or when the timeline cannot be written.
        OSError: when the disk refuses.
    """
    timeline = read_timeline(folder, film)
    check_timeline(kind, float(timeline.rate))
    path = (folder / timeline.film).with_suffix(f".{kind}")
    write_whole(path, timeline_text(timeline, kind).encode())
    return path


def timeline_text(timeline: Timeline, kind: str) -> str:
    """What the file of a timeline holds."""
    if kind == "fcpxml":
        return fcpxml_text(timeline)
    import opentimelineio as otio

    made = to_otio(timeline)
    if kind == "otio":
        return otio.adapters.write_to_string(made, "otio_json")
    video = made.video_tracks()[0]
    only = otio.schema.Timeline(made.name)
    only.tracks.append(video.deepcopy())
    for clip in only.find_clips():
        clip.markers.clear()
        clip.metadata.clear()
    return otio.adapters.write_to_string(only, "cmx_3600", rate=float(timeline.rate))


def to_otio(timeline: Timeline):
    """A timeline as ``opentimelineio.schema.Timeline``."""
    import opentimelineio as otio

    rate = float(timeline.rate)
    made = otio.schema.Timeline(timeline.name, global_start_time=_time(0, rate))
    made.metadata[METADATA] = {**timeline.info, "film": timeline.film}
    video = otio.schema.Track("Shots", kind=otio.schema.TrackKind.Video)
    sound = otio.schema.Track("Sound of shots", kind=otio.schema.TrackKind.Audio)
    for clip in timeline.clips:
        if clip.fade:
            before, after = clip.fade_in
            video.append(
                otio.schema.Transition(
                    "Cross-fade",
                    otio.schema.TransitionTypes.SMPTE_Dissolve,
                    _time(before, rate),
                    _time(after, rate),
                )
            )
        video.append(_clip(clip, clip.path, rate))
        if any(other.has_audio for other in timeline.clips):
            sound.append(_sound(clip, rate))
    made.tracks.append(video)
    if len(sound):
        made.tracks.append(sound)
    if timeline.track:
        made.tracks.append(_film_track(timeline, rate))
    return made


# --- inside ----------------------------------------------------------------------------------


def _time(frames: int, rate: float):
    import opentimelineio as otio

    return otio.opentime.RationalTime(frames, rate)


def _span(first: int, frames: int, rate: float):
    import opentimelineio as otio

    return otio.opentime.TimeRange(_time(first, rate), _time(frames, rate))


def _clip(clip: TimelineClip, path: str, rate: float, head: int | None = None):
    import opentimelineio as otio

    head = clip.head if head is None else head
    reference = otio.schema.ExternalReference(quote(path), _span(0, head + clip.frames, rate))
    reference.name = path.rpartition("/")[2]
    first = clip.first - clip.head + head
    made = otio.schema.Clip(clip.name, reference, _span(first, clip.duration, rate))
    made.metadata[METADATA] = dict(clip.info)
    made.markers.append(
        otio.schema.Marker(
            name=clip.label,
            marked_range=_span(first, 1, rate),
            color=otio.schema.MarkerColor.BLUE if clip.info["cut"] else "GREEN",
            metadata={METADATA: {"prompt": clip.info["prompt"], "take": clip.info["take"]}},
            comment=clip.info["prompt"],
        )
    )
    return made


def _sound(clip: TimelineClip, rate: float):
    import opentimelineio as otio

    if not clip.has_audio:
        return otio.schema.Gap(source_range=_span(0, clip.duration, rate))
    made = _clip(clip, clip.audio_path or clip.path, rate, 0 if clip.audio_path else None)
    made.markers.clear()
    return made


def _film_track(timeline: Timeline, rate: float):
    import opentimelineio as otio

    track = otio.schema.Track("Sound of the film", kind=otio.schema.TrackKind.Audio)
    span = _span(0, timeline.duration, rate)
    reference = otio.schema.ExternalReference(quote(timeline.track), span)
    track.append(otio.schema.Clip("Sound of the film", reference, span))
    track.enabled = not timeline.is_mixed
    return track
