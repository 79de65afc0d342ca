"""Masters and timelines of a finished story, as editing programs get them."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from xml.etree import ElementTree

import av
import numpy as np
import pytest
import torch

from helpers.fcpxml_rules import broken_rules
from storymem import __main__ as program
from storymem.files.codecs import CODECS, find_codec
from storymem.files.video import read_frames, read_info, write_video
from storymem.film import cutting_room
from storymem.film.film_sound import FilmSound
from storymem.film.finished_shots import finishing_story, read_part, read_shots, shot_at
from storymem.film.folder import claim_folder
from storymem.film.head import FilmHead
from storymem.film.manifest import read_manifest
from storymem.film.masters import read_masters
from storymem.film.output import StoryExport, VideoOptions
from storymem.film.timeline import nominal_rate, read_timeline, split_fade
from storymem.film.timeline_files import export_timeline, timeline_text, to_otio
from storymem.loop.begin import begin_shot, load_result
from storymem.loop.opening_clip import OpeningClip
from storymem.loop.plan import Loop, LoopSettings
from storymem.loop.shot_store import ShotStore
from storymem.loop.shots import finish_shot, list_steps
from storymem.memory.bank import MemoryBank
from storymem.memory.frame import MemoryFrame
from storymem.script.reader import load_story
from storymem.sound.files import read_sound, write_sound
from storymem.sound.sound import FILM_RATE, Sound

otio = pytest.importorskip("opentimelineio")

CUTS = [True, False, True, False]  # the second and the fourth go on from the one before


def tale(cuts=CUTS, seed=1):
    prompts = [f"@Mara walks, part {i + 1}" for i in range(len(cuts))]
    scene = {"video_prompts": prompts, "cut": list(cuts)}
    return load_story({"story_name": "Tale", "story_overview": "she walks", "scenes": [scene]})


def make(
    output,
    options,
    *,
    story=None,
    frames=9,
    continuity="last_five_frames",
    size=(64, 80),
    opening=None,
    sound=None,
):
    """A story as the nodes make it; its folder and film."""
    story = story or tale()
    settings = LoopSettings(continuity=continuity)
    loop = Loop(story, settings, MemoryBank(), "body", ShotStore(output / ".storymem"))
    folder = claim_folder(output, "p", story)
    steps, before = list_steps(loop, read_manifest(folder)), None
    head = FilmHead(opening, loop.store.root) if opening else None
    shown = StoryExport(folder, story, loop.settings, options, head=head, sound=sound)
    for step in steps:
        if step.record is None:
            begun = begin_shot(loop, step, before)
            step.begin(begun)
        if step.record is None:
            count = frames + step.plan.overlap_frames
            step.record, step.result = finish_shot(
                loop, step, ramp(step.plan.shot.index, count, size), remember(begun, step), crf=20,
                master=options.master,
            )  # fmt: skip
        before = step.result or load_result(loop, step.record)
        shown.export_missing([step])
    return folder, shown.finish(steps, {}, before.bank)


def ramp(seed, count, size):
    """Frames of slowly growing light, finer than eight bits."""
    frames = torch.linspace(0.2, 0.7, count)[:, None, None, None].repeat(1, *size, 3)
    return (frames + 0.02 * seed + torch.linspace(0, 0.01, size[1])[None, None, :, None]).clamp(
        0, 1
    )


def remember(begun, step):
    frame = MemoryFrame.from_pixels(torch.full((8, 8, 3), 0.1 * step.plan.shot.index + 0.1))
    return begun.bank.remember([replace(frame, shot=step.plan.shot.index)])


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    options = VideoOptions(fade_frames=3, timeline="otio")
    return make(tmp_path_factory.mktemp("plain"), options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A story in ProRes with cross-fades at its cuts."""
    options = VideoOptions(fade_frames=3, codec="prores", timeline="otio")
    return make(tmp_path_factory.mktemp("prores"), options)


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_no_codec_and_no_timeline_leave_a_story_as_it_was(tmp_path):
    folder, _ = make(tmp_path, VideoOptions())
    assert not [name for name in files(folder) if name.startswith("masters")]
    assert "masters" not in json.loads((folder / "story.json").read_text())
    records = [p.name for p in (tmp_path / ".storymem").rglob("shots/*/*/*")]
    assert {name for name in records if name.startswith("master")} == set()


