"""The shape of the tree: layers, sizes and house rules that are easy to break without noticing."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from helpers.not_empty import not_empty

PACK = Path(__file__).resolve().parents[2]
LIBRARY = not_empty((PACK / "storymem").rglob("*.py"))
ADAPTERS = not_empty((PACK / "nodes").rglob("*.py"))
SCRIPTS = not_empty((PACK / "web" / "js").rglob("*.js"))
HOST_MODULES = {
    "comfy",
    "comfy_api",
    "comfy_execution",
    "comfy_extras",
    "execution",
    "folder_paths",
    "latent_preview",
    "node_helpers",
    "nodes",
    "server",
}
TRAINS_THE_TINY_MODEL = ("storymem/tiny/lab/fit.py", "storymem/tiny/lab/flow.py")  # its own files
HEAVY_MODULES = (
    "open_clip",
    "ftfy",
    "tokenizers",
    "transformers",
    "diffusers",
    "peft",
    "accelerate",
    "av",
    "cv2",
    "kornia",
    "torchvision",
)


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _imports(path: Path, *, at_module_scope: bool = False) -> set[str]:
    """Top-level names of what a file imports absolutely."""
    tree = _tree(path)
    nodes = tree.body if at_module_scope else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def _name(path: Path) -> str:
    return str(path.relative_to(PACK))


@pytest.mark.parametrize("path", LIBRARY, ids=_name)
def test_the_library_never_imports_the_host(path):
    assert not _imports(path) & HOST_MODULES


@pytest.mark.parametrize("path", [*LIBRARY, *ADAPTERS], ids=_name)
def test_modules_import_each_other_relatively(path):
    # The host loads the pack under a name made of its path: an absolute import finds nothing there.
    assert "storymem" not in _imports(path)


@pytest.mark.parametrize("path", [*LIBRARY, *ADAPTERS], ids=_name)
def test_heavy_libraries_load_when_they_are_first_used(path):
    if _name(path).startswith("storymem/tiny"):
        pytest.skip("training tools are never loaded by the pack")
    assert not _imports(path, at_module_scope=True) & set(HEAVY_MODULES)


@pytest.mark.parametrize("path", [*LIBRARY, *ADAPTERS, *SCRIPTS], ids=_name)
def test_files_stay_under_400_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", [*LIBRARY, *ADAPTERS], ids=_name)
def test_modules_log_and_never_print(path):
    if path.name.startswith(("train_", "__main__", "cli")):
        pytest.skip("a command line tool")
    calls = [n for n in ast.walk(_tree(path)) if isinstance(n, ast.Call)]
    assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]


# Readers that may run what a file contains, open more than one file, or fail in ways of their own
# stand in one place each, which is tried with hostile files.
ONE_PLACE = {
    "torch.load": {"storymem/files/weights_file.py"},
    # the node's is its own
    "load_file": {"storymem/files/weights_file.py", "nodes/sampling/lora.py"},
    "safe_open": {"storymem/files/weights_file.py"},
    "pickle._Unpickler": {"storymem/files/torchscript.py"},
    "Image.open": {"storymem/files/images.py"},
    "av.open": {"storymem/files/video.py", "storymem/sound/files.py"},  # by their endings
    "json.loads": {
        "storymem/files/json_text.py",
        "nodes/loop/progress.py",  # what the host hands over
        "storymem/models/hpsv3.py",  # the pack's own file
        "storymem/try_it.py",  # the host's answers, before anything is installed
    },
    "torch.jit.load": set(),
    "pickle.load": set(),
    "pickle.loads": set(),
    "load_torch_file": set(),
    "os.system": set(),
}  # fmt: skip


def _called(path: Path) -> set[str]:
    """Names of what a file calls or subclasses, as ``module.name`` and ``name``."""
    found = set()
    for node in ast.walk(_tree(path)):
        for used in [getattr(node, "func", None), *getattr(node, "bases", [])]:
            text = ast.unparse(used) if isinstance(used, ast.Attribute | ast.Name) else ""
            found |= {text, text.rpartition(".")[2]}
    return found


@pytest.mark.parametrize("name", ONE_PLACE)
def test_what_reads_strangers_files_stands_in_one_place(name):
    paths = [p for p in (*LIBRARY, *ADAPTERS) if not _name(p).startswith(TRAINS_THE_TINY_MODEL)]
    assert {_name(path) for path in paths if name in _called(path)} <= ONE_PLACE[name]


def test_that_test_finds_what_it_looks_for(tmp_path):
    (tmp_path / "a.py").write_text(
        "import torch\ntorch.jit.load(x)\nclass A(pickle._Unpickler): 1\n"
    )
    assert {"torch.jit.load", "pickle._Unpickler", "load"} <= _called(tmp_path / "a.py")


# What the host keeps for itself may change with every version of it, so one file knows it, looks
# whether it is as expected, and goes on without (tests/host/whole/test_host_private.py).
HOST_DOOR = "nodes/host/executor.py"
PRIVATE_TO_THE_HOST = {
    "_getframe", "caches", "cache_key_set", "client_id", "current_loaded_models", "execution",
    "EXTENSION_WEB_DIRS", "get_executing_context", "get_progress_state", "history_result",
    "IsChangedCache", "is_changed", "last_node_id", "last_prompt_id", "NullCache",
    "PromptExecutor", "prompt_queue", "status_messages",
}  # fmt: skip
OFFERED_MODULES = {"comfy_execution.graph_utils"}  # of comfy_execution; as the host's docs say


def _private_names(path: Path) -> set[str]:
    """Private names of the host in a file's code, also as text for ``getattr``."""
    found = set()
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {node.module} if node.module not in OFFERED_MODULES else set()
        for name in ("id", "attr", "name", "arg", "value"):
            value = getattr(node, name, None)
            found |= {value} if isinstance(value, str) else set()
    return {
        n for n in found if n in PRIVATE_TO_THE_HOST or n.split(".")[0] == "comfy_execution"
    } - OFFERED_MODULES


