"""A story runs shot by shot in a real ComfyUI: the shipped graphs, over HTTP, on tiny models."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import av
import pytest

from helpers.film_files import write_viclip
from helpers.host_server import Server
from helpers.not_empty import not_empty
from helpers.server_base import serving, shipped_base
from helpers.shared_data import STBENCH
from helpers.sounds import clicks_in
from helpers.tiny_workflows import LENGTH, make_tiny
from storymem.files.workflow_file import to_api
from storymem.sound.files import has_sound, read_sound

PACK = Path(__file__).resolve().parents[3]
OWN_SCRIPT = {
    "story_name": "A Cat's Day",
    "scenes": [
        {
            "scene_num": 1,
            "video_prompts": ["A cat stretches.", "The cat jumps down.", "The cat eats."],
            "cut": [True, False, False],
        }
    ],
}


def three_shots() -> dict:
    """A cut, an MI2V and an MM2V: the first three shots of an ST-Bench story when it is there."""
    script = OWN_SCRIPT
    if STBENCH is not None:
        script = json.loads((STBENCH / "cat.json").read_text(encoding="utf-8"))
    scene = dict(script["scenes"][0])
    assert scene["cut"] == [True, False, False]
    scene["continuity"] = ["last_frame", "last_frame", "last_five_frames"]
    return {**script, "story_name": "The Cat", "scenes": [scene]}


def read(path: str) -> dict:
    return json.loads((PACK / path).read_text(encoding="utf-8"))


def shipped(server: Server, name: str, **widgets) -> dict:
    workflow = read(f"workflows/{name}.json")
    return make_tiny(to_api(workflow, server.get("/object_info")), **widgets)


def count_frames(path: Path) -> int:
    with av.open(str(path)) as video:
        assert video.streams.video[0].average_rate == Fraction(16)
        return sum(1 for _ in video.decode(video=0))


@pytest.fixture(scope="module")
def server(base_folder, tmp_path_factory, host):
    base = shipped_base(tmp_path_factory.mktemp("first_light"), base_folder)
    (base / "models" / "viclip").mkdir()
    write_viclip(base / "models" / "viclip" / "ViClip-InternVid-10M-FLT.pth")
    with serving(base, forked=False) as running:  # as an artist starts it
        yield running


@pytest.mark.http
def test_the_story_workflow_films_a_cut_an_mi2v_and_an_mm2v(server):
    prompt = shipped(server, "storymem_story", script=json.dumps(three_shots()))
    history = server.run(prompt)
    folder = server.base / "output" / "storymem" / "The Cat"
    shots = {path.name: count_frames(path) for path in not_empty(folder.glob("shot_*.mp4"))}
    assert shots == {
        "shot_01_01.mp4": LENGTH,
        "shot_01_02.mp4": LENGTH - 1,
        "shot_01_03.mp4": LENGTH - 5,
    }
    films = [p for p in folder.glob("*.mp4") if not p.name.startswith("shot_")]
    assert [count_frames(film) for film in films] == [3 * LENGTH - 6]
    known = json.loads((folder / "story.json").read_text())["shots"]
    for i, label in enumerate(sorted(known)):
        work = known[label]["work"]
        size = [work[name] for name in ("frames", "width", "height", "steps")]
        assert size == [LENGTH, 64, 48, 3]
        assert (work["memory"] > 0) == (i > 0), "the first shot sees no memory"
    assert list(folder.rglob("*.json")), "the script is kept beside the film"
    shown = [name for output in history["outputs"].values() for name in output.get("images", ())]
    assert shown, "the film and the memory bank are shown on the page"


@pytest.mark.http
def test_the_reference_workflow_starts_from_portraits(server):
    prompt = shipped(server, "storymem_reference_images", script="A cat sits.\n---\nIt runs.")
    server.run(prompt)
    (film,) = [
        p
        for p in (server.base / "output" / "storymem_reference_images" / "story").glob("*.mp4")
        if not p.name.startswith("shot_")
    ]
    assert count_frames(film) == 2 * LENGTH


@pytest.mark.http
def test_the_two_shot_workflow_films_both_roads(server):
    server.run(shipped(server, "storymem_two_shots"))
    (film,) = (server.base / "output" / "storymem").glob("two_shots_*.mp4")
    assert count_frames(film) == 2 * LENGTH - 1


@pytest.mark.http
@pytest.mark.parametrize("name", ["storymem_4_steps", "storymem_low_vram"])
def test_the_workflows_for_haste_and_for_small_cards_run(server, name):
    recipe = shipped(server, name)
    script = f"[title: {name}]\nA cat sits.\n---\n[continue]\nIt runs."
    (sampler,) = [n for n in recipe.values() if n["class_type"] == "StoryMemM2VSampler"]
    if name == "storymem_4_steps":
        settings = ("cfg", "sampler_name", "scheduler", "shift")
        assert [sampler["inputs"][s] for s in settings] == [1.0, "euler", "simple", 5.0]
    server.run(shipped(server, name, script=script, steps=4))
    shots = (server.base / "output" / name / name).glob("shot_*.mp4")
    assert [count_frames(path) for path in sorted(shots)] == [LENGTH, LENGTH - 1]


@pytest.mark.http
def test_the_workflow_that_rehearses_drafts_first_and_films_from_its_draft(server):
    """As it is loaded it makes the draft; with pass film, the film that begins with the draft."""
    script = "[title: Rehearsed]\n[cast: Mara, Pip]\nMara sits.\n---\nPip runs.\n---\nMara and Pip."
    prompt = shipped(server, "storymem_rehearse", script=script)
    server.run(prompt)
    output = server.base / "output" / "storymem_rehearse"
    assert [path.name for path in output.iterdir()] == ["Rehearsed.draft"]
    draft = sorted((output / "Rehearsed.draft").glob("shot_*.mp4"))
    assert [count_frames(path) for path in draft] == [LENGTH] * 3
    (start,) = [n for n in prompt.values() if n["class_type"] == "StoryMemShotLoopOpen"]
    start["inputs"]["pass"] = "film"
    before = [path.stat().st_mtime_ns for path in draft]
    server.run(prompt)
    film = sorted((output / "Rehearsed").glob("shot_*.mp4"))
    assert [count_frames(path) for path in film] == [LENGTH] * 3
    assert [path.stat().st_mtime_ns for path in draft] == before
    work = json.loads((output / "Rehearsed" / "story.json").read_text())["shots"]
    assert work["01_01"]["work"]["memory"] == 2, "the first shot sees Mara and Pip of the draft"


@pytest.mark.http
def test_the_workflow_with_sound_makes_one_for_each_shot_and_music(server, tmp_path):
    """With stand-ins for what the sound model samples; the words are the workflow's own."""
    script = "[title: Heard]\nA cat sits.\n---\n[continue]\nIt runs."
    prompt = shipped(server, "storymem_sound", script=script)
    (close,) = [n for n in prompt.values() if n["class_type"] == "StoryMemShotLoopClose"]
    (words,) = [i for i, n in prompt.items() if n["class_type"] == "StringConcatenate"]
    (start,) = [i for i, n in prompt.items() if n["class_type"] == "StoryMemShotLoopOpen"]
    voice, music = close["inputs"]["shot_audio"][0], close["inputs"]["audio"][0]
    assert {prompt[n]["class_type"] for n in (voice, music)} == {"VAEDecodeAudio"}
    log = tmp_path / "log"
    heard = {"number": [start, 6], "said": [words, 0], "click": 6, "level": 0.9, "silent": ""}
    prompt[voice] = {"class_type": "StoryMemTestVoice", "inputs": {**heard, "log": str(log)}}
    tone = {"seconds": 1.0, "hertz": 440.0, "level": 0.5}
    prompt[music] = {"class_type": "StoryMemTestTone", "inputs": tone}
    server.run(prompt)
    said = log.read_text().splitlines()
    assert [line.split(":", 1)[1].strip() for line in said] == ["A cat sits.", "It runs."]
    folder = server.base / "output" / "storymem_sound" / "Heard"
    assert count_frames(folder / "Heard_00001_.mp4") == 2 * LENGTH - 1
    sound = read_sound(folder / "Heard_00001_.mp4")
    assert clicks_in(sound, above=0.4) == pytest.approx([6 * 3000, (LENGTH + 6) * 3000], abs=1)
    assert has_sound(folder / "shot_01_02.mp4")


