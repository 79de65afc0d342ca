"""What the page is shown of a draft, and what it writes and says of it."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from helpers.rehearsed import shot, show_shots, stripes_of
from storymem.film.passes import PASS
from storymem.film.promote import find_picture, promotions
from storymem.film.rehearsal import rehearse
from storymem.loop.shot_store import ShotStore
from storymem.script.promoted import Promoted, read_promote
from storymem.script.reader import load_story
from storymem.views.draft_frames import choose_frame, view_draft

JS = Path(__file__).resolve().parents[2] / "web" / "js"
PROMPTS = ("Mara waits", "Pip sleeps", "Pip and Mara run", "Mara asleep")


def story(*promote):
    rows = [{"prompt": prompt} for prompt in PROMPTS]
    for row, words in zip(rows, promote, strict=False):
        row |= {"promote": words} if words else {}
    scene = {"video_prompts": rows, "cut": [True] * len(rows)}
    return load_story({"story_name": "Tale", "cast": ["Mara", "Pip"], "scenes": [scene]})


@pytest.fixture
def film(tmp_path):
    shots = {0: shot(8, frames=33), 2: shot(4, frames=5, base=62), 3: shot(2, base=63)}
    show_shots(tmp_path / "Tale.draft", story(), shots)
    return tmp_path / "Tale"


@pytest.fixture
def store(tmp_path):
    return ShotStore(tmp_path / ".storymem")


def test_frames_are_shown_evenly_and_small(film, store):
    answer = view_draft(story(), film, store)
    assert (answer["passes"], answer["source"]) == (["draft"], "draft")
    assert [one["number"] for one in answer["shots"]] == [1, 3, 4]
    numbers = [one["frame"] for one in answer["frames"]]
    assert (numbers[0], numbers[-1], len(numbers)) == (0, 32, 12)
    head, data = answer["frames"][0]["src"].split(",")
    assert head == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (48, 32)


def test_a_shot_that_is_not_finished_has_no_frames(film, store):
    assert view_draft(story(), film, store, "draft", 2)["frames"] == []
    assert len(view_draft(story(), film, store, "stills", 3)["frames"]) == 5


def test_of_a_damaged_shot_it_is_said_why_and_others_can_be_chosen(film, store):
    (film.with_name("Tale.draft") / "shot_01_03.mp4").write_bytes(b"no video")
    answer = view_draft(story(), film, store, "draft", 3)
    assert (answer["shot"], answer["frames"]) == (3, [])
    assert "shot 3 (01_03) cannot be used: " in answer["damaged"]
    assert [one["number"] for one in answer["shots"]] == [1, 3, 4]
    other = view_draft(story(), film, store, "draft", 4)
    assert (len(other["frames"]), other["damaged"]) == (5, "")


def test_without_a_draft_it_is_said_what_to_do(tmp_path, store):
    with pytest.raises(ValueError, match="choose draft as the pass of Shot Loop Open"):
        view_draft(story(), tmp_path / "Other", store)


def test_a_chosen_frame_is_in_the_store_under_its_name(film, store):
    name = choose_frame(story(), film, store, "draft", 3, 2)["picture"]
    assert stripes_of(find_picture(store, name).image) == 4
    shutil.rmtree(film.with_name("Tale.draft"))
    found = promotions(story(f"start 3:2 #{name}"), film, store)
    assert stripes_of(found.start_images[0]) == 4


@pytest.mark.parametrize(
    ("source", "number", "frame", "words"),
    [("stills", 1, 0, "there is no stills"), ("film", 1, 0, "there is no film"),
     ("draft", 2, 0, "shot 2 of draft is not finished"), ("draft", 3, 5, "frames 0 to 4")],
)  # fmt: skip
def test_what_is_gone_meanwhile_is_told(film, store, source, number, frame, words):
    with pytest.raises(ValueError, match=words):
        choose_frame(story(), film, store, source, number, frame)


def run_node(folder: Path, names, ask: str) -> list:
    """What a script prints as JSON that imports these files of the page."""
    if shutil.which("node") is None:
        pytest.skip("needs node")
    for name in names:
        code = (JS / name).read_text(encoding="utf-8").replace('.js"', '.mjs"')
        path = folder / name.replace(".js", ".mjs")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code, encoding="utf-8")
    (folder / "ask.mjs").write_text(ask)
    run = subprocess.run(["node", "ask.mjs"], cwd=folder, capture_output=True, text=True)
    assert run.stderr == ""
    return json.loads(run.stdout)


def test_what_the_page_writes_is_read_as_it_was_meant(tmp_path):
    entries = [
        {"kind": "seed"},
        {"kind": "start", "frame": 0, "picture": "0123456789abcdef"},
        {"kind": "start", "shot": 6, "frame": 12, "source": "draft2", "picture": "3f9a0c12b4d6"},
        {"kind": "memory"},
        {"kind": "memory", "shot": 4, "frame": 7, "name": "Old Tom", "picture": "3f9a0c12b4d6"},
        {"kind": "memory", "shot": 4, "frame": 7, "name": "Old Tom", "picture": "aaaaaaaaaaaa"},
    ]
    ask = f"""import {{ withEntry, without }} from "./story/promote_text.mjs";
    let text = "";
    const lines = {json.dumps(entries)}.map((entry) => text = withEntry(text, entry));
    console.log(JSON.stringify([...lines, without(text, "memory")]));"""
    lines = run_node(tmp_path, ["story/promote_text.js"], ask)
    start = Promoted("start", 6, 12, source="draft2", picture="3f9a0c12b4d6")
    tom = Promoted("memory", 4, 7, "Old Tom", picture="aaaaaaaaaaaa")
    assert read_promote(lines[1]) == (
        Promoted("seed"), Promoted("start", 0, 0, picture="0123456789abcdef"),
    )  # fmt: skip
    assert read_promote(lines[2]) == (Promoted("seed"), start)
    assert read_promote(lines[5]) == (Promoted("seed"), start, Promoted("memory"), tom)
    assert read_promote(lines[6]) == (Promoted("seed"), start, tom)


def test_every_reason_of_a_frame_is_said_in_the_page_s_language(film, store, tmp_path):
    draft = film.with_name("Tale.draft")
    told = story("memory 3:2 Mara")
    reasons = [f.reason for f in promotions(told, film, store).memory[0]]
    for how in ({}, {"rule": "first"}, {"score": lambda picture: 0.0}):
        bank = rehearse(draft, story(), **how).bank
        reasons += [frame.reason for frame in (*bank.frames, *bank.dropped)]
    for name in ("draft2", "draft3", "stills"):
        other = film.with_name(f"Tale.{name}")
        shutil.copytree(draft, other)
        manifest = json.loads((other / "story.json").read_text())
        (other / "story.json").write_text(json.dumps({**manifest, PASS: name}))
        reasons += [frame.reason for frame in rehearse(other, story()).bank.frames]
    reasons.append("promoted: the keyframes of the second draft's shot 6")
    folder = tmp_path / "page"
    (folder / "shared").mkdir(parents=True)
    (folder / "shared" / "texts.mjs").write_text(
        """import { PROMOTE_TEXTS } from "./promote_texts.mjs";
        export const t = (key, values = {}) => PROMOTE_TEXTS.zh[key].replace(/\\{(\\w+)\\}/g,
            (whole, name) => values[name] ?? whole);"""
    )
    ask = f"""import {{ whyFromDraft }} from "./gallery/from_draft.mjs";
    console.log(JSON.stringify({json.dumps([*reasons, "kept by hand"])}.map(whyFromDraft)));"""
    *said, other = run_node(folder, ["gallery/from_draft.js", "shared/promote_texts.js"], ask)
    assert other == "kept by hand"
    left = [(a, b) for a, b in zip(reasons, said, strict=True) if "shot" in b or "{" in b]
    assert left == []
