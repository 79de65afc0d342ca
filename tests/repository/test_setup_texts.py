"""What the check of a setup finds, the page says in Chinese too: every sentence, title and word."""

from __future__ import annotations

import ast
import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.not_empty import not_empty

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT / "web" / "js" / "shared"
SETUP = not_empty((ROOT / "storymem" / "setup").glob("*.py"))
ROUTES = ROOT / "nodes" / "page" / "setup_routes.py"
WORDS_FROM = [  # what stands in values: why a file or a workflow cannot be read, and what a file is
    *SETUP, ROOT / "storymem" / "files" / "outline.py", ROOT / "storymem" / "sampling" / "lora_kinds.py",
]  # fmt: skip
SCRIPTS = (
    "setup_words", "setup_told_texts", "server_text", "notice_texts", "told_texts",
    "continue_texts", "lora_texts",
)  # fmt: skip
ASK = """
import { findingText, titleText } from "./setup_words.mjs";
const told = TEXTS.map((text) => [text, findingText({ text }).text]);
const titles = TITLES.map((title) => [title, titleText({ title })]);
const words = WORDS.map((word) => [word, findingText({ text: "{w}", values: { w: word } }).text]);
process.stdout.write(JSON.stringify({ told, titles, words }));
"""
CHINESE = re.compile(r"[\u4e00-\u9fff]")
PLACE = re.compile(r"\{(\w+)\}")
ENGLISH = re.compile(r"[A-Za-z']+(?: [A-Za-z']+){3}")  # four words in a row
NO_WORDS = re.compile(r"^[^a-z]*$|[\\^$|*]|^--")  # patterns, options, names in capitals


# --- what the sources say ---


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


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


def names_in(function: ast.AST, known: dict[str, list[str]]) -> dict[str, list[str]]:
    """What a function's own names may be, in the order of its lines."""
    names = dict(known)
    steps = [n for n in ast.walk(function) if isinstance(n, ast.Assign | ast.AugAssign)]
    for step in sorted(steps, key=lambda one: one.lineno):
        target = step.target if isinstance(step, ast.AugAssign) else step.targets[0]
        if not isinstance(target, ast.Name):
            continue
        found = texts_of(step.value, names)
        before = names.get(target.id, [])
        if isinstance(step, ast.AugAssign):
            found = joined([before, found])
        names[target.id] = [*before, *(one for one in found if one not in before)]
    return names


def sentences(path: Path) -> set[str]:
    """The templates of the findings that a file tells."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = names_in(ast.Module([n for n in tree.body if isinstance(n, ast.Assign)], []), {})
    found: set[str] = set()
    for function in functions(tree):
        names = names_in(function, known)
        for call in ast.walk(function):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "Finding":
                found |= set(texts_of(call.args[1], names))
    return found


def titles() -> set[str]:
    found = {"Machine", "Model files", "ComfyUI"}
    for path in SETUP:
        found |= set(re.findall(r'KEY, TITLE = "\w+", "(.+)"', path.read_text(encoding="utf-8")))
    return found


def words(path: Path) -> set[str]:
    """Texts of several words that are no findings, docstrings or patterns."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        for part in ast.walk(node)
        if part is not node
    }
    told, found = sentences(path), set()
    for node in ast.walk(tree):
        if id(node) in inside or not isinstance(node, ast.Constant | ast.JoinedStr):
            continue
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else "SAMPLE" for p in node.values)
            found.add("".join(map(str, parts)))
        elif isinstance(node.value, str):
            found.add(node.value)
    whole = {one for one in found if len(one.split()) >= 3 and not NO_WORDS.search(one)}
    return {
        one.strip(" ;,")
        for one in whole
        if not PLACE.search(one) and not any(one in other for other in told)
    }


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
    asked = {
        "TEXTS": told,
        "TITLES": sorted(titles()),
        "WORDS": sorted(set().union(*map(words, WORDS_FROM))),
    }
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
    needs = re.search(
        r"[a-z]{3}", PLACE.sub("", english).replace("ComfyUI", "").replace("Python", "")
    )
    same = sorted(PLACE.findall(english)) == sorted(PLACE.findall(chinese))
    return same and "{?}" not in english and bool(CHINESE.search(chinese) or not needs)


def test_every_word_that_is_filled_in_is_said_in_chinese(said):
    assert [one for one, chinese in said["words"].items() if ENGLISH.search(chinese)] == [], (
        "give these in web/js/shared/setup_told_texts.js"
    )


def test_nothing_stands_there_that_nobody_tells(said):
    code = (SHARED / "setup_told_texts.js").read_text(encoding="utf-8").partition("SETUP_WORDS")[0]
    there = set(re.findall(r'^  "((?:[^"\\]|\\.)+)":', code, re.MULTILINE))
    assert there - set(said["told"]) - set(said["titles"]) == set()