@pytest.mark.parametrize("path", ADAPTERS, ids=_name)
def test_one_file_knows_the_private_parts_of_the_host(path):
    if _name(path) == HOST_DOOR:
        assert len(_private_names(path)) > 10, "the door is somewhere else now"
    else:
        assert _private_names(path) == set()


@pytest.mark.parametrize(
    "code",
    [
        "from execution import IsChangedCache",
        "import execution",
        "from comfy_execution.progress import get_progress_state as state",
        "import comfy_execution.caching",
        "sys._getframe(1)",
        "server.client_id",
        "getattr(server, 'client_id', None)",
    ],
)
def test_that_test_finds_private_parts(tmp_path, code):
    (tmp_path / "a.py").write_text(code)
    assert _private_names(tmp_path / "a.py")


# --- the page's scripts ------------------------------------------------------------------------

PAGE_ROOMS = (
    "shared",
    "story",
    "loop",
    "gallery",
    "desk",
)  # each imports only itself and those before it
PAGE_DOOR = "web/js/shared/host.js"
PRIVATE_TO_THE_PAGE = re.compile(r"\b(_nodes|changeTracker|queuePrompt|app\.rootGraph)\b")
PAGE_IMPORT = re.compile(r"""\b(?:from|import)\s*\(?\s*["'`](\.[^"'`]+)["'`]""")
REPLACES = re.compile(r"\b(api|app|LiteGraph|LGraph\w*)(\.\w+)*\.\w+\s*=[^=>]|\.prototype\b")


def _page_room(path: Path) -> str:
    return path.relative_to(PACK / "web" / "js").parts[0]


@pytest.mark.parametrize("path", SCRIPTS, ids=_name)
def test_rooms_of_the_page_import_one_way(path):
    known = PAGE_ROOMS[: PAGE_ROOMS.index(_page_room(path)) + 1]
    text = path.read_text(encoding="utf-8")
    for target in PAGE_IMPORT.findall(text):
        if "/scripts/" not in target:
            assert _page_room((path.parent / target).resolve()) in known, target


@pytest.mark.parametrize(
    "code", ['from "../x.js"', "from '../x.js'", 'import "../x.js"', "await import(`../x.js`)"]
)
def test_that_test_finds_every_kind_of_import(code):
    assert PAGE_IMPORT.findall(code) == ["../x.js"]


@pytest.mark.parametrize("path", SCRIPTS, ids=_name)
def test_one_script_knows_the_private_parts_of_the_page_and_none_replaces_any(path):
    text = path.read_text(encoding="utf-8")
    assert REPLACES.search(text) is None
    assert (PRIVATE_TO_THE_PAGE.search(text) is not None) == (_name(path) == PAGE_DOOR)


@pytest.mark.parametrize(
    "code",
    ["api.queuePrompt = async function", "app.ui.x = 1", "LGraphNode.prototype.onDrawBackground"],
)
def test_that_test_finds_what_replaces_the_hosts(code):
    assert REPLACES.search(code)