# --- masters ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in CODECS if name != "h264"])
def test_masters_have_ten_bits_of_bt709_and_every_frame(tmp_path, name):
    codec = find_codec(name)
    folder, film = make(tmp_path, VideoOptions(codec=name), frames=6)
    masters = folder / "masters"
    shots = [read_info(masters / f"shot_01_0{n}{codec.suffix}") for n in (1, 2, 3, 4)]
    assert [info.frames for info in shots] == [6, 11, 6, 11]  # five that repeat the shot before
    joined = read_info(masters / f"{film.stem}{codec.suffix}")
    assert joined.frames == read_info(film).frames == 24
    assert {info.pixel_format for info in (*shots, joined)} == {codec.pixel_format}
    assert "10le" in codec.pixel_format
    assert {info[7:] for info in (*shots, joined)} == {(1, 1, 1)}  # BT.709
    assert all((folder / f"shot_01_0{n}.mp4").is_file() for n in (1, 2, 3, 4))  # pages play these


def test_a_master_holds_more_than_eight_bits(finished):
    folder, _ = finished
    with av.open(str(folder / "masters" / "shot_01_01.mov")) as container:
        frame = next(container.decode(video=0))
        values = np.frombuffer(frame.planes[0], np.uint16).reshape(frame.height, -1)
    assert len(set(values[0, :80].tolist())) > 5  # a ramp of 1 %: eight bits know three levels


def test_a_film_in_masters_shows_what_the_film_shows(finished):
    folder, film = finished
    shown = [frame.mean() for frame in read_frames(film)]
    master = [frame.mean() for frame in read_frames(folder / "masters" / f"{film.stem}.mov")]
    assert len(shown) == len(master) == 4 * 9 - 3
    np.testing.assert_allclose(master, shown, atol=0.6)


@pytest.mark.parametrize("name", ["h265", "prores"])
def test_shots_are_joined_as_they_are_without_the_repeated_frames(tmp_path, name):
    codec = find_codec(name)
    folder, film = make(tmp_path, VideoOptions(codec=name), frames=6)
    expected = []
    for label, head in (("01_01", 0), ("01_02", 5), ("01_03", 0), ("01_04", 5)):
        expected += list(read_frames(folder / "masters" / f"shot_{label}{codec.suffix}"))[head:]
    joined = list(read_frames(folder / "masters" / f"{film.stem}{codec.suffix}"))
    assert len(joined) == len(expected)
    assert all((a == b).all() for a, b in zip(joined, expected, strict=True))


def test_a_finished_story_in_another_codec_is_encoded_and_not_made_again(tmp_path):
    make(tmp_path, VideoOptions())
    keys = sorted(p.name for p in (tmp_path / ".storymem" / "shots").glob("*/*"))
    folder, film = make(tmp_path, VideoOptions(codec="ffv1"))
    assert sorted(p.name for p in (tmp_path / ".storymem" / "shots").glob("*/*")) == keys
    assert film.name == "Tale_00001_.mp4"  # the same film
    assert read_info(folder / "masters" / "shot_01_02.mkv").frames == 9  # nothing repeated is left
    shown = list(read_frames(folder / "shot_01_02.mp4"))
    master = list(read_frames(folder / "masters" / "shot_01_02.mkv"))
    assert max(abs(a.astype(int) - b).max() for a, b in zip(shown, master, strict=True)) <= 1


def test_masters_that_are_there_are_not_written_again(tmp_path):
    options = VideoOptions(codec="prores")
    folder, _ = make(tmp_path, options)
    names = [f"shot_01_0{n}.mov" for n in (1, 2, 3, 4)] + ["Tale_00001_.mov"]
    before = [(folder / "masters" / name).stat().st_mtime_ns for name in names]
    make(tmp_path, options)
    assert [(folder / "masters" / name).stat().st_mtime_ns for name in names] == before


def test_a_changed_master_is_kept_under_another_name(tmp_path):
    options = VideoOptions(codec="prores")
    folder, _ = make(tmp_path, options)
    (folder / "masters" / "shot_01_03.mov").write_bytes(b"graded elsewhere")
    make(tmp_path, options)
    aside = folder / "masters" / "shot_01_03 changed 1.mov"
    assert aside.read_bytes() == b"graded elsewhere"
    assert read_info(folder / "masters" / "shot_01_03.mov").frames == 9


