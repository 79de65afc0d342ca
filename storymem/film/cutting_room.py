"""What a run leaves for editing programs beside the story video: masters and a timeline."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..files.codecs import H264, find_codec
from ..files.disk import explain_write_errors
from ..files.video import as_rate
from .film_track import put_track
from .masters import FOLDER, OPENING, MasterOf, Masters
from .openings import keep_opening
from .timeline_files import check_timeline, export_timeline

logger = logging.getLogger(__name__)


def check_options(options) -> None:
    """Whether masters and timeline can be written, before the first shot.

    Args:
        options: :class:`storymem.film.output.VideoOptions`.

    Raises:
        ValueError: when PyAV lacks the codec, a package is missing, or the timeline's kind knows no
            such frame rate.
    """
    as_rate(options.fps)
    if options.codec != H264:
        find_codec(options.codec)
    check_timeline(options.timeline, options.fps)


def put_for_editors(
    export, steps: Sequence, clips: Sequence, fades: Sequence[int], film: Path, metadata: Mapping
) -> None:
    """Write masters and timeline, as far as the options ask for them.

    Args:
        export: :class:`storymem.film.output.StoryExport` of the run.
        steps: the shots of the film, finished.
        clips: each as the film shows it (:class:`storymem.film.joining.Clip`), after the clip at
            the film's head, where it has one.
        fades: frames that fade before each.

    Raises:
        StoreError: when the disk refuses.
    """
    options, folder = export.options, export.folder
    if export.settings.draft is not None:  # what is tried before the film is not cut
        return
    heads = clips[: len(clips) - len(steps)]
    keep_opening(folder, export.story, film.name, heads)
    if options.master:
        shots = [MasterOf(OPENING, clip.path, clip.sha256) for clip in heads] + [
            MasterOf(f"shot_{step.label}", clip.path, clip.sha256, step.record)
            for step, clip in zip(steps, clips[len(heads) :], strict=True)
        ]
        writer = Masters(folder, export.story, options.codec, options.fps, options.crf, metadata)
        with explain_write_errors("the masters", folder / FOLDER):
            for note in writer.put(shots, fades, film):
                export.shot_files.tell(note, note)
    frames = sum(clip.frames for clip in clips) - sum(fades)
    track = export.sound and export.sound.laid(frames, options.fps)
    if track and (options.master or options.timeline != "none"):
        with explain_write_errors("the film's track", folder / FOLDER):
            if note := put_track(folder, film.name, track):
                export.shot_files.tell(note, note)
    if options.timeline != "none":
        with explain_write_errors("the timeline", folder):
            path = export_timeline(folder, options.timeline, film.name)
        logger.info("StoryMem: the timeline is %s", path)
