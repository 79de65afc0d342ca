"""Small wrong changes of Python source, one at a time, for ``tests/tools/mutants.py``.

What is changed: comparisons and their boundaries, conditions, ``and``/``or``/``not``, arithmetic,
numbers, booleans, keys and other single words, bounds of slices, default values, arguments (dropped
or None), calls and statements (lost), what is returned, ``break``/``continue``.

What is not, for no reader relies on it letter by letter: docstrings, texts for people (strings with
a blank, whatever is raised, warned, logged or printed, keywords like ``help`` and ``tooltip``),
annotations, ``__all__``, ``encoding=`` (UTF-8 is what this system has anyway), and the inside of
f-strings.
"""

from __future__ import annotations

import ast
import copy
from dataclasses import dataclass

COMPARISONS = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
SWAPPED_CALLS = {"min": "max", "max": "min", "any": "all", "all": "any", "floor": "ceil"} | {
    "ceil": "floor", "startswith": "endswith", "endswith": "startswith", "lower": "upper",
    "lstrip": "rstrip", "rstrip": "lstrip", "find": "rfind", "rfind": "find", "split": "rsplit",
    "partition": "rpartition", "rpartition": "partition", "rsplit": "split", "upper": "lower",
}  # fmt: skip
WRAPPERS = {"sorted", "reversed", "round", "abs", "int"}
SPEAKING_CALLS = {"print", "warn", "warn_once", "debug", "info", "warning", "error", "exception"}
SPEAKING_KEYWORDS = {
    "help", "tooltip", "description", "display_name", "search_aliases", "category", "encoding",
    "epilog", "metavar",
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One changed place: ``before`` and ``after`` are its text as ``ast.unparse`` writes it."""

    line: int  # from 1
    end_line: int
    context: str  # the line as the file has it, without indentation
    before: str
    after: str
    source: str  # of the whole mutated file

    @property
    def change(self) -> str:
        return f"{self.before} -> {self.after}"


def mutants_of(source: str) -> list[Mutant]:
    """All mutants of a file, in the order of its text; each compiles and differs from it."""
    tree = ast.parse(source)
    finder = _Finder(source)
    finder.visit(tree)
    unique = {
        (m.source): m for m in finder.found if ast.dump(ast.parse(m.source)) != ast.dump(tree)
    }
    return sorted(unique.values(), key=lambda mutant: mutant.line)


def _is_words(text: str) -> bool:
    return any(c.isspace() for c in text.strip(" \n\t")) or text == "" or len(text) > 60


class _Finder(ast.NodeVisitor):
    def __init__(self, source: str):
        self.lines = source.splitlines(keepends=True)
        self.found: list[Mutant] = []
        self.assigned: list[set[str]] = [set()]  # names that the function has bound so far

    # --- writing ----------------------------------------------------------------------------------
    def _put(self, node: ast.AST, new: ast.AST | str) -> None:
        """Add the mutant that has ``new`` where ``node`` stands."""
        after = new if isinstance(new, str) else ast.unparse(ast.fix_missing_locations(new))
        first, last = self.lines[node.lineno - 1], self.lines[node.end_lineno - 1]
        head = first.encode()[: node.col_offset].decode()
        tail = last.encode()[node.end_col_offset :].decode()
        bare = isinstance(node, ast.Slice) or not isinstance(node, ast.expr)
        placed = after if bare else f"({after})"
        source = "".join(
            [*self.lines[: node.lineno - 1], head, placed, tail, *self.lines[node.end_lineno :]]
        )
        try:
            compile(source, "mutant", "exec", dont_inherit=True)
        except (SyntaxError, ValueError):
            return
        self.found.append(
            Mutant(node.lineno, node.end_lineno, first.strip(), ast.unparse(node), after, source)
        )

    def _with(self, node: ast.AST, **changed) -> None:
        new = copy.copy(node)
        for name, value in changed.items():
            setattr(new, name, value)
        self._put(node, new)

    # --- places that are left out -----------------------------------------------------------------
    def visit_JoinedStr(self, node):
        if not any(_is_words(part.value) for part in node.values if isinstance(part, ast.Constant)):
            self._put(node, f"'XX' + {ast.unparse(node)}")

    def visit_AnnAssign(self, node):
        if node.value is not None:
            self._bind(node.target)
            self.visit(node.value)

    def visit_Assign(self, node):
        names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        if "__all__" in names:
            return
        stores = any(isinstance(t, ast.Attribute | ast.Subscript) for t in node.targets)
        if stores or (names and all(name in self.assigned[-1] for name in names)):
            self._put(node, "pass")
        for target in node.targets:
            self.visit(target)
            self._bind(target)
        self.visit(node.value)

    def _bind(self, target: ast.AST) -> None:
        self.assigned[-1] |= {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}

    def visit_Raise(self, node):
        self._put(node, "pass")  # a lost check; what it says is for people

    def visit_Assert(self, node):
        self._put(node, "pass")

    # --- functions and statements -----------------------------------------------------------------
    def visit_FunctionDef(self, node):
        a = node.args
        self.assigned.append({arg.arg for arg in [*a.posonlyargs, *a.args, *a.kwonlyargs]})
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if default is not None:
                self.visit(default)
        self._visit_body(node)
        self.assigned.pop()

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node):
        self.assigned.append(set())
        for part in [*node.bases, *node.keywords, *node.decorator_list]:
            self.visit(part)
        self._visit_body(node)
        self.assigned.pop()

    def visit_Module(self, node):
        self._visit_body(node)

    def _visit_body(self, node):
        has_docstring = ast.get_docstring(node, clean=False) is not None
        for statement in node.body[1:] if has_docstring else node.body:
            self.visit(statement)

    def visit_Expr(self, node):
        if isinstance(node.value, ast.Constant):  # words under an attribute
            return
        if isinstance(node.value, ast.Call | ast.Await):
            if _name_of(node.value) in SPEAKING_CALLS:
                return
            self._put(node, "pass")
        self.visit(node.value)

    def visit_AugAssign(self, node):
        self._put(node, "pass")
        if type(node.op) in ARITHMETIC and not _is_text(node.value):
            self._with(node, op=ARITHMETIC[type(node.op)]())
        self.visit(node.value)

    def visit_Delete(self, node):
        self._put(node, "pass")

    def visit_Return(self, node):
        if node.value is None:
            return
        if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self._put(node, "return None")
        self.visit(node.value)

    def visit_Break(self, node):
        self._put(node, "continue")

    def visit_Continue(self, node):
        self._put(node, "break")

    # --- conditions -------------------------------------------------------------------------------
    def _condition(self, test: ast.expr) -> None:
        if isinstance(test, ast.Name | ast.Attribute | ast.Call | ast.NamedExpr | ast.Subscript):
            self._put(test, ast.UnaryOp(ast.Not(), test))

    def visit_If(self, node):
        if ast.unparse(node.test) == "TYPE_CHECKING":
            return
        self._condition(node.test)
        self.generic_visit(node)

    def visit_While(self, node):
        self._condition(node.test)
        self.generic_visit(node)

    visit_IfExp = visit_While

    def visit_comprehension(self, node):
        for test in node.ifs:
            self._condition(test)
            self._put(test, "True")
        self.generic_visit(node)

    def visit_BoolOp(self, node):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        self._with(node, op=other)
        for i, part in enumerate(node.values):
            rest = node.values[:i] + node.values[i + 1 :]
            self._put(node, rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest))
            self._condition(part)
        self.generic_visit(node)

    def visit_UnaryOp(self, node):
        if isinstance(node.op, ast.Not | ast.USub | ast.Invert):
            self._put(node, node.operand)
        self.generic_visit(node)

    def visit_Compare(self, node):
        for i, op in enumerate(node.ops):
            for other in COMPARISONS[type(op)]:
                self._with(node, ops=[*node.ops[:i], other(), *node.ops[i + 1 :]])
        self.generic_visit(node)

    # --- values -----------------------------------------------------------------------------------
    def visit_BinOp(self, node):
        if type(node.op) in ARITHMETIC and not _is_text(node.left) and not _is_text(node.right):
            self._with(node, op=ARITHMETIC[type(node.op)]())
        self.generic_visit(node)

    def visit_Constant(self, node):
        value = node.value
        if isinstance(value, bool):
            self._put(node, repr(not value))
        elif isinstance(value, int | float):
            self._put(node, repr(value + 1))
        elif isinstance(value, str) and not _is_words(value):
            self._put(node, repr("XX" + value))

    def visit_Subscript(self, node):
        if getattr(node.value, "id", "") != "Literal":  # an annotation with a name
            self.generic_visit(node)

    def visit_Slice(self, node):
        for bound in ("lower", "upper", "step"):
            if getattr(node, bound) is not None:
                self._with(node, **{bound: None})
        self.generic_visit(node)

    def visit_Call(self, node):
        name = _name_of(node)
        if name in SPEAKING_CALLS:
            return
        for i, value in enumerate(node.args):
            if not isinstance(value, ast.Starred | ast.GeneratorExp) and not _is_none(value):
                changed = [*node.args[:i], ast.Constant(None), *node.args[i + 1 :]]
                self._with(node, args=changed)
        for i, keyword in enumerate(node.keywords):
            if keyword.arg not in SPEAKING_KEYWORDS:
                self._with(node, keywords=node.keywords[:i] + node.keywords[i + 1 :])
        if len(node.args) > 1:
            self._with(node, args=node.args[:-1])
        if name in SWAPPED_CALLS:
            self._with(node, func=_renamed(node.func, SWAPPED_CALLS[name]))
        if name in WRAPPERS and isinstance(node.func, ast.Name) and node.args:
            self._put(node, node.args[0])
        if isinstance(node.func, ast.Attribute) and not _is_namespace(node.func.value):
            self._put(node, node.func.value)
        self.visit(node.func)
        for value in node.args:
            self.visit(value)
        for keyword in node.keywords:
            if keyword.arg not in SPEAKING_KEYWORDS:
                self.visit(keyword.value)


def _name_of(node: ast.AST) -> str:
    """The last word of what is called."""
    func = getattr(node, "func", None)
    return getattr(func, "attr", None) or getattr(func, "id", "")


def _renamed(func: ast.expr, name: str) -> ast.expr:
    if isinstance(func, ast.Name):
        return ast.Name(name)
    return ast.Attribute(func.value, name)


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _is_namespace(node: ast.AST) -> bool:
    """Whether a method's owner is a module, a class or ``self``: no value that it would return."""
    return isinstance(node, ast.Name) and (
        node.id in NAMESPACES or node.id[0].isupper() or node.id in ("self", "cls", "super")
    )


NAMESPACES = {
    "torch", "np", "numpy", "math", "json", "os", "re", "time", "random", "itertools", "functools",
    "shutil", "hashlib", "logging", "logger", "av", "einops", "io", "sys", "ast", "copy", "struct",
    "F", "nn", "tempfile", "base64", "zipfile", "unicodedata", "contextlib", "textwrap", "inspect",
    "comfy", "folder_paths", "asyncio", "threading", "warnings", "uuid", "secrets", "operator",
}  # fmt: skip