def test_an_edited_shot_has_a_master_of_the_edit(tmp_path):
    folder, _ = make(tmp_path, VideoOptions(codec="prores"))
    write_video(folder / "shot_01_03.mp4", [np.full((64, 80, 3), 200, np.uint8)] * 9)
    folder, _ = make(tmp_path, VideoOptions(codec="prores", timeline="otio"))
    master = list(read_frames(folder / "masters" / "shot_01_03.mov"))
    assert abs(master[4].mean() - 200) < 2
    clip = read_timeline(folder).clips[2]
    assert (clip.path, clip.head, clip.frames) == ("masters/shot_01_03.mov", 0, 9)


def test_a_shot_that_left_the_script_takes_its_master_along(tmp_path):
    make(tmp_path, VideoOptions(codec="prores"))
    folder, _ = make(tmp_path, VideoOptions(codec="prores"), story=tale(CUTS[:3]))
    names = [p.name for p in (folder / "masters").glob("shot_*")]
    assert sorted(names) == ["shot_01_01.mov", "shot_01_02.mov", "shot_01_03.mov"]


def test_a_film_that_is_removed_takes_its_master_along(tmp_path):
    folder, first = make(tmp_path, VideoOptions(codec="prores"))
    _, second = make(tmp_path, VideoOptions(codec="prores", fade_frames=2))
    assert first.name != second.name
    assert program.main(["films", str(folder), "--clean", "--keep", "1", "--yes"]) == 0
    names = [p.name for p in (folder / "masters").glob("Tale_*")]
    assert names == [f"{second.stem}.mov"]


def test_story_json_from_elsewhere_names_no_file_outside_of_the_masters():
    entry = {"source": "a" * 64, "sha256": "b" * 64, "codec": "prores", "of": "", "head": 0}
    good = {"Tale_00001_.mov": entry, "shot_01_01.mov": {**entry, "of": "c" * 64, "head": 5}}
    bad = {
        "../x.mov": entry, "a/b.mov": entry, "a\\b.mov": entry, "x.exe": entry, ".mov": entry,
        "shot_x.mov": entry, "y.mov": {**entry, "head": True}, "z.mov": {**entry, "codec": "mjpeg"},
        "w.mov": {**entry, "source": 3}, "v.mov": [], "u.mov": {**entry, "of": "../../etc"},
    }  # fmt: skip
    assert list(read_masters({"masters": {**good, **bad}})) == list(good)
    assert read_masters({"masters": []}) == {}


def test_a_codec_that_pyav_lacks_is_told_before_the_first_shot(monkeypatch):
    known = av.Codec

    def without_x265(name, mode):
        if name == "libx265":
            raise ValueError("no codec")
        return known(name, mode)

    monkeypatch.setattr(av, "Codec", without_x265)
    with pytest.raises(ValueError, match="no encoder libx265; choose h264 or prores or ffv1"):
        cutting_room.check_options(VideoOptions(codec="h265"))
    assert cutting_room.check_options(VideoOptions(codec="prores")) is None
    with pytest.raises(ValueError, match="at least 64 pixels on a side, but these are 48x64"):
        CODECS["h265"].fit(48, 64)
    with pytest.raises(ValueError, match="codec must be one of h264, h265, prores, ffv1"):
        cutting_room.check_options(VideoOptions(codec="mjpeg"))


# --- timelines --------------------------------------------------------------------------------


def test_otio_reads_back_every_time(finished):
    _, film = finished
    read = otio.adapters.read_from_file(str(film.with_suffix(".otio")))
    (track,) = read.video_tracks()
    clips = [item for item in track if isinstance(item, otio.schema.Clip)]
    rate = 16

    def frames(span):
        assert span.start_time.rate == span.duration.rate == rate
        return span.start_time.value, span.duration.value

    # A cross-fade of three frames at the cut before shot 3: one before the cut, two after.
    assert [frames(clip.source_range) for clip in clips] == [(0, 9), (5, 7), (1, 8), (5, 9)]
    assert [frames(clip.available_range()) for clip in clips] == [(0, 9), (0, 14), (0, 9), (0, 14)]
    places = [frames(clip.trimmed_range_in_parent()) for clip in clips]
    assert places == [(0, 9), (9, 7), (16, 8), (24, 9)]
    (fade,) = [item for item in track if isinstance(item, otio.schema.Transition)]
    assert (fade.in_offset.value, fade.out_offset.value) == split_fade(3) == (1, 2)
    assert read.duration().value == read_info(film).frames == 33
    assert [clip.media_reference.target_url for clip in clips] == [
        f"masters/shot_01_0{n}.mov" for n in (1, 2, 3, 4)
    ]


