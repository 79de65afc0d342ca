"""What the check of a setup finds, the page says in Chinese too: every sentence, title and word."""

from __future__ import annotations

import ast
import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from types import UnionType

import pytest

from helpers.not_empty import not_empty

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT / "web" / "js" / "shared"
SETUP = not_empty((ROOT / "storymem" / "setup").glob("*.py"))
ROUTES = ROOT / "nodes" / "page" / "setup_routes.py"
WORDS_FROM = [  # what stands in values: why a file or a workflow cannot be read, and what a file is
    *(path for path in SETUP if path.name != "report.py"),  # what programmers are told
    ROOT / "storymem" / "sampling" / "lora_kinds.py",
]
REASONS = [  # as ...Error(reason) and ...Error(path, reason)
    ROOT / "storymem" / "files" / f"{name}.py"
    for name in ("outline", "pickle_outline", "gguf_header", "weights_file")
]
SAMPLES = {"place": ["unet_name in UNETLoader"], "name": ["vae"], "kind": ["StoryMemM2VSampler"]}
SCRIPTS = ("setup_words", "setup_told_texts")
ASK = """
import { findingText, titleText } from "./setup_words.mjs";
const told = TEXTS.map((text) => [text, findingText({ text }).text]);
const titles = TITLES.map((title) => [title, titleText({ title })]);
const words = WORDS.map((word) => [word, findingText({ text: "{w}", values: { w: word } }).text]);
process.stdout.write(JSON.stringify({ told, titles, words }));
"""
CHINESE = re.compile(r"[\u4e00-\u9fff]")
NAMES = re.compile(r"ComfyUI|Python|StoryMem|\{\w+\}")
PLACE = re.compile(r"\{(\w+)\}")
ENGLISH = re.compile(r"[A-Za-z']+(?: [A-Za-z']+){3}")  # four words in a row
NO_WORDS = re.compile(r"^[^a-z]*$|[\\^$|*]|^--")  # patterns, options, names in capitals


# --- what the sources say ---


def texts_of(node: ast.AST, names: dict[str, list[str]]) -> list[str]:
    """What an expression may be as a text; a value that is not known is ``{?}``."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.Name):
        return names.get(node.id, ["{?}"])
    if isinstance(node, ast.IfExp):
        return [*texts_of(node.body, names), *texts_of(node.orelse, names)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return joined([texts_of(node.left, names), texts_of(node.right, names)])
    if isinstance(node, ast.FormattedValue):
        return texts_of(node.value, names)
    if isinstance(node, ast.JoinedStr):
        return joined([texts_of(value, names) for value in node.values])
    return ["{?}"]


def joined(parts: list[list[str]]) -> list[str]:
    return ["".join(one) for one in itertools.product(*parts)]


def names_of(steps: list[ast.AST], known: dict[str, list[str]]) -> dict[str, list[str]]:
    """What names may be after assignments, each of which may have been passed over."""
    names = dict(known)
    for step in steps:
        target = step.target if isinstance(step, ast.AugAssign) else step.targets[0]
        if not isinstance(target, ast.Name):
            continue
        found = texts_of(step.value, names)
        before = names.get(target.id, [])
        if isinstance(step, ast.AugAssign):
            found = joined([before, found])
        names[target.id] = [*before, *(one for one in found if one not in before)]
    return names


def by_line(function: ast.AST, kinds: type | UnionType) -> list:
    found = (node for node in ast.walk(function) if isinstance(node, kinds))
    return sorted(found, key=lambda node: node.lineno)


def sentences(path: Path) -> set[str]:
    """The templates of the findings that a file tells.

    A name stands for what was put there since the finding before it, else for the last of it.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = names_of([n for n in tree.body if isinstance(n, ast.Assign)], {})
    found: set[str] = set()
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        steps, line = by_line(function, ast.Assign | ast.AugAssign), 0
        kept: dict[str, list[str]] = dict(known)
        for call in by_line(function, ast.Call):
            if ast.unparse(call.func) != "Finding":
                continue
            new = [step for step in steps if line < step.lineno <= call.lineno]
            put = {ast.unparse(step.targets[0]) for step in new if isinstance(step, ast.Assign)}
            names = names_of(new, {key: kept[key] for key in kept.keys() - put})
            found |= set(texts_of(call.args[1], names))
            kept = names | {key: kept[key] for key in kept.keys() - names.keys()}
            kept = {key: texts[-1:] if key not in known else texts for key, texts in kept.items()}
            line = call.lineno
    return found


