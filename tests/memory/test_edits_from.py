"""Clicks that hold from one shot on: read from JSON, and which of them hold for a shot."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from storymem.memory.edits import NO_EDITS, BankEdits, LaterEdits
from storymem.memory.edits_from import edits_at, lost_edits, placed
from storymem.script.reader import load_story

GALLERY_JS = Path(__file__).resolve().parents[2] / "web" / "js" / "gallery"
LATER_JS = GALLERY_JS / "later.js"
UNDO = """
import * as edit from "./edits.mjs";
import { editsAt, editsAtLast, saySame } from "./later.mjs";
const doings = {
    pin: (next) => ({ ...next, pinned: true }),
    unpin: (next) => ({ ...next, pinned: false }),
    drop: (next) => ({ ...next, kept: false }),
    restore: (_, at, frame) => ({ kept: true, pinned: edit.pinnedIfKept(at, frame) }),
};
const click = (edits, frame, shots, index, name) => {
    const at = index < 0 ? editsAtLast(edits) : editsAt(edits, shots, index);
    const next = doings[name](edit.wanted(at, frame), at, frame);
    if (index < 0) return edit.want(edits, frame, next);
    return edit.wantFrom(edits, shots, index, frame, next);
};
const wrong = [];
for (const { given, frame, shots, clicks } of CASES) {
    const ran = edit.readEdits(JSON.stringify(given));
    const was = edit.writeEdits(ran);
    let now = ran;
    for (const [index, name] of clicks) now = click(now, frame, shots, index, name);
    const undone = edit.undone(now, frame, ran);
    if (!saySame(now, ran, frame.digest)) {
        if (edit.writeEdits(undone) !== was) wrong.push([was, clicks]);
    } else if (edit.pending(editsAtLast(undone), frame)) {
        wrong.push([was, "undo of what an ended run did not reach"]);
    }
    const [index, name] = clicks.find(([one]) => one >= 0) ?? [];
    if (index === undefined) continue;
    const one = click(ran, frame, shots, index, name);
    const then = edit.wanted(editsAt(ran, shots, index), frame);
    const offered = then.kept ? [then.pinned ? "unpin" : "pin", "drop"] : ["restore"];
    if (!offered.includes(name)) continue;
    const back = edit.writeEdits(edit.undoneFrom(one, shots, index, frame, ran));
    if (back !== was) wrong.push([was, index, name]);
    // Clicks on earlier shots, and for the whole story, are not this undo's.
    const [before, ...others] = [ran, ...clicks.filter(([at]) => at < index)];
    const earlier = others.reduce((all, [at, act]) => click(all, frame, shots, at, act), before);
    const after = click(earlier, frame, shots, index, name);
    if (saySame(after, ran, frame.digest, shots[index])) continue;
    const left = edit.undoneFrom(after, shots, index, frame, ran);
    for (let at = 0; at < index; at += 1) {
        const [one, other] = [left, after].map((all) => edit.writeEdits(editsAt(all, shots, at)));
        if (one !== other) wrong.push([was, clicks, at]);
    }
}
process.stdout.write(JSON.stringify(wrong));
"""
ONE, TWO, THREE = ("ab" * 32, "cd" * 32, "ef" * 32)


def story(count=4):
    cuts = [True] + [False] * (count - 1)
    prompts = [f"shot {i}" for i in range(count)]
    return load_story({"story_name": "Tale", "scenes": [{"video_prompts": prompts, "cut": cuts}]})


def edits(*later, **kinds) -> BankEdits:
    return BankEdits.parse(json.dumps({**kinds, "from": list(later)}))


def test_values_of_earlier_versions_mean_what_they_meant():
    assert BankEdits.parse("") == NO_EDITS
    old = BankEdits.parse(json.dumps({"pin": [ONE], "names": {TWO: "Mara"}, "images": ["a.png"]}))
    assert old.later == ()
    for index in range(5):
        assert edits_at(old, story(), index) is old


def test_a_click_holds_from_its_shot_on():
    given = edits({"shot": "01_03", "drop": [TWO]}, pin=[ONE])
    assert given.later == (LaterEdits("01_03", drop=(TWO,)),)
    found = [edits_at(given, story(), index) for index in range(5)]
    assert [one.drop for one in found] == [(), (), (TWO,), (TWO,), (TWO,)]
    assert {one.pin for one in found} == {(ONE,)}
    assert {one.later for one in found} == {()}


def test_the_later_of_two_clicks_on_a_frame_counts_whatever_their_order_in_the_list():
    later = ({"shot": "01_04", "drop": [TWO]}, {"shot": "01_02", "keep": [TWO[:12]]})
    given = edits(*later, pin=[ONE], drop=[TWO[:20]])
    found = [edits_at(given, story(), index) for index in range(4)]
    assert [(one.drop, one.keep) for one in found] == [
        ((TWO[:20],), ()),
        ((), (TWO[:12],)),
        ((), (TWO[:12],)),
        ((TWO,), ()),
    ]
    pinned = edits({"shot": "01_02", "unpin": [ONE]}, pin=[ONE[:12]])
    assert [edits_at(pinned, story(), i).pin for i in (0, 1)] == [(ONE[:12],), ()]
    assert edits_at(pinned, story(), 1).unpin == (ONE,)


def test_names_and_pictures_hold_for_the_whole_story():
    given = edits({"shot": "01_02", "pin": [THREE]}, names={ONE: "Pip"}, images=["b.png"])
    for index in (0, 1):
        found = edits_at(given, story(), index)
        assert (found.names, found.images) == (((ONE, "Pip"),), ("b.png",))


def test_a_row_is_found_wherever_it_stands_now():
    tale = story()
    moved = replace(tale, shots=(*tale.shots[:3], replace(tale.shots[3], row="rain")))
    given = edits({"shot": "01_02", "row": "rain", "pin": [ONE]})
    assert [start for start, _ in placed(given, moved)] == [3]
    assert [start for start, _ in placed(given, tale)] == [1]  # nobody has the id: the label


def test_a_shot_that_the_story_does_not_have_is_told_and_changes_nothing():
    given = edits({"shot": "07_01", "drop": [ONE]}, {"shot": "01_01", "pin": [TWO]})
    assert edits_at(given, story(), 9) == BankEdits(pin=(TWO,))
    (line,) = lost_edits(given, story())
    assert "07_01" in line
    assert "01_01" not in line
    assert lost_edits(NO_EDITS, story()) == []


@pytest.mark.parametrize(
    ("later", "words"),
    [
        ({}, "must be a list"),
        (["01_02"], "each entry"),
        ([{"shot": "01_02", "images": []}], "each entry"),
        ([{"shot": "two", "pin": [ONE]}], "scene and number"),
        ([{"shot": 2, "pin": [ONE]}], "scene and number"),
        ([{"pin": [ONE]}], "scene and number"),
        ([{"row": "\ud800", "pin": [ONE]}], "scene and number"),
        ([{"row": ["x"], "shot": "01_02"}], "scene and number"),
        ([{"shot": "01_02", "pin": ["zz"]}], "is no frame"),
        ([{"shot": "01_02", "pin": [ONE], "unpin": [ONE[:12]]}], "under both"),
    ],
)
def test_what_is_no_such_click_is_refused(later, words):
    with pytest.raises(ValueError, match=words):
        BankEdits.parse(json.dumps({"from": later}))


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_the_page_joins_clicks_as_the_loop_does():
    chance, tale = random.Random(5), story()
    shots = [{"label": shot.label, "row": shot.row} for shot in tale.shots]
    given = [_some_edits(chance) for _ in range(200)]
    lines = [
        LATER_JS.read_text(encoding="utf-8").replace("export function", "function"),
        "const none = { pin: [], unpin: [], drop: [], keep: [], from: [] };",
        f"const given = {json.dumps(given)};",
        "const all = given.map((e) => ({ ...none, ...e, from: readLater(e.from) }));",
        f"const shots = {json.dumps(shots)};",
        "const found = all.map((e) => [0, 1, 2, 3, 4].map((i) => editsAt(e, shots, i)));",
        "process.stdout.write(JSON.stringify(found));",
    ]
    run = subprocess.run(["node", "-"], input="\n".join(lines), capture_output=True, text=True)
    assert run.stderr == ""
    kinds = ("pin", "unpin", "drop", "keep")
    for one, found in zip(given, json.loads(run.stdout), strict=True):
        parsed = BankEdits.parse(json.dumps(one))
        for index, page in enumerate(found):
            loop = edits_at(parsed, tale, index)
            assert [sorted(page[k]) for k in kinds] == [sorted(getattr(loop, k)) for k in kinds]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_undo_in_the_gallery_restores_what_the_latest_run_had(tmp_path):
    """For the whole story and from several shots on, whatever was clicked in between."""
    for name in ("edits", "later"):
        code = (GALLERY_JS / f"{name}.js").read_text(encoding="utf-8")
        (tmp_path / f"{name}.mjs").write_text(code.replace("./later.js", "./later.mjs"))
    chance = random.Random(8)
    shots = [{"label": shot.label, "row": shot.row} for shot in story().shots]
    pinned = {"digest": ONE, "role": "pinned", "edit": "pin", "pinned": True, "label": None}
    dropped = {**pinned, "role": "dropped", "edit": "drop", "pinned": False}
    frames = [dropped, pinned, {**pinned, "role": "window", "edit": "", "pinned": False}]
    cases = [{
        "given": {"from": [{"shot": "01_03", "drop": [ONE, TWO]}]},
        "frame": dropped, "shots": shots, "clicks": [[-1, "restore"]],
    }]  # fmt: skip
    for _ in range(300):
        names = chance.choices(("pin", "unpin", "drop", "restore"), k=chance.randrange(1, 4))
        clicks = [[chance.randrange(-1, 4), name] for name in names]
        given, frame = _some_edits(chance), chance.choice(frames)
        cases.append({"given": given, "frame": frame, "shots": shots, "clicks": clicks})
    (tmp_path / "undo.mjs").write_text(f"const CASES = {json.dumps(cases)};\n{UNDO}")
    run = subprocess.run(
        ["node", "undo.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.stderr == ""
    assert json.loads(run.stdout) == []


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node")
def test_what_the_latest_run_had_otherwise_is_still_to_take_effect(tmp_path):
    for name in ("edits", "later"):
        code = (GALLERY_JS / f"{name}.js").read_text(encoding="utf-8")
        (tmp_path / f"{name}.mjs").write_text(code.replace("./later.js", "./later.mjs"))
    (tmp_path / "ask.mjs").write_text(f"""
        import {{ isPending, readEdits }} from "./edits.mjs";
        import {{ saySame }} from "./later.mjs";
        const read = (edits) => readEdits(JSON.stringify(edits));
        const from = (shot, row) => read({{ from: [{{ shot, row, drop: ["{ONE}"] }}] }});
        const is = {{ role: "dropped", edit: "drop", pinned: false, label: null }};
        const frame = {{ ...is, digest: "{ONE}" }};
        const [third, second, none] = [from("01_03", ""), from("01_02", "rain"), read({{}})];
        const same = (row, label) => saySame(second, none, frame.digest, {{ row, label }});
        process.stdout.write(JSON.stringify([
            isPending(second, frame, second), isPending(second, frame, third),
            same("rain", "01_04"), same("sun", "01_02"),
            same("", "01_02"), same("", "01_04"),
        ]));
    """)
    run = subprocess.run(
        ["node", "ask.mjs"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.stderr == ""
    # A frame that stays out from another shot on; a row is itself wherever it stands.
    assert json.loads(run.stdout) == [False, True, False, True, False, True]


def _some_edits(chance) -> dict:
    """Clicks on three frames, for the whole story and from some shots on."""

    def clicks() -> dict:
        found = {}
        for pair in (("pin", "unpin"), ("drop", "keep")):
            for frame in chance.sample((ONE, TWO, THREE), chance.randrange(3)):
                digits = frame[: chance.choice((12, 20, 64))]
                found.setdefault(chance.choice(pair), []).append(digits)
        return found

    labels = ("01_01", "01_02", "01_03", "01_04", "09_01")
    later = [{"shot": label, **clicks()} for label in chance.sample(labels, 3)]
    return {**clicks(), "from": later}