def test_the_timeline_shows_the_frames_that_the_film_shows(finished):
    """Frame by frame: whatever the timeline says is decoded and compared with the film."""
    folder, film = finished
    timeline = read_timeline(folder)
    shown = [frame.mean() for frame in read_frames(folder / "masters" / f"{film.stem}.mov")]
    for clip in timeline.clips:
        frames = list(read_frames(folder / clip.path))
        assert len(frames) == clip.available
        after = split_fade(clip.next_fade)[0]
        for i in range(clip.fade_in[1], clip.duration - after):  # but the faded ones
            assert abs(frames[clip.first + i].mean() - shown[clip.start + i]) < 0.6


def test_a_clip_says_how_its_shot_was_made(finished):
    folder, film = finished
    read = otio.adapters.read_from_file(str(film.with_suffix(".otio")))
    clip = list(read.find_clips())[1]
    about = clip.metadata["storymem"]
    assert clip.name == "Scene 1 Shot 2: @Mara walks, part 2"
    assert about["prompt"] == "@Mara walks, part 2"
    assert list(about["cast"]) == ["Mara"]
    assert len(about["take"]) == 16
    assert [frame["from"] for frame in about["memory"]] == ["shot 1, frame 0"]
    assert (folder / about["memory"][0]["picture"]).is_file()
    assert clip.markers[0].comment == about["prompt"]
    assert str(folder) not in film.with_suffix(".otio").read_text()  # can be moved


def test_without_masters_the_clips_are_the_shots_but_where_frames_repeat(plain):
    folder, _ = plain
    clips = read_timeline(folder).clips
    assert [clip.path for clip in clips] == [
        "shot_01_01.mp4", "masters/shot_01_02.mp4", "shot_01_03.mp4", "masters/shot_01_04.mp4",
    ]  # fmt: skip
    assert [clip.head for clip in clips] == [0, 5, 0, 5]


def with_sound(folder, name):
    """Give an mp4 a second of silence, as a shot with a voice has it."""
    path = folder / name
    frames = list(read_frames(path))
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=16)
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = "yuv420p"
        sound = container.add_stream("aac", rate=48000, layout="stereo")
        for pixels in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(video.encode(None))
        quiet = av.AudioFrame.from_ndarray(np.zeros((2, 27000), np.float32), "fltp", "stereo")
        quiet.rate = 48000
        container.mux(sound.encode(quiet))
        container.mux(sound.encode(None))


def test_sound_comes_as_tracks(tmp_path):
    folder, film = make(tmp_path, VideoOptions(fade_frames=3, timeline="otio"))
    with_sound(folder, "shot_01_03.mp4")
    folder, film = make(tmp_path, VideoOptions(fade_frames=3, timeline="otio"))
    read = otio.adapters.read_from_file(str(film.with_suffix(".otio")))
    (track,) = read.audio_tracks()
    assert [type(item).__name__ for item in track] == ["Gap", "Gap", "Clip", "Gap"]
    assert track.duration() == read.video_tracks()[0].duration()
    timeline = read_timeline(folder)
    text = timeline_text(replace(timeline, track=film.name), "fcpxml")
    assert broken_rules(text) == []
    lanes = [clip.get("lane") for clip in ElementTree.fromstring(text).iter("asset-clip")]
    assert [lane for lane in lanes if lane] == ["-2"]
    assert [t.enabled for t in to_otio(replace(timeline, track=film.name)).audio_tracks()] == [
        True, False,
    ]  # fmt: skip


