"""The code that computes pixels has versions raised by hand, and none of its texts is in a key."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from helpers import render_digest
from helpers.render_digest import (
    PACK,
    WORDS,
    definitions,
    differences,
    digests_of,
    digests_of_part,
    outline,
)
from storymem.loop import render_version
from storymem.loop.render_version import (
    HEADLESS,
    IN_EVERY_LOOP,
    PARTS,
    PARTS_OF_NODES,
    Part,
    render_versions,
    versions_of_nodes,
)

# Nodes that compute no pixels: they read scripts, move the loop on, and show or keep what was made.
NO_PART = {
    "StoryMemStoryShots",
    "StoryMemLoadStory", "StoryMemWriteStory", "StoryMemLoadStartImages", "StoryMemShotLoopOpen",
    "StoryMemShotLoopClose",
    "StoryMemBeginStory", "StoryMemNextShot", "StoryMemFinishShot", "StoryMemJoinStory",
    "StoryMemDraftSettings",  # travels in the shot, by value
    "StoryMemPreviewMemoryBank", "StoryMemSaveMemoryBank", "StoryMemEvaluateStory",
    "StoryMemStoryBoard", "StoryMemRehearsal",
}  # fmt: skip
# Files that parts use and that decide no pixel: what they give a shot is in its key as a value, or
# they read files, find them, check inputs, show things and say things.
NO_PIXELS = {
    "storymem/files/hashing.py", "storymem/loop/plan.py", "storymem/script/story.py",
    "storymem/loop/shot_master.py",
    "nodes/host/file_marks.py", "nodes/host/folders.py", "nodes/host/executor.py",
    "nodes/page/bank_ui.py", "nodes/page/node_notice.py", "nodes/types.py",
    "nodes/host/wan_models.py", "storymem/headless/wan_folders.py", "nodes/sampling/inputs.py",
    "storymem/headless/portrait.py",
    "storymem/memory/bank_folder.py", "storymem/memory/picture.py",
    "storymem/files/json_text.py", "storymem/files/messages.py", "storymem/tiny/known_words.py",
    "storymem/script/numbers.py",
    "storymem/views/contact_sheet.py",
    "storymem/loop/render_version.py", "storymem/loop/cache_keys.py",
    "storymem/loop/shot_record.py",
    "storymem/loop/time_left.py", "storymem/loop/seen.py",
    "storymem/tiny/files.py", "storymem/models/weights.py",
    "storymem/files/weights_file.py", "storymem/sampling/lora_kinds.py",
    "nodes/sampling/host_loras.py", "storymem/files/names.py",
    "storymem/files/small_file.py",
    "storymem/files/packages.py", "nodes/host/once.py",
    # On which card something runs: the same latents come of it.
    "nodes/host/cards.py",
    # Which files there are, and whether one can be used.
    "storymem/loop/shot_loras.py", "storymem/headless/identity.py",
}  # fmt: skip
SOURCES = sorted({source for part in PARTS.values() for source in part.sources})
CODE = '''"""A module."""
from __future__ import annotations
import logging
from .story import Shot
from ..storymem.rope import shift_of

STEPS = 40  # as released
TABLE: dict[str, int] = {"a": 1}
logger = logging.getLogger(__name__)

class Sampler(Base):
    """Samples."""
    size: int = 3

    @classmethod
    def define_schema(cls):
        return io.Schema(inputs=[io.Int.Input("steps", default=40, tooltip="How many.")])

    def run(self, x: float, *, times: int = 2) -> float:
        """Run it."""
        # a comment
        if x < 0:
            raise ValueError(f"x is {x}, which is too small")
        if len(self.memory) > 10:
            logger.warning("%d frames", len(self.memory))
        self.places.give(3, f"recent {x:.2f}")
        return clamp(x * times + 1.5, -1, f"{times}:{x:.1f}", reason="it was asked for")

def inputs() -> list:
    return [io.Int.Input("seed", default=0, tooltip="The seed.", display_name="seed")]
'''


def digest_of(text: str) -> list[str]:
    return sorted(digests_of(text))


# --- what an update must not do ---------------------------------------------------------------


def test_the_code_of_every_part_is_as_its_version_was_written_down(golden):
    assert differences(golden("render_digest.json"), render_digest.current()) == []


LOGGED = """        if len(self.memory) > 10:
            logger.warning("%d frames", len(self.memory))
