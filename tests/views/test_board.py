"""The board of a story: its shots with frames, prompts, cast and lengths, on a picture or pages."""

from __future__ import annotations

import json
import logging
import re

import pytest
import torch
from PIL import Image, ImageDraw

from storymem.__main__ import main
from storymem.cli.exit_codes import DONE, REFUSED
from storymem.files.video import write_video
from storymem.film.manifest import update_manifest, write_script_copy
from storymem.film.shot_status import _describe  # how an entry says which script it is of
from storymem.script.reader import load_story
from storymem.views import board, fonts
from storymem.views.board import BoardShot, draw_pages, draw_sheet, save_board

RED, GREEN, BLUE = (220, 30, 30), (30, 200, 30), (30, 30, 220)
SCRIPT = {
    "story_name": "The Pier",
    "cast": ["Mara", "Teo"],
    "scenes": [
        {
            "scene_num": 1,
            "cut": [True, False, True],
            "video_prompts": ["Mara waits on the pier.", "She turns.", "Mara meets Teo."],
        }
    ],
}


def flat(colours, frames=9):
    """A shot whose first, middle and last frame have a colour each: ``[frames, 64, 96, 3]``."""
    video = torch.zeros((frames, 64, 96, 3), dtype=torch.uint8)
    for i in range(frames):
        third = 0 if i < 2 else 2 if i > frames - 3 else 1
        video[i] = torch.tensor(colours[third], dtype=torch.uint8)
    return video


def write_story(folder, made=("01_01", "01_02")):
    """A story of three shots with films of some, as a run leaves it."""
    folder.mkdir(parents=True)
    tale = load_story(json.dumps(SCRIPT), quiet=True)
    shots = {}
    for shot in tale.shots:
        if shot.label not in made:
            continue
        name = f"shot_{shot.label}.mp4"
        write_video(folder / name, flat((RED, GREEN, BLUE)), fps=16.0, crf=1)
        shots[shot.label] = {
            "key": f"{shot.index:064x}",
            "file": name,
            "prompt": shot.prompt,
            "script": _describe(tale, shot),
            "previous": f"{shot.index - 1:064x}" if shot.index else "",
        }
    update_manifest(folder, tale, shots=shots)
    write_script_copy(folder, tale)
    return folder


def near(picture: Image.Image, colour) -> list[tuple[int, int]]:
    """Places of a picture that have nearly this colour."""
    pixels = torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8)
    pixels = pixels.view(picture.height, picture.width, 3).int()
    far = (pixels - torch.tensor(colour)).abs().amax(-1)
    return [(x, y) for y, x in (far < 40).nonzero().tolist()]


def a_shot(number=1, prompt="Mara waits.", **fields):
    frames = tuple(Image.new("RGB", (96, 64), colour) for colour in (RED, GREEN, BLUE))
    given = {"who": ("Mara",), "begins": "cut", "seconds": 5.0, "is_current": True}
    return BoardShot(number, f"01_{number:02d}", prompt, **{**given, "frames": frames, **fields})


class Written:
    """What is written on pictures, in its order."""

    def __init__(self, monkeypatch):
        self.texts = []
        draw = ImageDraw.ImageDraw.text

        def text(drawing, place, words, *options, **named):
            self.texts.append(words)
            return draw(drawing, place, words, *options, **named)

        monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)

    def __contains__(self, words):
        return words in self.texts


def test_each_shot_shows_its_first_middle_and_last_frame_in_that_order(tmp_path):
    folder = write_story(tmp_path / "The Pier")
    picture = Image.open(save_board(folder)).convert("RGB")
    places = [near(picture, colour) for colour in (RED, GREEN, BLUE)]
    first = [min(x for x, _ in place) for place in places]
    assert first == sorted(first)
    assert len(set(first)) == 3
    size = len(places[0])
    assert all(abs(len(place) - size) < size / 50 for place in places)  # two of each, as large


def test_numbers_prompts_cast_and_lengths_are_written(tmp_path, monkeypatch):
    folder = write_story(tmp_path / "The Pier")
    written = Written(monkeypatch)
    save_board(folder)
    assert "The Pier" in written
    assert "3 shots, 2 made, 1 s" in written
    assert "1   scene 1, shot 1, cut" in written
    assert "2   scene 1, shot 2, continues" in written
    assert "Mara, Teo" in written
    assert "Mara waits on the pier." in written
    assert written.texts.count("0.6 s") == 2  # 9 frames of 16 a second
    assert "not made yet" in written


@pytest.mark.parametrize("video", [b"", b"no video at all", "half", "without frames"])
def test_a_damaged_shot_says_so_and_the_others_are_shown(tmp_path, monkeypatch, caplog, video):
    folder = write_story(tmp_path / "The Pier")
    path = folder / "shot_01_02.mp4"
    if video == "without frames":
        import av

        with av.open(path, "w") as container:
            container.add_stream("libx264", rate=16)
            container.start_encoding()
    else:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if video == "half" else video)
    written = Written(monkeypatch)
    with caplog.at_level(logging.WARNING):
        assert save_board(folder).is_file()
        save_board(folder, tmp_path / "board.pdf")
    assert written.texts.count("damaged, queue it again") == 2
    assert written.texts.count("0.6 s") == 2  # the other one
    assert written.texts.count("not made yet") == 2
    assert "3 shots, 1 made, 1 s" in written
    assert "the board lacks shot 2: " in caplog.text


def test_frames_are_held_no_larger_than_a_board_shows_them(tmp_path):
    folder = write_story(tmp_path / "The Pier", made=())
    video = torch.zeros((3, 1280, 720, 3), dtype=torch.uint8)
    write_video(folder / "big.mp4", video, fps=16.0, crf=1)
    frames, seconds = board._frames(folder / "big.mp4")
    assert {frame.size for frame in frames} == {(320, 569)}
    assert seconds == 3 / 16


