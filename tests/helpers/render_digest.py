"""Digests of the code that computes pixels, without what shows in no pixel.

    python tests/helpers/render_digest.py

writes tests/golden/render_digest.json, which tests/loop/test_render_version.py compares with.
Run it after the code of a part has changed: when the pixels change too, raise the part's
version in storymem/loop/render_version.py first.

What counts of a source file are its definitions, each by itself: where they stand, in which order
and in which file makes no difference, so that files can be moved, renamed and divided. Imports
inside the pack, docstrings, comments, type hints, schemas, tooltips, the words of errors, log lines
and reasons count for nothing. Only the standard library is used, and every supported Python gives
the same digests.
"""

from __future__ import annotations

# ruff: noqa: T201  it is a script: what it prints is its result
import ast
import hashlib
import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve()
PACK = next(folder for folder in HERE.parents if (folder / "pyproject.toml").is_file())
TABLE = "storymem/loop/render_version.py"
GOLDEN = PACK / "tests/golden/render_digest.json"
COMMAND = f"python {HERE.relative_to(PACK).as_posix()}"

NOT_WALKED = {"annotation", "returns", "type_comment", "ctx", "kind"}  # fields of any node
WORDS = {  # arguments that people read
    "tooltip", "description", "display_name", "category", "search_aliases", "help", "reason",
}  # fmt: skip
WORDS_BY_PLACE = {"give": 1}  # methods that take a reason without naming it
NAMED_WORDS = re.compile(r"_?(reason|why|message|hint)s?(_\w+)?")  # variables, functions
NOT_RUN = {
    "define_schema",
    "validate_inputs",
    "fingerprint_inputs",
    "__repr__",
    "__str__",
}  # methods
NOT_CODE = {"logger", "log", "NODES", "__all__"}  # names at the top of a module
LOGGERS = {"logger", "log", "logging", "warnings"}
HARMLESS = {"len", "isinstance", "any", "all", "min", "max", "abs", "sum", "sorted", "getattr"}
TYPES_ONLY = {"__future__", "typing", "collections.abc"}  # modules


def outline(node: object) -> object:
    """A syntax tree as nested tuples that hold what decides pixels.

    Empty fields are left out: later Pythons add fields to nodes (``type_params``), which older
    ones do not have.
    """
    if isinstance(node, list):
        return tuple(found for item in node if (found := outline(item)) is not None)
    if not isinstance(node, ast.AST):
        return node
    if _says_only_words(node):
        return None
    if isinstance(node, ast.Constant):
        return ("Constant", type(node.value).__name__, repr(node.value))
    if isinstance(node, ast.JoinedStr):
        return _outline_of_text(node)
    if isinstance(node, ast.Raise):
        kind = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
        return ("Raise", outline(kind))
    if isinstance(node, ast.AnnAssign):
        fields = {"targets": [node.target], "value": node.value}
        return ("Assign", *_outline_of_fields(fields.items()))
    if isinstance(node, ast.Call):
        node = _without_words(node)
    if isinstance(node, ast.Assign) and _is_named_word(node):
        return ("Assign", outline(node.targets))
    found = (type(node).__name__, *_outline_of_fields(ast.iter_fields(node)))
    if isinstance(node, ast.If) and _does_nothing(node, found):
        return None
    return found


def _outline_of_fields(fields) -> list[tuple]:
    found = []
    for name, value in fields:
        if name not in NOT_WALKED:
            value = outline(value)
            if value is not None and value != ():
                found.append((name, value))
    return sorted(found, key=lambda pair: pair[0])


def _outline_of_text(node: ast.JoinedStr) -> tuple:
    """An f-string; Pythons differ in how they cut its constant pieces."""
    parts: list = []
    for value in node.values:
        if not isinstance(value, ast.Constant):
            spec = value.format_spec
            spec = None if spec is None or not spec.values else outline(spec)
            parts.append((outline(value.value), value.conversion, spec))
        elif value.value and parts and isinstance(parts[-1], str):
            parts[-1] += value.value
        elif value.value:
            parts.append(value.value)
    return ("JoinedStr", *parts)


def _says_only_words(node: ast.AST) -> bool:
    if isinstance(node, ast.ImportFrom):
        return _is_passed_over(node)
    if isinstance(node, ast.Import):
        return all(alias.asname is None for alias in node.names)  # the use tells the name
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return node.name in NOT_RUN or bool(NAMED_WORDS.fullmatch(node.name))
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in (getattr(node.test, "id", ""), getattr(node.test, "attr", ""))
    if not isinstance(node, ast.Expr):
        return False
    value = node.value
    if isinstance(value, ast.Call):
        owner = getattr(value.func, "value", value.func)
        return getattr(owner, "id", "") in LOGGERS or getattr(value.func, "id", "") == "print"
    return isinstance(value, ast.Constant)


