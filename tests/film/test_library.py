"""The list of the stories in an output folder."""

from __future__ import annotations

import json
import os

import pytest

from helpers.call_count import count_calls
from helpers.long_story import long_script, write_results
from helpers.loop_graphs import story
from helpers.not_empty import not_empty
from storymem.files.video import write_video
from storymem.film import library
from storymem.film.library import find_story, list_stories, read_story_script
from storymem.film.manifest import update_manifest, write_script_copy
from storymem.film.stored_graph import stored_graph
from storymem.script.reader import load_story


def write(output, prefix: str, shots: int, **options):
    folder = write_results(output, prefix, shots, **options)
    write_script_copy(folder, load_story(long_script(shots), quiet=True))
    return folder


def test_what_is_told_of_each(tmp_path):
    folder = write(tmp_path, "films", 4, missing=(1, 3))
    other = write(tmp_path, "more", 2)
    tale = load_story(long_script(2), quiet=True)
    update_manifest(other, tale, video="film.mp4")
    os.utime(other / "story.json", (5, 5))
    first, second = list_stories(tmp_path)
    assert (first.folder, first.title, first.shots, first.finished) == (folder, "Long 4", 4, 2)
    assert first.poster == folder / "shot_01_02.mp4"
    assert (first.film, first.stopped) == (None, "")
    assert (second.title, second.finished, second.changed) == ("Long 2", 2, 5)
    assert second.film == other / "film.mp4"


def test_what_stopped_a_story_is_told_and_it_has_no_film(tmp_path):
    folder = write(tmp_path, "films", 2)
    tale = load_story(long_script(2), quiet=True)
    update_manifest(folder, tale, video="film.mp4", stopped="in shot 2: why")
    (entry,) = list_stories(tmp_path)
    assert (entry.film, entry.stopped) == (None, "in shot 2: why")


@pytest.mark.parametrize("script", [None, "{", '{"story_name": 3}'])
def test_a_story_without_a_readable_script_is_listed_by_its_name(tmp_path, script):
    folder = write_results(tmp_path, "films", 2)
    if script is not None:
        (folder / "script.json").write_text(script)
    (entry,) = list_stories(tmp_path)
    assert (entry.title, entry.shots, entry.finished, entry.poster) == ("Long 2", 0, 0, None)


def test_other_folders_and_files_are_no_stories(tmp_path):
    folder = write(tmp_path, "films", 2)
    (tmp_path / "pictures" / "more").mkdir(parents=True)
    (tmp_path / "picture.png").write_bytes(b"")
    (tmp_path / "films" / "damaged").mkdir()
    (tmp_path / "films" / "damaged" / "story.json").mkdir()
    for name in (".storymem", ".shots", ".STORYMEM"):
        (tmp_path / name / "shots").mkdir(parents=True)
        (tmp_path / name / "shots" / "story.json").write_text("{}")
    assert [entry.folder for entry in list_stories(tmp_path)] == [folder]
    assert list_stories(tmp_path / "nowhere") == []


def test_no_link_is_followed(tmp_path):
    outside = write(tmp_path / "outside", "films", 2)
    output = tmp_path / "output"
    output.mkdir()
    (output / "group").symlink_to(outside.parent)
    (output / "films").mkdir()
    (output / "films" / "link").symlink_to(outside)
    inside = output / "films" / "inside"
    inside.mkdir()
    (inside / "story.json").symlink_to(outside / "story.json")
    assert list_stories(output) == []
    for name in ("group/Long 2", "films/link", "films/inside"):
        assert find_story(output, name) is None
    (inside / "story.json").unlink()
    (inside / "story.json").write_text("{}")
    (inside / "script.txt").symlink_to(outside / "script.json")
    assert read_story_script(inside) is None
    assert [entry.shots for entry in list_stories(output)] == [0]
    (inside / "film.mp4").symlink_to(outside / "film.mp4")
    assert library.story_videos(inside) == []


@pytest.mark.parametrize(
    "name",
    ["", "films", "films/", "../films/Long 2", "films/../films", "films/Long 2/x", "/films/Long 2",
     "films\0/Long 2", ".storymem/shots", "films/\udc80", "C:/x"],
)  # fmt: skip
def test_other_names_are_no_stories(tmp_path, name):
    write(tmp_path, "films", 2)
    assert find_story(tmp_path, "films/Long 2") == tmp_path / "films" / "Long 2"
    assert find_story(tmp_path, name) is None


def test_a_story_is_read_again_once_it_changed(tmp_path):
    folder = write(tmp_path, "films", 3, missing=(3,))
    assert list_stories(tmp_path)[0].finished == 2
    assert list_stories(tmp_path)[0] is list_stories(tmp_path)[0]
    (folder / "shot_01_02.mp4").unlink()
    assert list_stories(tmp_path)[0].finished == 1
    write_script_copy(folder, load_story(story(5, name="Long 3"), quiet=True))
    assert list_stories(tmp_path)[0].shots == 5


def test_five_hundred_stories_are_listed_quickly(tmp_path):
    tale = load_story(long_script(3), quiet=True)
    for i in range(500):
        folder = tmp_path / "films" / f"Tale {i}"
        folder.mkdir(parents=True)
        update_manifest(folder, tale)
        write_script_copy(folder, tale)
    first = count_calls(lambda: list_stories(tmp_path))
    again = count_calls(lambda: list_stories(tmp_path))
    assert len(list_stories(tmp_path)) == 500
    assert first < 500 * 3000  # 0.4 s where nothing else runs
    assert again < 500 * 250  # Python 3.13 makes a few more than 3.11


def test_the_graph_of_a_story_is_that_of_its_latest_film(tmp_path):
    import numpy as np

    folder = write(tmp_path, "films", 2)
    assert stored_graph(folder) == {}
    frames = [np.zeros((48, 64, 3), np.uint8)] * 3
    for i, graph in enumerate(({"a": 1}, {"b": 2})):
        metadata = {"workflow": json.dumps({"nodes": [i]}), "prompt": json.dumps(graph)}
        write_video(folder / f"Film {i}.mp4", frames, metadata=metadata)
        os.utime(folder / f"Film {i}.mp4", (10**10 + i, 10**10 + i))
    assert stored_graph(folder) == {"workflow": {"nodes": [1]}, "prompt": {"b": 2}}
    for path in not_empty(folder.glob("Film*")):
        path.write_bytes(b"damaged")
    assert stored_graph(folder) == {}
