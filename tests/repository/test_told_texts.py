"""What is told of a run before it is queued, the page says in Chinese too, in every sentence."""

from __future__ import annotations

import ast
import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT / "web" / "js" / "shared"
TOLD = {  # where the sentences are: in these functions, or in the whole file
    "nodes/loop/wiring.py": (), "nodes/loop/part_notices.py": (), "nodes/loop/experts.py": (),
    "nodes/loop/settings.py": (), "nodes/loop/pass_notices.py": (),
    "nodes/loop/card_notices.py": (),
    "nodes/loop/rehearsals.py": ("after_rehearsals",),
    "storymem/loop/passes.py": ("check_rehearsals",),
    "nodes/loop/shot_loras.py": (), "nodes/sampling/shot_loras.py": ("_fault",),
    "storymem/sampling/lora_names.py": (),
    "nodes/loop/tiny_prompts.py": (), "nodes/loop/graph.py": (), "nodes/loop/read_graph.py": (),
    "nodes/loop/plan_ahead.py": (), "nodes/loop/plan_one_wire.py": (),
    "nodes/loop/references.py": (), "nodes/loop/start_images.py": ("find_pictures",),
    "storymem/sampling/start_images.py": (), "storymem/sampling/recipe.py": ("odd_pair",),
    "storymem/sampling/lora_file.py": ("assumed",), "storymem/script/numbers.py": (),
    "storymem/files/names.py": ("check_name",), "storymem/loop/plan.py": ("range",),
    "storymem/loop/shots.py": ("lock_warnings",), "storymem/loop/take_names.py": (),
    "storymem/loop/disk_space.py": (), "storymem/loop/given_edits.py": ("check_edits",),
    "storymem/loop/shot_store.py": ("find",), "storymem/film/earlier_films.py": ("notices_of",),
    "storymem/memory/edits_from.py": ("lost_edits",),
    "storymem/writing/answer.py": ("find_faults", "_harmless"),
    "storymem/writing/wish.py": ("make_wish", "read_cast"),
    "storymem/script/remembered.py": ("tell_unknown",),
    "storymem/script/sound.py": ("tell_shared",),
    "nodes/loop/script_sounds.py": ("find_sound", "check_sounds", "joined_rate"),
    "storymem/loop/audio_length.py": ("frames_of_sounds",),
    "storymem/film/rehearsal.py": ("rehearse", "opening_of", "_notes", "_with_room"),
    "storymem/film/promote.py": ("add", "result", "_take", "_present", "keyframes_of", "seed_of"),
    "storymem/film/shown_shots.py": ("read_frame", "_first", "shown_shots"),
    "storymem/views/draft_frames.py": (),
    "nodes/memory/rehearsal.py": ("make_rehearsal", "pass_folder"),
    "nodes/loop/choice_notices.py": (), "nodes/sampling/choose_memory.py": ("execute",),
    "nodes/loop/end_images.py": (), "storymem/sampling/request.py": ("too_short_to_end",),
    "storymem/loop/opening.py": (), "storymem/loop/opening_clip.py": (),
}  # fmt: skip
PARTS = {  # what is in the middle of a sentence
    "USED_ONLY_BY_WIRE[kind]": [
        "the keyframes are", "what it keeps is", "the chosen memory is", "the matched frames are",
    ],
    "_what_stays(found.manifest)": ["", "its film stays as tale_0001.mp4, "],
    "title": ["", " of that title"],
    "verb": ["is", "belongs to"],
    "todo": ["swap the two models", "swap the two files", "choose the high-noise file"],
    "line": [
        "about 5 MB needed, 3 MB free",
        "about 5 MB needed at most (2 shots may turn out to be finished), 3 MB free",
    ],
    "of_shots(numbers)": ["shot 2", "shots 2, 3", "shots 1, 2, 3, 4, 5, 6 and 3 more"],
    "_shots(silent)": ["shot 2", "shots 2, 3"], "do": ["do", "does"],
    "_shots(brief)": ["shot 2", "shots 2, 3"], "be": ["are", "is"],
    "_shots(tied)": ["shot 2", "shots 2, 3"], "speak": ["speak", "speaks"],
    "_shots(twice)": ["shot 2", "shots 2, 3"], "repeat": ["repeat", "repeats"],
    "_shots(begins)": ["shot 2", "shots 2, 3"],
    "begin": ["begin", "begins"],
    "counted(len(prompts), 'shot')": ["3 shots"],
    "words[0]": ["locked"], "words[1]": ["unlock it"], "are": ["shot 2 is", "shots 2, 3 are"],
    "they": ["it was", "they were"], "them": ["it", "them"], "shot.index + 1": ["3"],
    "kind": ["start", "end", "reference"], "has": ["has", "have"], "is_cut": ["is", "are"],
    "shots": ["shots 1, 2", "shot 1"], "form": ["look like"], "which": ["shot 2"],
    "name": ["redo_shots"], "told": [],
}  # fmt: skip
NOT_TOLD = re.compile(r"^(about SAMPLE MB needed| at most|; disk:|be numbers of|locked or a)")
SAMPLE = "SAMPLE"
LEAST_WORDS = 5
ASK = """
import { serverText } from "./server_text.mjs";
const found = SENTENCES.map((sentence) => [sentence, serverText(sentence)]);
process.stdout.write(JSON.stringify(found));
"""