@pytest.mark.http
def test_the_memento_workflow_films_with_a_memory_that_each_expert_chose(server):
    server.run(shipped(server, "memento_story"))
    folder = server.base / "output" / "memento_story" / "The Orchard Letter"
    shots = {path.name: count_frames(path) for path in not_empty(folder.glob("shot_*.mp4"))}
    lengths = [LENGTH, LENGTH - 1, LENGTH, LENGTH]
    assert shots == dict(zip([f"shot_01_0{i}.mp4" for i in range(1, 5)], lengths, strict=True))
    work = json.loads((folder / "story.json").read_text())["shots"]
    assert [work[name]["work"]["memory"] for name in sorted(work)] == [0, 8, 8, 8]
    bank = json.loads((folder / "bank" / "bank.json").read_text())
    kept = [frame for frame in bank["frames"] if frame["shot"] < 3]
    for pool in ("high", "low"):  # eight of each expert, and what the last shot left
        assert sum(frame.get("pool", pool) == pool for frame in kept) == 8
    assert {frame["moment"] < 3 * LENGTH for frame in kept} == {True}
    assert len(bank["frames"]) == len(kept) + 8


@pytest.mark.http
def test_a_whole_story_runs_inside_its_blueprint_and_goes_on_where_it_changed(server):
    def film(last: str) -> list[int]:
        script = f"[title: Inside]\nA cat sits.\n---\n[continue]\n{last}"
        blueprint = to_api(read("subgraphs/StoryMem Story.json"), server.get("/object_info"))
        assert all(":" in node_id for node_id in blueprint)
        server.run(make_tiny(blueprint, script=script))
        return [path.stat().st_mtime_ns for path in sorted(folder.glob("shot_*.mp4"))]

    folder = server.base / "output" / "storymem" / "Inside"
    first = film("It runs.")
    assert [count_frames(p) for p in sorted(folder.glob("*.mp4"))] == [
        2 * LENGTH - 1, LENGTH, LENGTH - 1
    ]  # fmt: skip
    assert film("It runs.") == first
    again = film("It eats.")
    assert again[0] == first[0]
    assert again[1] != first[1]