@pytest.mark.slow
def test_importing_the_library_loads_nothing_heavy():
    modules = [
        ".".join(p.relative_to(PACK).with_suffix("").parts)
        for p in LIBRARY
        if p.name not in ("__init__.py", "__main__.py") and "tiny" not in p.parts
    ]
    code = (
        f"import sys; sys.path.insert(0, {str(PACK)!r})\n"
        + "\n".join(f"import {m}" for m in modules)
        + f"\nprint([m for m in {HEAVY_MODULES!r} if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# Packages from the top down: each imports only from lines below its own, never from its own line.
# A module that stands outside of any package is a line's entry of its own.
ORDER = (
    "storymem/story storymem/memory_bank storymem/keyframes storymem/rope",  # import paths to keep
    "storymem/__init__ storymem/__main__ storymem/try_it storymem/tiny/lab",
    "storymem/cli",
    "nodes/__init__",
    "nodes/loop nodes/board nodes/evaluate",
    "nodes/memory nodes/sampling nodes/write",
    "nodes/page",
    "nodes/story nodes/story_shots nodes/tiny",
    "nodes/host",
    "nodes/types",
    "storymem/training storymem/tiny",
    "storymem/headless storymem/views storymem/metrics",
    "storymem/film storymem/setup",
    "storymem/loop storymem/models",
    "storymem/sampling storymem/selection",
    "storymem/memory storymem/writing",
    "storymem/script",
    "storymem/sound",
    "storymem/files",
)
LINE_OF = {room: line for line, rooms in enumerate(ORDER) for room in rooms.split()}
KEPT_PATHS = {  # other people's scripts import these
    "story": {"Shot", "Story", "load_story", "summarise"},
    "memory_bank": {
        "MAX_MEMORY_FRAMES",
        "SINK_FRAMES",
        "MemoryBank",
        "MemoryFrame",
        "start_bank",
        "window",
    },
    "keyframes": {"KeyframeSelection", "choose_keyframes", "drop_known", "select_keyframes"},
    "rope": {
        "MEMORY_ROPE_SHIFT",
        "query_positions",
        "real_time_positions",
        "temporal_positions",
    },
}


def _imported_files(path: Path) -> set[Path]:
    """The pack's own files that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(_tree(path)):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
        for name in (alias.name for alias in node.names):
            places = (base / f"{name}.py", base / name / "__init__.py")
            places += (base.with_suffix(".py"), base / "__init__.py")
            found |= {next(place for place in places if place.is_file())}
    return found - {path}


def _room(path: str) -> str:
    """The entry of ORDER that a file belongs to, the longest; empty when there is none."""
    parts = path.removesuffix(".py").split("/")
    return next((r for n in range(len(parts), 1, -1) if (r := "/".join(parts[:n])) in LINE_OF), "")


def _upward(graph: dict[str, set[str]]) -> set[tuple[str, str]]:
    """Imports that do not lead to a lower line."""
    arrows = {(a, b) for a, others in graph.items() for b in others if _room(a) != _room(b)}
    return {(a, b) for a, b in arrows if LINE_OF[_room(a)] >= LINE_OF[_room(b)]}


def _in_circles(graph: dict[str, set[str]]) -> set[str]:
    """Files left when those that import none of the others are taken away, again and again."""
    left = dict(graph)
    while leaves := [name for name in left if not graph[name] & left.keys()]:
        for name in leaves:
            del left[name]
    return set(left)


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    files = [*LIBRARY, *ADAPTERS]
    return {_name(path): {_name(other) for other in _imported_files(path)} for path in files}


def test_every_file_has_a_room(imports):
    assert not [name for name in imports if not _room(name)]


def test_imports_lead_down_through_the_rooms(imports):
    assert not _upward(imports)
    assert not [a for a, o in imports.items() for b in o if a[0] == "s" and b[0] == "n"]


def test_files_do_not_import_each_other_in_circles(imports):
    assert not _in_circles(imports)


def test_those_tests_find_what_they_look_for(imports):
    low, high = "storymem/files/names.py", "storymem/film/folder.py"
    planted = {**imports, low: imports[low] | {high}}
    assert (low, high) in _upward(planted)
    assert {low, high} <= _in_circles(planted)
    beside = {**imports, "nodes/memory/bank.py": {"nodes/sampling/lora.py"}}
    assert len(_upward(beside)) == 1
    assert _room("storymem/tiny/lab/flow.py") == "storymem/tiny/lab"
    assert _room("storymem/new_module.py") == ""


@pytest.mark.parametrize("path", KEPT_PATHS)
def test_fixed_import_paths_hand_on_and_hold_no_logic(path):
    module = importlib.import_module(f"storymem.{path}")
    assert set(module.__all__) == KEPT_PATHS[path]
    assert all(hasattr(module, name) for name in module.__all__)
    body = _tree(PACK / "storymem" / f"{path}.py").body
    kinds = {type(node) for node in body[1:-1]}
    assert kinds == {ast.ImportFrom}, "the docstring, imports and __all__"