def test_the_track_under_a_film_is_a_file_of_its_own(tmp_path):
    """Music alone, as it is heard: a timeline's editor lays other voices over it."""
    music = Sound(np.linspace(-0.9, 0.9, 2 * 96_000, dtype=np.float32).reshape(2, -1), FILM_RATE)
    options = VideoOptions(timeline="otio")
    folder, film = make(tmp_path, options, sound=FilmSound(music, gain=-6.0, fade_out=0.5))
    name = f"masters/{film.stem} track.wav"
    frames = read_info(film).frames
    laid = FilmSound(music, gain=-6.0, fade_out=0.5).laid(frames, 16)
    assert read_sound(folder / name).digest == laid.digest
    assert laid.length == frames * 3000
    timeline = read_timeline(folder)
    assert (timeline.track, timeline.is_mixed) == (name, False)
    heard = replace(timeline, clips=tuple(replace(c, has_audio=True) for c in timeline.clips))
    assert not heard.is_mixed
    assert replace(heard, track=film.name).is_mixed
    *_, track = to_otio(heard).audio_tracks()
    (clip,) = track
    assert (track.enabled, clip.media_reference.target_url) == (True, name.replace(" ", "%20"))
    assert clip.duration().value == frames
    assert broken_rules(timeline_text(heard, "fcpxml")) == []
    written = (folder / name).stat().st_mtime_ns
    make(tmp_path, options, sound=FilmSound(music, gain=-6.0, fade_out=0.5))
    assert (folder / name).stat().st_mtime_ns == written
    write_sound(folder / name, music)  # an artist's change is kept
    make(tmp_path, options, sound=FilmSound(music, gain=-6.0, fade_out=0.5))
    assert read_sound(folder / name).digest == laid.digest
    assert read_sound(folder / f"masters/{film.stem} track changed 1.wav").digest == music.digest
    _, louder = make(tmp_path, options, sound=FilmSound(music))
    assert read_timeline(folder).track == f"masters/{louder.stem} track.wav"
    assert louder.stem != film.stem


@pytest.mark.parametrize("fps", [16, 24, 23.976, 32])
def test_fcpxml_keeps_the_rules_of_its_dtd(tmp_path, fps):
    options = VideoOptions(fps=fps, fade_frames=3, codec="prores", timeline="fcpxml")
    folder, film = make(tmp_path, options)
    text = film.with_suffix(".fcpxml").read_text()
    assert broken_rules(text) == []
    root = ElementTree.fromstring(text)
    length = {16: "33/16s", 24: "11/8s", 23.976: "11011/8000s", 32: "33/32s"}[fps]
    assert root.find(".//sequence").get("duration") == length
    spine = root.find(".//spine")
    assert [item.tag for item in spine] == [
        "asset-clip", "asset-clip", "transition", "asset-clip", "asset-clip"
    ]  # fmt: skip
    sources = [rep.get("src") for rep in root.iter("media-rep")]
    assert sources == [f"./masters/shot_01_0{n}.mov" for n in (1, 2, 3, 4)]
    assert all((folder / source).is_file() for source in sources)


def test_the_rules_find_what_breaks_them(tmp_path):
    _, film = make(tmp_path, VideoOptions(fade_frames=3, timeline="fcpxml"))
    text = film.with_suffix(".fcpxml").read_text()
    for old, new, told in (
        ('offset="9/16s"', 'offset="10/16s"', "gap"),
        ('duration="9/16s"', 'duration="9/17s"', "multiple"),
        ('ref="r3"', 'ref="r99"', "r99"),
        ('tcFormat="NDF"', 'tcFormat="NDF" colour="red"', "colour"),
        ("<spine>", "<spine><note/>", "note"),
    ):
        assert told in " ".join(broken_rules(text.replace(old, new))), (old, new)


def test_edl_reads_back(tmp_path):
    pytest.importorskip("otio_cmx3600_adapter")
    options = VideoOptions(fps=24, fade_frames=3, codec="prores", timeline="edl")
    _, film = make(tmp_path, options)
    read = otio.adapters.read_from_file(str(film.with_suffix(".edl")), rate=24)
    (track,) = read.video_tracks()
    clips = [item for item in track if isinstance(item, otio.schema.Clip)]
    spans = [(c.source_range.start_time.value, c.source_range.duration.value) for c in clips]
    # An EDL has a dissolve begin at its cut: the same frames, told in another way.
    assert spans == [(0, 9), (5, 6), (0, 9), (5, 9)]
    (fade,) = [item for item in track if isinstance(item, otio.schema.Transition)]
    assert (fade.in_offset.value, fade.out_offset.value) == (0, 3)
    assert read.duration().value == 33