def sentences(path: str, functions: tuple[str, ...]) -> set[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    inside = [n for n in ast.walk(tree) if getattr(n, "name", None) in functions]
    assert len(inside) >= len(functions), path
    found: set[str] = set()
    for part in inside or [tree]:
        found |= set(_texts_in(part))
    prefix = "lora_high: " if functions == ("assumed",) else ""
    return {f"{prefix}{one}" for one in found if len(one.split()) >= LEAST_WORDS}


def _texts_in(node: ast.AST):
    """The longest texts in code without docstrings and tooltips, with samples for values."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.keyword) and node.arg == "tooltip":  # said by the locales
        return
    if _is_text(node):
        yield from (one.removeprefix("StoryMem: ") for one in _variants(node))
        return
    for child in ast.iter_child_nodes(node):
        yield from _texts_in(child)


def _is_text(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _is_text(node.left) or _is_text(node.right)
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _variants(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value.replace("%s", SAMPLE)]
    if isinstance(node, ast.FormattedValue):
        return _variants(node.value)
    if isinstance(node, ast.IfExp):
        return [*_variants(node.body), *_variants(node.orelse)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _joined([_variants(node.left), _variants(node.right)])
    if isinstance(node, ast.JoinedStr):
        return _joined([_variants(value) for value in node.values])
    return PARTS.get(ast.unparse(node), [SAMPLE])


def _joined(parts: list[list[str]]) -> list[str]:
    return ["".join(one) for one in itertools.product(*parts)]


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> dict[str, str]:
    """What a page in Chinese says for each sentence."""
    if shutil.which("node") is None:
        pytest.skip("needs node")
    folder = tmp_path_factory.mktemp("told")
    texts = ("server_text", "notice_texts", "told_texts", "continue_texts", "lora_texts")
    for name in texts:
        code = (SHARED / f"{name}.js").read_text(encoding="utf-8")
        (folder / f"{name}.mjs").write_text(code.replace('.js"', '.mjs"'), encoding="utf-8")
    (folder / "texts.mjs").write_text('export const language = () => "zh";')
    texts = sorted(set().union(*(sentences(*one) for one in TOLD.items())))
    texts = [one for one in texts if not NOT_TOLD.match(one)]
    assert len(texts) > 90
    (folder / "ask.mjs").write_text(f"const SENTENCES = {json.dumps(texts)};\n{ASK}")
    run = subprocess.run(["node", "ask.mjs"], cwd=folder, capture_output=True, text=True)
    assert run.stderr == ""
    return dict(json.loads(run.stdout))


def test_every_sentence_is_said_in_chinese(told):
    english = [sentence for sentence, said in told.items() if said == sentence]
    assert english == [], "give these in web/js/shared/notice_texts.js or told_texts.js"


def test_nothing_of_a_sentence_is_left_in_english(told):
    words = re.compile(r"[a-z]+(?: [a-z]+){3}")
    left = {said: words.findall(said) for said in told.values()}
    assert {said: found for said, found in left.items() if found} == {}
    assert [said for said in told.values() if re.search(r"\{\w+\}", said)] == []