def _is_passed_over(node: ast.ImportFrom) -> bool:
    """Whether an import brings in nothing that tells of pixels: a file's place is none."""
    if node.level or node.module in TYPES_ONLY:
        return all(alias.asname is None for alias in node.names)
    return False


def _is_named_word(node: ast.Assign) -> bool:
    name = getattr(node.targets[0], "id", getattr(node.targets[0], "attr", ""))
    is_text = isinstance(node.value, ast.JoinedStr | ast.Constant)
    return bool(NAMED_WORDS.fullmatch(name)) and is_text


def _without_words(call: ast.Call) -> ast.Call:
    place = WORDS_BY_PLACE.get(getattr(call.func, "attr", ""))
    return ast.Call(
        func=call.func,
        args=[value for i, value in enumerate(call.args) if i != place],
        keywords=[keyword for keyword in call.keywords if keyword.arg not in WORDS],
    )


def _does_nothing(node: ast.If, found: tuple) -> bool:
    """Whether an ``if`` held nothing but log lines."""
    if any(name in ("body", "orelse") for name, _ in found[1:]):
        return False
    inside = list(ast.walk(node.test))
    calls = [getattr(part.func, "id", "") for part in inside if isinstance(part, ast.Call)]
    return set(calls) <= HARMLESS and not any(isinstance(p, ast.NamedExpr) for p in inside)


def definitions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """``(name, statement)`` of a module's code; the methods of a class each for themselves."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from _of_class(node)
        elif not NOT_CODE.intersection(names := _names_of(node)):
            yield ",".join(names) or type(node).__name__, node


def _of_class(node: ast.ClassDef) -> Iterator[tuple[str, ast.AST]]:
    methods = [m for m in node.body if isinstance(m, ast.FunctionDef | ast.AsyncFunctionDef)]
    rest = [part for part in node.body if part not in methods]
    fields = {name: value for name, value in ast.iter_fields(node) if name != "body"}
    yield node.name, ast.ClassDef(**fields, body=rest)
    for method in methods:
        yield f"{node.name}.{method.name}", method


def _names_of(node: ast.AST) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return []
    targets = getattr(node, "targets", [getattr(node, "target", None)])
    return [target.id for target in targets if isinstance(target, ast.Name)]


def digests_of(text: str, wanted: str = "") -> list[str]:
    """``name digest`` of each definition in a source text.

    Args:
        wanted: one definition's name (``window``, ``MemoryBank``, ``StoryRun._sample``); empty for
            the whole file.

    Raises:
        ValueError: when there is none of that name.
    """
    found = []
    for name, node in definitions(ast.parse(text)):
        if not wanted or name == wanted or name.startswith(f"{wanted}."):
            held = outline(node)
            if held is not None:
                found.append(f"{name} {hashlib.sha256(repr(held).encode()).hexdigest()[:16]}")
    if wanted and not found:
        raise ValueError(f"there is no {wanted}")
    return found


def digests_of_part(sources: tuple[str, ...], pack: Path = PACK) -> list[str]:
    """``name digest`` of everything that a part consists of, in alphabetical order.

    Raises:
        ValueError: naming the source that is not there.
    """
    found: set[str] = set()
    for source in sources:
        path, _, name = source.partition("::")
        try:
            found.update(digests_of((pack / path).read_text(encoding="utf-8"), name))
        except (OSError, ValueError) as error:
            raise ValueError(f"{TABLE} lists {source}, but {error}; correct the list") from error
    return sorted(found)


def read_table():
    """The table of parts as a module, loaded without the library around it."""
    spec = importlib.util.spec_from_file_location("render_version_table", PACK / TABLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def current() -> dict[str, dict]:
    """Version and code of every part, as the golden file holds them."""
    return {
        name: {"version": part.version, "code": digests_of_part(part.sources)}
        for name, part in read_table().PARTS.items()
    }


def differences(before: dict, now: dict) -> list[str]:
    """What is to be decided about every part that is not as it was written down, in words."""
    found = []
    for name in sorted({*before, *now}):
        old, new = (side.get(name, {"version": None, "code": []}) for side in (before, now))
        changed = sorted({line.split(" ")[0] for line in {*old["code"]} ^ {*new["code"]}})
        if old["version"] != new["version"]:
            found.append(
                f"part '{name}' is version {new['version']} now: renew its digest with {COMMAND}"
            )
        elif changed:
            found.append(
                f"the code of part '{name}' changed ({', '.join(changed)}): do the pixels change? "
                f"Then raise its version in {TABLE}, and finished shots are regenerated. Else "
                f"leave it. Renew the digest with {COMMAND} either way"
            )
    return found


def main() -> int:
    now = current()
    if "--print" in sys.argv:
        print(json.dumps(now))
        return 0
    before = json.loads(GOLDEN.read_text(encoding="utf-8")) if GOLDEN.exists() else {}
    for line in differences(before, now):
        print(line)
    GOLDEN.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