@pytest.mark.parametrize(
    ("fps", "told"), [(16, "SMPTE timecode, which knows no 16"), (29.97, "only whole frame rates")]
)
def test_an_edl_at_a_rate_without_timecode_is_refused_before_the_first_shot(fps, told):
    with pytest.raises(ValueError, match=told):
        cutting_room.check_options(VideoOptions(fps=fps, timeline="edl"))


def test_a_missing_package_is_told_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr("storymem.files.packages.missing", lambda modules: list(modules))
    with pytest.raises(ValueError, match="timeline otio needs the package opentimelineio"):
        cutting_room.check_options(VideoOptions(timeline="otio"))
    with pytest.raises(ValueError, match="opentimelineio"):
        cutting_room.check_options(VideoOptions(timeline="edl", fps=24))
    assert cutting_room.check_options(VideoOptions(timeline="fcpxml")) is None  # needs none


def test_a_film_is_exported_by_command_line_later(tmp_path, capsys, caplog):
    folder, film = make(tmp_path, VideoOptions(fade_frames=3))
    assert program.main(["export", str(folder)]) == 0
    assert capsys.readouterr().out.strip().endswith(f"{film.stem}.otio")
    assert program.main(["export", str(folder), "--to", "fcpxml"]) == 0
    assert broken_rules(film.with_suffix(".fcpxml").read_text()) == []
    assert program.main(["export", str(folder), "--to", "edl"]) == 2
    assert "SMPTE timecode" in caplog.text
    assert program.main(["export", str(tmp_path / "nothing")]) == 2
    assert "story.json" in caplog.text


def test_a_clip_at_the_films_head_is_the_first_one(tmp_path):
    frames = torch.stack([torch.full((64, 80, 3), 40 + 10 * i) for i in range(5)]).byte()
    options = VideoOptions(fade_frames=3, codec="prores", timeline="fcpxml")
    folder, film = make(tmp_path, options, opening=OpeningClip(frames, is_in_film=True))
    timeline = read_timeline(folder)
    assert [clip.path for clip in timeline.clips][:2] == [
        "masters/opening.mov", "masters/shot_01_01.mov"
    ]  # fmt: skip
    assert timeline.duration == read_info(film).frames
    assert broken_rules(film.with_suffix(".fcpxml").read_text()) == []
    master = read_info(folder / "masters" / f"{film.stem}.mov")
    assert master.frames == timeline.duration


def test_a_story_that_goes_on_from_a_clip_is_finished_shot_by_shot_without_it(tmp_path):
    frames = torch.stack([torch.full((64, 80, 3), 40 + 10 * i) for i in range(5)]).byte()
    clip = OpeningClip(frames, is_in_film=True)
    story = tale((False, *CUTS[1:]))
    folder, _ = make(tmp_path, VideoOptions(timeline="otio"), story=story, opening=clip)
    shots = read_shots(folder)
    assert [shot.label for shot in shots.clips] == ["01_01", "01_02", "01_03", "01_04"]
    assert len(read_part(folder, shot_at(shots, 1))) == 9
    assert [shot.cut for shot in finishing_story(folder).shots] == [True, *CUTS[1:]]


def test_a_timeline_without_a_store_still_has_its_times(tmp_path):
    """As when the artist hands the folder on."""
    folder, _ = make(tmp_path / "a", VideoOptions(codec="prores"))
    moved = tmp_path / "elsewhere"
    folder.rename(moved)
    clips = read_timeline(moved).clips
    assert [clip.frames for clip in clips] == [9, 9, 9, 9]
    assert [clip.info["memory"] for clip in clips] == [[], [], [], []]
    assert export_timeline(moved, "otio").is_file()


@pytest.mark.parametrize(
    ("fps", "rate"),
    [(16, Fraction(16)), (23.976, Fraction(24000, 1001)), (29.97, Fraction(30000, 1001)),
     (12.5, Fraction(25, 2))],
)  # fmt: skip
def test_rates_are_those_that_editing_programs_know(fps, rate):
    assert nominal_rate(fps) == rate