@pytest.mark.http
def test_a_shot_blueprint_runs_as_the_body_of_a_loop(server):
    """Open and Close outside, the body inside a subgraph: ids with a colon in the loop."""
    info = server.get("/object_info")
    graph = shipped(server, "storymem_story", script="[title: Body]\nOne.\n---\n[continue]\nTwo.")
    kinds = {node["class_type"]: node_id for node_id, node in graph.items()}
    start, close = kinds["StoryMemShotLoopOpen"], kinds["StoryMemShotLoopClose"]
    keep = ("UNETLoader", "StoryMemLoadLoRA", "StoryMemTestTextEncoder", "VAELoader")
    keep += ("StoryMemLoadStory", "StoryMemMemoryBank")
    graph = {
        n: node for n, node in graph.items() if node["class_type"] in keep or n in (start, close)
    }
    blueprint = read("subgraphs/StoryMem Shot.json")
    graph |= make_tiny(to_api(blueprint, info))
    outer = {
        "model_high": [kinds["StoryMemLoadLoRA"], 0],
        "model_low": [kinds["StoryMemLoadLoRA"], 1],
        "clip": [kinds["StoryMemTestTextEncoder"], 0],
        "vae": [kinds["VAELoader"], 0],
        **{name: [start, slot] for slot, name in enumerate(
            ("flow", "shot", "bank", "previous_frames", "prompt", "negative")) if slot},
    }  # fmt: skip
    inside = blueprint["definitions"]["subgraphs"][0]
    nodes = {node["id"]: node for node in inside["nodes"]}
    prefix = blueprint["nodes"][0]["id"]
    for link in inside["links"]:
        name = inside["inputs"][link["origin_slot"]]["name"] if link["origin_id"] == -10 else ""
        if name in outer:
            socket = nodes[link["target_id"]]["inputs"][link["target_slot"]]["name"]
            graph[f"{prefix}:{link['target_id']}"]["inputs"][socket] = outer[name]
    ends = {link["id"]: [f"{prefix}:{link['origin_id']}", link["origin_slot"]]
            for link in inside["links"] if link["target_id"] == -20}  # fmt: skip
    gives = {o["name"]: ends[o["linkIds"][0]] for o in inside["outputs"]}
    graph[close]["inputs"] |= {"frames": gives["frames"], "bank": gives["bank"]}
    server.run(graph)
    shots = (server.base / "output" / "storymem" / "Body").glob("shot_*.mp4")
    assert [count_frames(path) for path in sorted(shots)] == [LENGTH, LENGTH - 1]


@pytest.mark.http
def test_the_baselines_run_and_are_measured(server):
    """Wan2.2 alone and key images first: every shot begins with a cut, and only a changed one is
    again."""
    from PIL import Image

    from helpers.fakes import noise_image

    pictures = server.base / "input" / "start_images"
    pictures.mkdir()
    for i in (1, 2):
        Image.fromarray(noise_image(i, 48, 64).numpy()).save(pictures / f"shot_01_0{i}.png")
    for name in ("wan", "two_stage"):
        script = "[title: Base]\nA cat sits.\n---\n[continue]\nIt runs."
        graph = shipped(server, f"baselines/{name}", script=script)
        kinds = {node["class_type"]: node_id for node_id, node in graph.items()}
        graph["measure"] = {
            "class_type": "StoryMemEvaluateStory",
            "inputs": {
                "folder": [kinds["StoryMemShotLoopClose"], 2],
                "features": "viclip",
                "aesthetic": "none",
                **dict.fromkeys(("viclip_name", "clip_name", "aesthetic_file"), "auto"),
            },
        }
        server.run(graph)
        folder = server.base / "output" / name / "Base"
        films = sorted(folder.glob("shot_*.mp4"))
        assert [count_frames(film) for film in films] == [LENGTH, LENGTH]
        (row,) = json.loads((folder / "metrics" / "metrics.json").read_text())["stories"]
        assert row["overall"] is not None
        before = [film.stat().st_mtime_ns for film in films]
        graph[kinds["StoryMemLoadStory"]]["inputs"]["script"] = script.replace("sits", "sleeps")
        server.run(graph)
        after = [film.stat().st_mtime_ns for film in films]
        assert [a == b for a, b in zip(after, before, strict=True)] == [False, True]
