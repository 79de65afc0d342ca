"""What the artist gets: a file per shot, the story video, subtitles and the script, in one
folder."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ..files.codecs import H264
from ..files.disk import (
    explain_write_errors,
    remove_link,
    remove_when_free,
    replacing,
    unfinished_file,
)
from ..files.frame_colours import unusual_colours
from ..files.hashing import checksum, digest_of
from ..files.messages import reason_of
from ..files.names import folder_name
from ..files.video import (
    DEFAULT_CRF,
    FRAME_RATE,
    is_bt709,
    read_info,
    write_video,
)
from ..loop.plan import LoopSettings, Step
from ..loop.reuse import describe_result
from ..memory.bank import MemoryBank
from ..memory.bank_folder import save_bank
from ..script.story import Shot, Story
from .cutting_room import put_for_editors
from .earlier_films import OF_FILE
from .edited_shots import Edit, Written
from .film_sound import FilmSound
from .folder import remove_shown
from .folder_lock import changing
from .head import FilmHead
from .held_files import HELD, clear_beside, put_beside, write_copy
from .joining import Clip, Joined, captions_of, fades_of, tell_colours
from .manifest import read_manifest, update_manifest, write_script_copy
from .passes import pass_folder_name
from .series import FilmSeries, describe_content
from .shot_files import ShotFiles, as_changes
from .shot_status import describe_made
from .subtitle_files import Cue
from .versions import FilmVersion, now

ANOTHER_TAKE = "another take lies there now"
BANK_FOLDER = "bank"  # in the story's folder
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoOptions:
    """What the artist sets on Shot Loop Close."""

    fps: float = FRAME_RATE
    crf: int = DEFAULT_CRF
    fade_frames: int = 0  # at cuts
    subtitles: bool = True  # as files beside the film
    prompt_subtitles: bool = False  # of shots that say nothing else
    codec: str = H264  # of masters for editing programs
    timeline: str = "none"  # one of storymem.film.timeline_files.KINDS

    @property
    def master(self) -> str:
        """The codec of a shot's master; empty for none."""
        return self.codec if self.codec != H264 or self.timeline != "none" else ""