def titles() -> set[str]:
    found = {"Machine", "Model files", "ComfyUI"}
    for path in SETUP:
        found |= set(re.findall(r'KEY, TITLE = "\w+", "(.+)"', path.read_text(encoding="utf-8")))
    return found


def words(path: Path) -> set[str]:
    """Texts of several words that are no findings, docstrings or patterns."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    passed_over = {
        id(part)
        for node in ast.walk(tree)
        for part in ast.walk(_not_a_word(node))
        if isinstance(node, ast.JoinedStr | ast.Expr | ast.Call) and part is not node
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) not in passed_over and isinstance(node, ast.Constant | ast.JoinedStr):
            found |= (
                set(texts_of(node, SAMPLES)) if isinstance(node, ast.JoinedStr) else {node.value}
            )
    texts = {one.replace("{?}", "7") for one in found if isinstance(one, str)}
    whole = {one for one in texts if len(one.split()) >= 3 and not NO_WORDS.search(one)}
    told = sentences(path)
    return {
        one.strip(" ;,")
        for one in whole
        if not PLACE.search(one) and not any(one in other for other in told)
    }


def _not_a_word(node: ast.AST) -> ast.AST:
    """What of a node holds no words of its own: parts of a text, docstrings, findings' texts."""
    if isinstance(node, ast.Call):
        return node.args[1] if ast.unparse(node.func) == "Finding" else ast.Pass()
    return node if isinstance(node, ast.JoinedStr | ast.Expr) else ast.Pass()


def reasons(path: Path) -> set[str]:
    """Why a file cannot be used."""
    found: set[str] = set()
    for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(
            ("OutlineError", "WeightsError")
        ):
            found |= {one.replace("{?}", "7") for one in texts_of(call.args[-1], {})}
    return {one for one in found if len(one.split()) >= 3}


# --- what the page says ---


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict[str, dict[str, str]]:
    """What a page in Chinese says for each of them."""
    if shutil.which("node") is None:
        pytest.skip("needs node")
    folder = tmp_path_factory.mktemp("setup")
    for name in SCRIPTS:
        code = (SHARED / f"{name}.js").read_text(encoding="utf-8")
        (folder / f"{name}.mjs").write_text(code.replace('.js"', '.mjs"'), encoding="utf-8")
    (folder / "texts.mjs").write_text(
        'export const language = () => "zh";\nexport const t = (key) => key;'
    )
    told = sorted(set().union(*map(sentences, [*SETUP, ROUTES])))
    assert len(told) > 30
    why = set().union(*map(reasons, REASONS))
    filled = set().union(*map(words, WORDS_FROM))
    assert len(why) > 20
    asked = {"TEXTS": told, "TITLES": sorted(titles()), "WORDS": sorted(filled | why)}
    lines = [f"const {name} = {json.dumps(value)};" for name, value in asked.items()]
    (folder / "ask.mjs").write_text("\n".join([*lines, ASK]), encoding="utf-8")
    run = subprocess.run(["node", "ask.mjs"], cwd=folder, capture_output=True, text=True)
    assert run.stderr == ""
    return {kind: dict(found) for kind, found in json.loads(run.stdout).items()}


def test_every_sentence_and_title_is_said_in_chinese_with_the_same_values(said):
    without = [one for one, chinese in said["told"].items() if not is_said(one, chinese)]
    assert without == [], "give these in web/js/shared/setup_told_texts.js"
    assert [one for one, chinese in said["titles"].items() if not is_said(one, chinese)] == []


def is_said(english: str, chinese: str) -> bool:
    """Chinese stands there, or nothing that needs it; with the same places for values."""
    needs = re.search(r"[a-z]{3}", NAMES.sub("", english))
    same = sorted(PLACE.findall(english)) == sorted(PLACE.findall(chinese))
    return same and "{?}" not in english and bool(CHINESE.search(chinese) or not needs)


def test_every_word_that_is_filled_in_is_said_in_chinese(said):
    english = {one: chinese for one, chinese in said["words"].items() if ENGLISH.search(chinese)}
    assert english == {}, "give these in web/js/shared/setup_told_texts.js"


def test_nothing_stands_there_that_nobody_tells(said):
    code = (SHARED / "setup_told_texts.js").read_text(encoding="utf-8").partition("SETUP_WORDS")[0]
    there = set(re.findall(r'^  "((?:[^"\\]|\\.)+)":', code, re.MULTILINE))
    assert there - set(said["told"]) - set(said["titles"]) == set()
