"""Inputs that say what a story leaves for editing programs."""

from __future__ import annotations

from comfy_api.latest import io

from ...storymem.files.codecs import CODECS, H264
from ...storymem.film.timeline_files import KINDS

NO_TIMELINE = KINDS[0]


def codec_input():
    return io.Combo.Input(
        "codec",
        optional=True,
        options=list(CODECS),
        default=H264,
        advanced=True,
        tooltip="h264: the videos that every player shows. h265, prores, ffv1: these and, in the "
        "folder masters, ones of 10 bits for editing programs. Changing it regenerates nothing; "
        "finished shots are encoded from their videos.",
    )


def timeline_input():
    return io.Combo.Input(
        "timeline",
        optional=True,
        options=list(KINDS),
        default=NO_TIMELINE,
        advanced=True,
        tooltip="A timeline for editing programs beside the story video. otio: OpenTimelineIO. "
        "fcpxml: DaVinci Resolve, Final Cut Pro. edl: at 24 fps and above. Changing it "
        "regenerates nothing.",
    )