"""
NO_PIXEL_CHANGES = {
    "a docstring": ('"""Run it."""', '"""Run it once."""'),
    "a docstring more": ("def inputs() -> list:", 'def inputs() -> list:\n    """Inputs."""'),
    "a module's docstring": ('"""A module."""', '"""Another module."""'),
    "a comment": ("# a comment", "# the comment, reworded"),
    "a tooltip": ("The seed.", "The base seed of the story."),
    "a display name": ('display_name="seed"', 'display_name="Base seed"'),
    "a schema": ('tooltip="How many."', 'tooltip="How often.", advanced=True'),
    "an error's words": ("which is too small", "but it must be 0 or more"),
    "an error's cause": ('too small")', 'too small") from None'),
    "a log line's words": ('"%d frames"', '"%d memory frames"'),
    "a log line more": (
        "        return clamp",
        '        logger.info("sampled")\n        return clamp',
    ),
    "no log line": (LOGGED, ""),
    "a reason by name": ("it was asked for", "the artist asked for it"),
    "a reason by place": ('f"recent {x:.2f}"', '"one of the most recent"'),
    "a type hint": ("x: float", "x: int | float"),
    "a type hint of a constant": ("TABLE: dict[str, int]", "TABLE"),
    "a file that moved": ("from .story import Shot", "from ..script.story import Shot"),
    "a package that moved": ("..storymem.rope", "...storymem.sampling.rope"),
    "a log line's name": (
        "logger = logging.getLogger(__name__)",
        'logger = logging.getLogger("a")',
    ),
    "a blank line": ("STEPS = 40", "\n\nSTEPS = 40"),
    "another quote": ('{"a": 1}', "{'a': 1}"),
}
PIXEL_CHANGES = {
    "a constant": ("STEPS = 40", "STEPS = 41"),
    "a number": ("1.5", "1.6"),
    "a sign": ("-1", "+1"),
    "an operator": ("x * times", "x / times"),
    "a comparison": ("x < 0", "x <= 0"),
    "a default": ("times: int = 2", "times: int = 3"),
    "a field": ("size: int = 3", "size: int = 4"),
    "a table": ('{"a": 1}', '{"a": 2}'),
    "an order of arguments": ("x * times + 1.5, -1", "-1, x * times + 1.5"),
    "a text that is no message": ("{times}:", "{times};"),
    "a format": ("{x:.1f}", "{x:.2f}"),
    "an index": ("give(3", "give(4"),
    "a type of number": ("1.5", "1"),
    "a call more": ("        return clamp", "        self.step()\n        return clamp"),
    "another base": ("(Base)", "(Other)"),
    "a decorator": ("    def run", "    @cached\n    def run"),
    "a widget's default outside a schema": ("default=0", "default=1"),
    "an error of another kind": ("raise ValueError", "raise RuntimeError"),
    "another name for an import": ("import shift_of", "import shift_of as clamp"),
    "another module's function": ("import logging", "from numpy import clip as clamp"),
}


@pytest.mark.parametrize("change", NO_PIXEL_CHANGES.values(), ids=list(NO_PIXEL_CHANGES))
def test_what_shows_in_no_pixel_changes_no_digest(change):
    before, after = change
    assert before in CODE
    assert digest_of(CODE.replace(before, after)) == digest_of(CODE)


@pytest.mark.parametrize("change", PIXEL_CHANGES.values(), ids=list(PIXEL_CHANGES))
def test_what_may_show_in_pixels_changes_the_digest(change):
    before, after = change
    assert before in CODE
    assert digest_of(CODE.replace(before, after)) != digest_of(CODE)


def test_a_file_may_be_moved_renamed_and_divided(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a" / "all.py").write_text(CODE)
    whole = digests_of_part(("a/all.py",), tmp_path)
    (tmp_path / "b" / "other.py").write_text(CODE)
    assert digests_of_part(("b/other.py",), tmp_path) == whole
    head, _, tail = CODE.partition("class Sampler")
    (tmp_path / "b" / "one.py").write_text("from .two import Sampler\n" + head)
    (tmp_path / "b" / "two.py").write_text(f"from .one import logger\nclass Sampler{tail}")
    assert digests_of_part(("b/one.py", "b/two.py"), tmp_path) == whole


class Mutant(ast.NodeTransformer):
    """Changes the first number, calculation or comparison of a definition that could matter."""

    def __init__(self, kind: type[ast.AST]):
        self.kind, self.is_done = kind, False

    def visit(self, node):
        is_said = isinstance(node, ast.keyword) and node.arg in WORDS
        is_said = is_said or isinstance(node, ast.Raise | ast.Expr | ast.arg)
        if self.is_done or is_said or (isinstance(node, ast.stmt) and outline(node) is None):
            return node
        if isinstance(node, ast.AnnAssign) and node.value is None:
            return node
        if isinstance(node, self.kind) and self.change(node):
            self.is_done = True
            return node
        return self.generic_visit(node)

    def change(self, node) -> bool:
        if isinstance(node, ast.Constant):
            if type(node.value) not in (int, float):
                return False
            node.value += 1
        elif isinstance(node, ast.BinOp):
            if isinstance(node.op, ast.BitOr):  # of types
                return False
            node.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
        else:
            node.ops[0] = ast.NotEq() if isinstance(node.ops[0], ast.Eq) else ast.Eq()
        return True


@pytest.mark.parametrize("name", PARTS)
def test_a_changed_number_or_operator_of_a_part_is_noticed(name):
    changed = 0
    for source in PARTS[name].sources:
        path, _, wanted = source.partition("::")
        text = (PACK / path).read_text(encoding="utf-8")
        for found, node in definitions(ast.parse(text)):
            if not f"{found}.".startswith(f"{wanted}." if wanted else ""):
                continue
            for kind in (ast.Constant, ast.BinOp, ast.Compare):
                before, mutant = outline(node), Mutant(kind)
                mutant.visit(node)
                if mutant.is_done:
                    assert outline(node) != before, f"{found}: {ast.unparse(node)}"
                    changed += 1
    assert changed > 5


# --- every Python -----------------------------------------------------------------------------


def test_fields_that_later_pythons_add_make_no_difference_while_they_are_empty():
    def function(**more):
        arguments = ast.arguments(
            posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[]
        )
        fields = {"name": "f", "args": arguments, "body": [ast.Pass()], "decorator_list": []}
        node = ast.FunctionDef(**fields)
        for name, value in more.items():
            setattr(node, name, value)
            node._fields = (*node._fields, name) if name not in node._fields else node._fields
        return node

    assert outline(function()) == outline(function(type_params=[], later=None))
    assert outline(function()) != outline(function(type_params=[ast.Name("T")]))


def test_texts_that_pythons_cut_differently_are_the_same():
    def text(*values):
        return outline(ast.JoinedStr(list(values)))

    field = ast.FormattedValue(ast.Name("x"), -1, None)
    empty = ast.FormattedValue(ast.Name("x"), -1, ast.JoinedStr([]))
    whole = text(ast.Constant("ab"), field)
    assert text(ast.Constant("a"), ast.Constant("b"), ast.Constant(""), empty) == whole
    assert text(ast.Constant("a"), field) != whole


OTHER_PYTHONS = [
    path
    for minor in (10, 11, 12, 13, 14)
    if minor != sys.version_info.minor
    for path in (
        shutil.which(f"python3.{minor}"),
        *map(str, Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python")),
    )
    if path and "shims" not in path
]


@pytest.mark.slow
@pytest.mark.parametrize("python", OTHER_PYTHONS)
def test_another_python_gives_the_same_digests(python):
    command = [python, str(render_digest.HERE), "--print"]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(run.stdout) == render_digest.current()


# --- the table --------------------------------------------------------------------------------


def test_every_node_has_its_parts_or_computes_no_pixels(golden):
    known = {*PARTS_OF_NODES, *NO_PART}
    assert known == set(golden("schemas.json"))
    assert not NO_PART & set(PARTS_OF_NODES)
    used = {part for parts in PARTS_OF_NODES.values() for part in parts}
    assert used | set(HEADLESS) | set(IN_EVERY_LOOP) == set(PARTS)


def test_what_a_part_uses_is_in_a_part_or_decides_no_pixel():
    """A new file that a part imports: list it in storymem/loop/render_version.py, or in
    NO_PIXELS."""
    listed = {source.partition("::")[0] for source in SOURCES}
    assert not listed & NO_PIXELS
    used = {(name, source) for source in SOURCES for name in _imported(source)}
    assert sorted((n, s) for n, s in used if n not in listed | NO_PIXELS) == []
    assert NO_PIXELS - {name for name, _ in used} == set()


def _imported(source: str) -> set[str]:
    """The pack's files that a source uses names of."""
    path, _, wanted = source.partition("::")
    tree = ast.parse((PACK / path).read_text(encoding="utf-8"))
    own = [n for name, n in definitions(tree) if not wanted or f"{name}.".startswith(f"{wanted}.")]
    names = {part.id for node in own for part in ast.walk(node) if isinstance(part, ast.Name)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            folder = (PACK / path).parents[node.level - 1].joinpath(*(node.module or "").split("."))
            for alias in node.names:
                files = (folder.with_suffix(".py"), folder / f"{alias.name}.py")
                if (alias.asname or alias.name) in names:
                    found |= {f.relative_to(PACK).as_posix() for f in files if f.is_file()}
    return found - {path}


def test_a_source_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"lists storymem/gone.py, but .*correct the list"):
        digests_of_part(("storymem/gone.py",))
    with pytest.raises(ValueError, match=r"storymem/sampling/rope.py::gone, but there is no gone"):
        digests_of_part(("storymem/sampling/rope.py::gone",))


