"""The routes of the story editor over HTTP, on a server of several users."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import threading
from pathlib import Path

import pytest
from PIL import Image

from helpers.call_count import count_calls
from helpers.gallery_page import ask
from helpers.long_story import long_script, write_results
from helpers.loop_graphs import loop_graph, story

pytestmark = pytest.mark.http
JSON = {"Content-Type": "application/json"}


def tell(server, path: str, body, **headers) -> tuple[int, dict]:
    status, _, answer = ask(
        server, path, method="POST", body=json.dumps(body).encode(), headers=JSON | headers
    )
    return status, json.loads(answer) if status == 200 else {}


def everything_below(folder: Path) -> dict:
    parts = (folder / name for name in ("input", "output", "user"))
    return {p: p.lstat().st_mtime_ns for part in parts for p in part.rglob("*")}


def test_a_script_is_read_and_written_back(server):
    data = {"script": story(2, name="Read"), "file": "none", "character": "", "prefix": "page"}
    status, read = tell(server, "/storymem/story", data)
    assert (status, read["error"], read["name"], read["format"]) == (200, "", "Read", "json")
    assert [(s["label"], s["state"], s["video"]) for s in read["shots"]] == [
        ("01_01", "waiting", None),
        ("01_02", "waiting", None),
    ]
    status, written = tell(server, "/storymem/script", {**read, "format": "plain"})
    assert status == 200
    assert written["script"] == (
        "[title: Read]\n---\nshot number 1\n---\n[continue]\nshot number 2\n"
    )
    assert (written["error"], len(written["shots"])) == ("", 2)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"script": ""}, "the script is empty"),
        ({"script": '{"story_name": '}, "not valid JSON"),
        ({"script": "a\n---\n[seed: x]\nb"}, "needs a number"),
        ({"script": "", "file": "../../secret.json"}, "in the input folder"),
        ({"script": "", "file": "/etc/passwd"}, "in the input folder"),
        ({"script": "", "file": "gone.txt"}, "cannot be read"),
        ({"script": "a", "file": "Filed.txt"}, "both a script and the file"),
    ],
)
def test_what_is_wrong_with_a_script_is_told_in_the_parsers_words(server, body, words):
    status, answer = tell(server, "/storymem/story", body)
    assert status == 200
    assert words in answer["error"]
    assert answer["shots"] == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "shots must be a list"),
        ({"shots": [{"prompt": "a", "cut": True, "scene": 1}], "format": "yaml"}, "format must be"),
        ({"shots": [{"prompt": "", "cut": True, "scene": 1}]}, "the prompt is empty"),
        ({"shots": [{"prompt": "a", "cut": True, "scene": 1, "length": 80}]}, "4n+1"),
    ],
)
def test_what_is_wrong_with_rows_is_told(server, body, words):
    status, answer = tell(server, "/storymem/script", body)
    assert status == 200
    assert words in answer["error"]


def test_places_that_are_no_folders_are_answered(server):
    output = server.base / "output"
    (output / "picture.png").write_bytes(b"a picture")
    (output / "circle").symlink_to(output / "circle")
    (output / "ring").mkdir()
    (output / "ring" / "shot_01_01.mp4").symlink_to(output / "ring" / "shot_01_01.mp4")
    rows = {"shots": [{"prompt": "a", "cut": True, "scene": 1}]}
    for prefix in ("picture.png", "circle", "a" * 300, "x/../..", "\0", ".storymem"):
        for body in ({"script": "a", "prefix": prefix}, {**rows, "prefix": prefix}):
            route = "/storymem/script" if "shots" in body else "/storymem/story"
            status, answer = tell(server, route, body)
            assert (status, answer["error"], answer["folder"]) == (200, "", "")
            assert [shot["state"] for shot in answer["shots"]] == ["waiting"]
    for folder in ("circle", "ring", "picture.png", "a" * 300):
        assert ask(server, f"/storymem/poster?folder={folder}&shot=01_01")[0] == 404


def test_a_file_of_any_name_is_told_shortly(server):
    (server.base / "input" / "n\nl.txt").write_bytes(b"\xff\xfe\xff")
    for name in ("n\nl.txt", "./" * 50_000 + "n\nl.txt", "a" * 100_000 + ".txt"):
        _, answer = tell(server, "/storymem/story", {"script": "", "file": name})
        assert 0 < len(answer["error"]) < 300
        assert "\n" not in answer["error"]


def test_names_that_no_disk_can_hold_are_told_by_the_nodes(host):
    edits = json.dumps({"images": ["a" * 300 + ".png"]})
    memory, start = (host.pack(f"nodes.{name}") for name in ("memory.bank", "loop.start_images"))
    told = asyncio.run(memory.MemoryBankNode.validate_inputs(edits=edits))
    assert "which is not in the input folder" in told
    assert "which is not in the input folder" in memory.MemoryBankNode.fingerprint_inputs(edits)
    with pytest.raises(ValueError, match="must be a folder of pictures inside the input folder"):
        start.find_pictures("a" * 300)
    assert start.LoadStartImages.fingerprint_inputs("a" * 300) == ""


def test_answers_are_made_beside_the_servers_own_loop(host, monkeypatch):
    """A long story takes a while, in which the server must answer others."""
    routes = host.pack("nodes.page.story_routes")
    threads = []

    def work(*_, **__) -> dict:
        threads.append(threading.get_ident())
        return {}

    async def body(_request) -> dict:
        return {}

    monkeypatch.setattr(routes, "read_json", body)
    for ask_for, name in ((routes.show_story, "read_story"), (routes.show_script, "write_story")):
        monkeypatch.setattr(routes, name, work)
        asyncio.run(ask_for(None))
    assert len(threads) == 2
    assert threading.get_ident() not in threads


def test_four_times_as_many_shots_are_four_times_the_work_to_answer(host):
    routes = host.pack("nodes.page.story_routes")
    output = Path(routes.folder_paths.get_output_directory())

    def work(shots: int) -> list[int]:
        write_results(output, "answered", shots)
        script = long_script(shots, edited=True)
        asked = {"script": script, "file": "none", "character": "", "prefix": "answered"}
        view = routes.read_story(**asked)
        assert [shot["video"] is None for shot in view["shots"]] == [True] + [False] * (shots - 1)
        texts = {"node_character": "", "prefix": "answered", "default_name": ""}
        return [
            count_calls(lambda: routes.read_story(**asked)),
            count_calls(lambda: routes.write_story(view, **texts)),
        ]

    short, long = work(50), work(200)
    assert [b < 4.5 * a for a, b in zip(short, long, strict=True)] == [True, True], (short, long)


def test_other_sites_and_large_or_malformed_requests_are_refused(server):
    before = everything_below(server.base)
    for path in ("/storymem/story", "/storymem/script"):
        assert tell(server, path, {"script": "a"}, Origin="http://evil.example")[0] == 403
        assert tell(server, path, {"script": "a"}, **{"Sec-Fetch-Site": "cross-site"})[0] == 403
        assert tell(server, path, {"script": "x" * 2**23})[0] == 413
        assert tell(server, path, ["a"])[0] == 400
        assert tell(server, path, {"prefix": 5})[0] == 400
        assert ask(server, path, method="POST", body=b"{", headers=JSON)[0] == 400
        assert ask(server, path)[0] in (404, 405)  # and nothing is changed by asking
    poster = "/storymem/poster?folder=page/Tale&shot=01_01"
    assert ask(server, poster, headers={"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert ask(server, poster, method="POST", body=b"{}")[0] == 405
    assert everything_below(server.base) == before


def test_posters_are_of_this_output_folder_only(server, tmp_path):
    server.run(loop_graph(story(2), tmp_path / "log", prefix="page"))
    (server.base / "shot_01_01.mp4").write_bytes(
        (server.base / "output/page/Tale/shot_01_01.mp4").read_bytes()
    )
    before = everything_below(server.base)
    status, headers, body = ask(server, "/storymem/poster?folder=page/Tale&shot=01_02")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    assert Image.open(io.BytesIO(body)).size == (64, 48)
    key = next((server.base / "output/.storymem/shots").glob("*/*")).name
    assert ask(server, f"/api/storymem/poster?record={key}&size=32")[0] == 200
    for query in (
        "folder=..&shot=01_01", "folder=page/../..&shot=01_01", "folder=page%2F..%2F..&shot=01_01",
        f"folder={server.base}&shot=01_01", "folder=page/Tale&shot=01_09", "folder=page/Tale",
        "folder=page/Tale&shot=..%2f01_01", "folder=page%00&shot=01_01", "record=..", "",
        f"record={'0' * 64}", "folder=page/Tale&shot=01_01&size=-1", "folder=page\\..&shot=01_01",
    ):  # fmt: skip
        assert ask(server, f"/storymem/poster?{query}")[0] == 404, query
    assert everything_below(server.base) == before


ROW = {"prompt": "a", "cut": True, "scene": 1}
ODD = [5, "x", [], {}, None, True, 1e308, -1, "\ud800", [[[]]], {"a": {}}, "9" * 5000, "x" * 10**6]


@pytest.mark.parametrize("field", [
    "prompt", "cut", "scene", "starts", "seed", "length", "negative_prompt", "continuity",
    "lora_strength", "loras", "reference_images", "start_image", "end_image", "remember", "promote",
    "first_frame_prompt", "lock", "extra", "scene_extra",
])  # fmt: skip
def test_no_value_of_a_row_is_more_than_the_route_can_bear(server, field):
    for value in ODD:
        for form in ("json", "plain"):
            body = {"shots": [{**ROW, field: value}], "format": form}
            status, answer = tell(server, "/storymem/script", body)
            assert status == 200, (value, form)
            assert len(answer["error"]) < 600
            assert str(server.base) not in json.dumps(answer)


@pytest.mark.parametrize(
    "field", ["name", "cast", "overview", "character", "extra", "format", "shots"]
)
def test_no_value_of_a_script_is_more_than_the_route_can_bear(server, field):
    for value in ODD:
        status, answer = tell(server, "/storymem/script", {"shots": [ROW], field: value})
        assert status in (200, 400), value
        assert status == 400 or len(answer["error"]) < 600


def test_answers_tell_no_folders_of_the_machine(server):
    (server.base / "input" / "folder.txt").mkdir(exist_ok=True)
    for file in ("gone.txt", "folder.txt", "../x.txt", "a\ud800.txt", "x" * 300 + ".txt"):
        status, answer = tell(server, "/storymem/story", {"script": "", "file": file})
        assert status == 200
        assert answer["error"]
        assert str(server.base) not in json.dumps(answer)
    edits = json.dumps({"images": ["../../secret.png", "gone.png"]})
    graph = loop_graph(story(1), "")
    graph["bank"] = {
        "class_type": "StoryMemMemoryBank",
        "inputs": {"max_frames": 10, "sink": 3, "pin_references": True, "edits": edits},
    }
    graph["open"]["inputs"]["bank"] = ["bank", 0]
    with pytest.raises(RuntimeError, match="which is not in the input folder") as refused:
        server.queue(graph)
    assert str(server.base) not in str(refused.value)


def test_a_script_of_two_thousand_shots_with_an_edited_first_one_is_read(server):
    prompts = [f"Shot {i}: @Mara walks along the pier, and it rains." for i in range(2000)]
    scenes = [{"video_prompts": ["edited", *prompts[1:]], "cut": [True] * 2000}]
    body = {"script": json.dumps({"story_name": "Vast", "scenes": scenes}), "prefix": "page"}
    folder = server.base / "output" / "page" / "Vast"
    folder.mkdir(parents=True)
    shots = {
        f"01_{i + 1:02d}": {"key": f"{i:064x}", "shot_prompt": prompt, "prompt": prompt}
        for i, prompt in enumerate(prompts)
    }
    marks = [hashlib.sha256(p.encode()).hexdigest()[:16] for p in prompts]
    (folder / "story.json").write_text(json.dumps({"shots": shots, "prompts": marks}))
    status, answer = tell(server, "/storymem/story", body)
    assert (status, answer["error"], len(answer["shots"])) == (200, "", 2000)
    assert answer["folder"] == "page/Vast"