@pytest.mark.parametrize("kind", ["png", "pdf"])
def test_the_board_of_a_draft_says_that_it_is_one(tmp_path, monkeypatch, kind):
    folder = write_story(tmp_path / "The Pier.draft", made=())
    manifest = json.loads((folder / "story.json").read_text())
    (folder / "story.json").write_text(json.dumps({**manifest, "pass": "draft"}))
    written = Written(monkeypatch)
    save_board(folder, tmp_path / f"board.{kind}")
    assert "The Pier (draft)" in written


def test_what_an_earlier_script_made_says_so(tmp_path, monkeypatch):
    folder = write_story(tmp_path / "The Pier")
    script = {**SCRIPT, "character": "Mara, a woman in a red coat."}
    write_script_copy(folder, load_story(json.dumps(script), quiet=True))
    written = Written(monkeypatch)
    save_board(folder)
    assert written.texts.count("0.6 s, from an earlier script") == 2
    assert "0.6 s" not in written


def test_pages_hold_nine_shots_each_and_are_numbered(monkeypatch):
    written = Written(monkeypatch)
    shots = [a_shot(i + 1) for i in range(19)]
    pages = list(draw_pages("The Pier", iter(shots), len(shots)))
    assert len(pages) == 3
    assert {page.size for page in pages} == {(2339, 1654)}
    assert [text for text in written.texts if re.fullmatch("[0-9] / 3", text)] == [
        "1 / 3",
        "2 / 3",
        "3 / 3",
    ]
    numbers = [int(text.split()[0]) for text in written.texts if ", shot " in text]
    assert numbers == list(range(1, 20))
    assert len(near(pages[2], RED)) < len(near(pages[0], RED)) / 8


def test_a_print_has_its_pages_at_the_size_of_paper(tmp_path):
    folder = write_story(tmp_path / "The Pier", made=())
    pdf = save_board(folder, tmp_path / "out.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    sizes = re.findall(rb"/MediaBox \[ 0 0 ([0-9.]+) ([0-9.]+) \]", pdf)
    assert [(round(float(w)), round(float(h))) for w, h in sizes] == [(842, 595)]  # A4, points


@pytest.mark.parametrize(("size", "count"), [((96, 64), 1), ((64, 96), 5), ((96, 64), 60)])
def test_nothing_of_a_shot_lies_over_another_whatever_its_shape(size, count, monkeypatch):
    frames = tuple(Image.new("RGB", size, colour) for colour in (RED, GREEN, BLUE))
    shots = [a_shot(i + 1, "A long walk. " * 40, frames=frames) for i in range(count)]
    seen = []
    paste = Image.Image.paste

    def noted(picture, what, box=None, mask=None):
        if isinstance(what, Image.Image) and picture.width > 1000:
            seen.append((*box, box[0] + what.width, box[1] + what.height))
        return paste(picture, what, box, mask)

    monkeypatch.setattr(Image.Image, "paste", noted)
    sheet = draw_sheet("The Pier", shots)
    assert len(seen) == count
    assert sheet.height <= board.LARGEST_HEIGHT
    for i, (left, _, right, bottom) in enumerate(seen):
        assert right <= sheet.width
        assert bottom <= sheet.height
        for other in seen[i + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1]


def test_a_long_prompt_ends_with_a_sign_of_more(monkeypatch):
    written = Written(monkeypatch)
    draw_sheet("The Pier", [a_shot(prompt="word " * 300)])
    lines = [text for text in written.texts if text.startswith("word")]
    assert len(lines) == board.PROMPT_LINES
    assert lines[-1].endswith(" ...")
    assert not lines[0].endswith(" ...")


def test_a_text_without_blanks_is_broken_too():
    font = fonts.font_for("word", 16)
    lines = board._wrapped("x" * 500, 200, font, 3)
    assert len(lines) == 3
    assert all(font.getlength(line) <= 200 for line in lines)
    assert lines[0]


def test_letters_that_no_font_draws_are_told(tmp_path, monkeypatch, caplog):
    folder = write_story(tmp_path / "The Pier")
    monkeypatch.setattr(fonts, "SYSTEM_FONTS", ())
    script = json.loads(json.dumps(SCRIPT))
    script["scenes"][0]["video_prompts"][0] = "雨中的海岸"
    write_script_copy(folder, load_story(json.dumps(script), quiet=True))
    with caplog.at_level(logging.WARNING):
        save_board(folder)
    assert "雨中的海岸" in caplog.text
    assert "Noto Sans CJK" in caplog.text


def test_plain_latin_needs_no_other_font():
    assert fonts.letters_without_font("Mara waits. Où ? Größe") == ""


@pytest.mark.parametrize("name", ["board.jpg", "board", "board.txt"])
def test_a_board_is_a_picture_or_a_print(tmp_path, name):
    folder = write_story(tmp_path / "The Pier")
    with pytest.raises(ValueError, match=r"neither a \.png nor a \.pdf"):
        save_board(folder, tmp_path / name)


def test_a_folder_without_a_story_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match="holds no script of a story"):
        save_board(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_both_beside_the_shots(tmp_path):
    folder = write_story(tmp_path / "The Pier")
    assert main(["board", str(folder)]) == DONE
    assert {path.name for path in folder.glob("board.*")} == {"board.png", "board.pdf"}
    target = tmp_path / "printed.pdf"
    assert main(["board", str(folder), "--to", str(target)]) == DONE
    assert target.read_bytes().startswith(b"%PDF")


def test_the_command_refuses_in_words(tmp_path, caplog):
    assert main(["board", str(tmp_path / "nowhere")]) == REFUSED
    assert "holds no script of a story" in caplog.text