def test_the_question_names_what_changed_and_the_command():
    before = {"sampling": {"version": 1, "code": ["draw 0a", "run 0b"]}}
    changed = {"sampling": {"version": 1, "code": ["draw 0c", "run 0b"]}}
    (asked,) = differences(before, changed)
    assert "the code of part 'sampling' changed (draw): do the pixels change?" in asked
    assert "python tests/" in asked
    assert "render_digest.py" in asked
    raised = {"sampling": {"version": 2, "code": ["draw 0c", "run 0b"]}}
    (asked,) = differences(before, raised)
    assert "version 2 now" in asked
    assert differences(raised, raised) == []


# --- keys -------------------------------------------------------------------------------------


def raise_version(monkeypatch, name: str) -> None:
    monkeypatch.setitem(render_version.PARTS, name, Part(PARTS[name].version + 1, ()))


def test_a_key_holds_the_versions_of_the_parts_that_made_the_shot(monkeypatch):
    loop = ["StoryMemM2VSampler", "VAEDecode", "StoryMemKeyframeSelect", "StoryMemRemember"]
    without_selection = ["StoryMemM2VSampler", "StoryMemRemember"]
    before = versions_of_nodes(loop), versions_of_nodes(without_selection)
    raise_version(monkeypatch, "selection")
    assert versions_of_nodes(loop) != before[0]
    assert versions_of_nodes(without_selection) == before[1]
    raise_version(monkeypatch, "sampling")
    assert versions_of_nodes(without_selection) != before[1]


@pytest.mark.parametrize("part", IN_EVERY_LOOP)
def test_every_loop_uses_the_memory_and_hands_frames_over(part, monkeypatch):
    before = versions_of_nodes([])
    raise_version(monkeypatch, part)
    assert versions_of_nodes([]) != before


def test_a_part_that_is_added_or_divided_changes_no_key(monkeypatch):
    before = render_versions(PARTS)
    monkeypatch.setitem(render_version.PARTS, "upscaling", Part(1, ()))
    assert render_versions(PARTS) == before
    assert "upscaling" in PARTS


@pytest.mark.parametrize("part", ["selection", "conditioning"])
def test_parts_that_changed_at_near_ties_and_in_batches_alone_regenerate_no_finished_shot(part):
    """docs/regeneration.md says why; raise one when what a finished shot shows was wrong."""
    assert render_versions([part]) == {}


def test_the_order_of_nodes_does_not_matter():
    names = ["StoryMemM2VSampler", "StoryMemKeyframeSelect"]
    assert json.dumps(versions_of_nodes(names)) == json.dumps(versions_of_nodes(names[::-1]))