@dataclass(frozen=True)
class StoryExport:
    """The visible files of one story."""

    folder: Path
    story: Story
    settings: LoopSettings
    options: VideoOptions
    name: str = ""  # of the story video; empty: the story's own
    head: FilmHead | None = None  # the clip before the first shot
    # By the file's name, what the artist should know of files that were changed.
    notes: MutableMapping[str, str] = field(default_factory=dict)
    sound: FilmSound | None = None

    @property
    def shot_files(self) -> ShotFiles:
        """The shot files of its folder; what the artist should know of them goes to ``notes``."""
        return ShotFiles(self.folder, self.story, self.notes)

    def show_shot(self, step: Step) -> Path:
        """Put a finished shot, or the artist's edit of it, where the artist looks."""
        target = self.folder / f"shot_{step.label}.mp4"
        key, files = step.record.key, self.shot_files
        with explain_write_errors("the shot", target), changing(self.folder):
            try:
                if files.is_current(target.name, key, self.options.fps, None, self._mark(step)):
                    self._list_shot(step, files.written()[target.name])
                else:
                    files.make_way(target.name, ANOTHER_TAKE, step.record.video)
                    if files.bring_back(target.name, key):
                        self._list_shot(step, files.written()[target.name])
                    else:
                        self._write_shot(step, target)
            except PermissionError as error:
                return self._put_beside(step, target, error)
            if self.notes.pop(f"{target.name}{HELD}", None):
                logger.info("StoryMem: %s is in its place now", target)
                clear_beside(self.folder, self.story)
        return target

    def _put_beside(self, step: Step, target: Path, error: OSError) -> Path:
        """Put a shot beside its place, which another program has open."""
        write = partial(self._write_video, step)
        name = put_beside(self.folder, self.story, step.label, write)
        there = read_manifest(self.folder)["shots"].get(step.label, {})
        of_place = {fact: there[fact] for fact in OF_FILE if fact in there}  # it stays as it is
        made = describe_made(self.story, step)
        entry = {**describe_result(step), **made, "seed": step.plan.shot.seed, **of_place}
        locks = dict.fromkeys(self._lock_names(step.plan.shot), step.record.key)
        shots = {step.label: {**entry, "beside": name}}
        update_manifest(self.folder, self.story, shots=shots, locks=locks)
        self.shot_files.tell(
            f"{target.name}{HELD}",
            f"{target.name} could not be replaced, as while a program plays it "
            f"({reason_of(error)}): the new shot is in '{name}' until it can be",
        )
        return self.folder / name

    def _write_shot(self, step: Step, target: Path) -> None:
        """Write a shot's file. The manifest is first: after a crash in between, what lies there is
        older than what should, and no edit."""
        with replacing(target) as unfinished:
            self._write_video(step, unfinished)
            status = unfinished.stat()
            digest, fps = checksum(unfinished), float(self.options.fps)
            written = Written(
                step.record.key, digest, status.st_mtime_ns, fps, sound=self._mark(step)
            )
            # Once more: an export may have ended while the shot was being written.
            self.shot_files.make_way(target.name, ANOTHER_TAKE, step.record.video)
            remove_when_free(target)  # after a crash nothing lies there that looks foreign
            self._list_shot(step, written, size=status.st_size)

    def _write_video(self, step: Step, target: Path) -> None:
        if not (self.sound and self.sound.write_shot(step, target, self.options.fps)):
            write_copy(step.record.video, target, self.options.fps)

    def _mark(self, step: Step) -> str:
        return self.sound.mark(step) if self.sound else ""

    def _list_shot(self, step: Step, written: Written, **facts) -> None:
        name = f"shot_{step.label}.mp4"
        entry = {
            **describe_result(step),
            "file": name,
            "fps": written.fps,
            "sha256": written.sha256,
            "seed": step.plan.shot.seed,
            **describe_made(self.story, step),
            **facts,
        }
        with changing(self.folder):
            changes = as_changes({**self.shot_files.written(), name: written})
            changes["locks"] = dict.fromkeys(self._lock_names(step.plan.shot), step.record.key)
            update_manifest(self.folder, self.story, shots={step.label: entry}, **changes)

    def export_missing(self, steps: Sequence[Step]) -> None:
        """Put finished shots there whose visible file is missing, older or damaged; edits stay."""
        with explain_write_errors("the shots", self.folder), changing(self.folder):
            listed = read_manifest(self.folder)["shots"]
            table = self.shot_files.written()
            for step in steps:
                if not self._is_shown(step, listed, table):
                    self.show_shot(step)
                elif not step.reason:
                    self._note_what_it_follows(step, listed[step.label])

    def show_only(self, steps: Sequence[Step]) -> None:
        """Put finished shots there as ``export_missing``, and take away those that the script no
        longer has: files as they were written go, edits are put aside."""
        self.export_missing(steps)
        labels = [shot.label for shot in self.story.shots]
        self.shot_files.clear(labels)
        remove_shown(self.folder, read_manifest(self.folder), labels)
        clear_beside(self.folder, self.story)

    def finish(
        self, steps: list[Step], metadata: Mapping[str, str], bank: MemoryBank | None
    ) -> Path:
        """Put shots, film and memory there, all of one run, whatever other processes write there.

        Args:
            metadata: what the file of a new film says of itself.
            bank: the memory after the last shot, if it is to lie beside the film.

        Returns:
            The film: the present one when it shows the same already, else one with the next number.

        Raises:
            StoreError: when the disk refuses.
        """
        wanted = self.settings.range(self.story)
        chosen = [step for step in steps if step.plan.shot.index in wanted]
        series = FilmSeries(self.folder, self.story, self._stem(wanted))
        place, joined = self.folder / f"{series.stem}.mp4", False
        with (
            explain_write_errors("the story video", place),
            unfinished_file(place) as film,
            self._clips(chosen) as clips,
        ):
            clips = [*self._head(chosen, clips), *clips]
            fades = fades_of(chosen, clips, self.options.fade_frames)
            version = self._describe_film(steps, chosen, clips, fades)
            captions = captions_of(
                self.story, chosen, clips, fades, prompts=self.options.prompt_subtitles
            )
            while True:
                with changing(self.folder):
                    known = series.find(version)
                    known = known if self._is_right(series, known) else None
                    if joined or known:
                        put = self._put_film(series, known, film, version, steps, captions, bank)
                        break
                # A long film takes minutes to join, which others of this folder need not wait for.
                tell_colours(self.shot_files, chosen, clips)
                film_of = Joined(clips, fades, self.options.fps, self.options.crf, metadata)
                if version.sound:
                    is_copied, note = film_of.write_with(self.sound, series, version, film)
                    if note:
                        self.shot_files.tell("sound", note)
                else:
                    is_copied = film_of.write(film)
                if not is_copied and not any(fades):
                    logger.info("StoryMem: shots of different kinds were re-encoded for %s", place)
                size, sha256 = film.stat().st_size, checksum(film)
                version = replace(version, is_copied=is_copied, size=size, sha256=sha256)
                joined = True
            put_for_editors(self, chosen, clips, fades, put, metadata)
        return put

    def _put_film(
        self,
        series: FilmSeries,
        known: FilmVersion | None,
        film: Path,
        version: FilmVersion,
        steps: Sequence[Step],
        captions: Sequence[Cue],
        bank: MemoryBank | None,
    ) -> Path:
        """Put everything of one run there while the folder is held; the film's path.

        Args:
            known: the present film, when it stays; else ``film`` is published.
        """
        self.show_only(steps)
        known = known or series.publish(film, version)
        write_script_copy(self.folder, self.story)
        if bank is not None:
            remove_link(self.folder / BANK_FOLDER)
            save_bank(self.folder / BANK_FOLDER, bank)
        series.put_beside(known, version, captions if self.options.subtitles else None)
        return self.folder / known.file

    def files(self, steps: list[Step], film: Path) -> list[Path]:
        """What an artist sees of a finished run."""
        return [film, *(self.folder / f"shot_{step.label}.mp4" for step in steps)]

    def _describe_film(
        self,
        steps: Sequence[Step],
        chosen: Sequence[Step],
        clips: Sequence[Clip],
        fades: Sequence[int],
    ) -> FilmVersion:
        """The film that ``steps`` make, before it is joined and has a number."""
        options = self.options
        pictures = describe_content([clip.sha256 for clip in clips], options.fps, fades)
        sound = ""
        if self.sound and self.sound.is_heard(chosen):
            sound = self.sound.describe([clip.sound for clip in clips])
        return FilmVersion(
            when=now(),
            content=digest_of([pictures, sound]) if sound else pictures,
            pictures=pictures if sound else "",
            sound=sound,
            shots={step.label: step.record.key for step in steps},
            fps=float(options.fps),
            crf=options.crf,
            fade_frames=options.fade_frames,
        )

    def _lock_names(self, shot: Shot) -> list[str]:
        """By what a lock of ``shot`` is known: its label, and the id of its row if no other row
        has that."""
        if not shot.lock:
            return []
        rows = [other.row for other in self.story.shots if other.lock]
        return [shot.label] + [shot.row] * (bool(shot.row) and rows.count(shot.row) == 1)

    def _stem(self, wanted: range) -> str:
        own = folder_name(self.story.name)
        name = self.name or pass_folder_name(own, self.settings.pass_name)
        if re.match(r"shot_[0-9]+_[0-9]+$", name, re.IGNORECASE):  # the name of a shot's own file
            name = f"story_{name}"
        if len(wanted) == len(self.story.shots):
            return name
        return f"{name}_shots_{wanted.start + 1:02d}-{wanted.stop:02d}"

    def _is_shown(self, step: Step, listed: Mapping, table: Mapping[str, Written]) -> bool:
        """Whether the visible file is this result, byte for byte, or an artist's edit of it."""
        entry = listed.get(step.label, {})
        name, key = f"shot_{step.label}.mp4", step.record.key
        is_listed = entry.get("key") == key and entry.get("file") == name
        fps, mark = self.options.fps, self._mark(step)
        return is_listed and self.shot_files.is_current(name, key, fps, table, mark)

    def _note_what_it_follows(self, step: Step, entry: Mapping) -> None:
        """The shot before may have been regenerated, and this one still be what it was."""
        made = describe_made(self.story, step)
        if any(entry.get(name) != value for name, value in made.items()):
            with explain_write_errors("story.json", self.folder):
                update_manifest(self.folder, self.story, shots={step.label: {**entry, **made}})

    def _head(self, steps: Sequence[Step], clips: Sequence[Clip]) -> list[Clip]:
        """The clip before the first shot, in the size of that, when there is one to show."""
        if self.head is None or steps[0].plan.shot.index:
            return []
        info = read_info(clips[0].path)
        path = self.head.video(info.width, info.height, self.options.crf)
        return [Clip(path, len(self.head.clip.frames), checksum(path))]

    @contextmanager
    def _clips(self, steps: Sequence[Step]) -> Iterator[list[Clip]]:
        """The shots as the film shows them; edits that do not fit are encoded for it meanwhile."""
        with ExitStack() as stack:
            edits = self._copied_edits(steps, stack)
            is_heard = self.sound is not None and self.sound.is_heard(steps)
            clips = []
            for step in steps:
                record = step.record
                if edit := edits.get(record.key):
                    fitted = stack.enter_context(
                        unfinished_file(self.folder / f"shot_{step.label}.mp4")
                    )
                    sound = self.sound.of_edit(edit, step) if is_heard else None
                    clips.append(replace(self._edited_clip(step, edit, fitted), sound=sound))
                else:
                    sound = self.sound.of(step) if self.sound else None
                    clips.append(Clip(record.video, record.frames, checksum(record.video), sound))
            yield clips

    def _copied_edits(self, steps: Sequence[Step], stack: ExitStack) -> dict[str, Edit]:
        """The edits of ``steps`` as they are now, in copies that nobody else puts aside meanwhile:
        taken while no other process changes the folder, whose new shots would look like edits."""
        copies, keys = {}, {step.record.key for step in steps}
        with changing(self.folder):
            for key, edit in self.shot_files.edits().items():
                if key in keys:
                    copy = stack.enter_context(unfinished_file(self.folder / edit.path.name))
                    shutil.copyfile(edit.path, copy)
                    copies[key] = replace(edit, path=copy)
        return copies

    def _edited_clip(self, step: Step, edit: Edit, fitted: Path) -> Clip:
        """An artist's edit for the film: as it is, or encoded to ``fitted`` in the shot's size and
        rate."""
        known = read_info(step.record.video)
        name = f"shot_{step.label}.mp4"
        note = f"{name} was edited: it is kept and used in the story video"
        if edit.joins(known):
            self.shot_files.tell(name, note)
            return Clip(edit.path, edit.frames, edit.sha256)
        frames = edit.fitted((known.height, known.width))
        write_video(fitted, frames, fps=FRAME_RATE, crf=self.options.crf)
        was = f"{edit.info.width}x{edit.info.height} at {edit.rate:.4g} fps"
        fits = f"{known.width}x{known.height} at {edit.written.fps:.4g} fps"
        how = "in the encoding of the others" if was == fits else f"from {was} to {fits}"
        if unusual := unusual_colours(edit.info.primaries, edit.info.curve):
            how += f", its {unusual} colours converted to BT.709"
        self.shot_files.tell(name, f"{note}, re-encoded {how}")
        return Clip(fitted, edit.frames, edit.sha256)

    def _is_right(self, series: FilmSeries, known: FilmVersion | None) -> bool:
        """Whether a film can stay: its file is as it was written, and not in the colours of
        earlier versions."""
        return series.is_there(known) and is_bt709(self.folder / known.file)
