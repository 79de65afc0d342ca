"""Inputs that say what a story leaves for editing programs."""

from __future__ import annotations

from collections.abc import Mapping

from comfy_api.latest import io
from comfy_execution.graph_utils import is_link

from ...storymem.files.codecs import CODECS, H264
from ...storymem.files.video import FRAME_RATE
from ...storymem.film.cutting_room import check_options
from ...storymem.film.output import VideoOptions
from ...storymem.film.timeline_files import KINDS

NO_TIMELINE = KINDS[0]


def check_joined(inputs: Mapping) -> None:
    """Whether what a Join Story is set to can be written; what comes over a wire is not known yet.

    Raises:
        ValueError: as ``check_options``.
    """
    told = {"fps": float(FRAME_RATE), "codec": H264, "timeline": NO_TIMELINE}
    told = {name: inputs.get(name, usual) for name, usual in told.items()}
    if not any(map(is_link, told.values())):
        check_options(VideoOptions(**told))


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
