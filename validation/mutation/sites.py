"""Where errors can be planted in the text of a module, and the tree of the module with one of them.

A site is a span of the text, an operator and a replacement.  Left out are the words of the code (docstrings,
annotations, messages of errors, ``repr``), what only type checkers read, and the claims that a module makes:
they are the evidence, not what it speaks of.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import final

from .operators import COUNTED, OPERATORS, SHAPERS, SHAPING, Scope, Where, scope

__all__ = ["Site", "mutated", "sites"]

_WORDS = {"__repr__", "__str__", "__all__", "__reduce__", "__reduce_ex__"}


@final
@dataclass(frozen=True)
class Site:
    """One error that can be planted.

    Attributes:
        module: The name of the module.
        file: Its file, from the folder of its package on: ``theory/laws/normal.py``.
        line, column, end: The first line of the span, from 1, and its columns, from 0.
        last: Its last line.
        operator: The name of the operator, and behind ``=`` which of its replacements: ``variable=t``.
        before, after: The text of the span, and what takes its place, in one line each.
        function: The qualified name of the outermost function, which the module or a class holds; empty outside of one.
        name: The name that the statement binds, at the level of a module or class.
    """

    module: str
    file: str
    line: int
    column: int
    end: int
    last: int
    operator: str
    before: str
    after: str
    function: str
    name: str = ""

    @property
    def key(self) -> str:
        """The argument of ``--replay``: ``FILE:LINE:COLUMN-END:OPERATOR``."""
        return f"{self.file}:{self.line}:{self.column}-{self.end}:{self.operator}"

    @property
    def place(self) -> str:
        """Its key without the replacement: what is drawn first."""
        return self.key.partition("=")[0]

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.line}:{self.column}-{self.end} {self.operator}: {self.before} -> {self.after}"
        )


def sites(source: str, module: str, file: str) -> list[Site]:
    """All errors that can be planted in a module, in the order of its text.

    Example:
        >>> [str(site) for site in sites("def f(x): return -x\\n", "m", "m.py")]
        ['m.py:1:17-19 sign: -x -> x', 'm.py:1:17-19 factor=2: -x -> 2.0 * -x', \
'm.py:1:17-19 factor=0.5: -x -> 0.5 * -x', 'm.py:1:17-19 float32: -x -> float32(-x)']
    """
    return list({site.key: site for site, _, _ in _all(ast.parse(source), module, file)}.values())


def mutated(source: str, site: Site, *, counted: bool = False) -> ast.Module:
    """The tree of the module with the error; every other node keeps its line and column.

    Arguments:
        counted: Whether :func:`~.rounding.counted` counts how often the error is evaluated.

    Raises:
        LookupError: The text has no such site.
    """
    tree = ast.parse(source)
    for found, slot, node in _all(tree, site.module, site.file, (site.line, site.column, site.end)):
        if found.key == site.key and found.after == site.after:
            if counted:
                node = ast.Call(COUNTED, [node], [])
            ast.copy_location(node, slot.node)
            slot.put(node)
            return ast.fix_missing_locations(tree)
    raise LookupError(f"mutate: {site.file} has no site {site.key}: its text has changed")


@final
@dataclass(frozen=True)
class _Slot:
    """A place of the tree that holds an expression."""

    parent: ast.AST
    field: str
    index: int | None
    node: ast.expr

    def put(self, node: ast.expr) -> None:
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


@final
@dataclass(frozen=True)
class _Context:
    path: tuple[str, ...] = ()
    function: str = ""
    scope: Scope | None = None
    shaping: bool = False
    name: str = ""


def _all(
    tree: ast.Module, module: str, file: str, span: tuple[int, int, int] | None = None
) -> Iterator[tuple[Site, _Slot, ast.expr]]:
    """All errors, or those of one span: its line, and its columns."""
    for slot, role, context in _below(tree, _Context()):
        old, where = slot.node, Where(role, context.shaping, context.scope)
        if span is not None and span != (old.lineno, old.col_offset, old.end_col_offset):
            continue
        before = _line(old)
        for name, operator in OPERATORS.items():
            for which, new in operator(old, where):
                after = _line(new)
                if after != before:
                    found = Site(
                        module,
                        file,
                        old.lineno,
                        old.col_offset,
                        old.end_col_offset or 0,
                        old.end_lineno or old.lineno,
                        f"{name}={which}" if which else name,
                        before,
                        after,
                        context.function,
                        context.name,
                    )
                    yield found, slot, new


def _line(node: ast.expr) -> str:
    text = ast.unparse(node)
    helper = "__import__('driftproof.validation.mutation.rounding', fromlist=['float32'])."
    return " ".join(text.replace(helper, "").split())


def _below(node: ast.AST, context: _Context) -> Iterator[tuple[_Slot, str, _Context]]:
    """Every expression below a node that may be wrong, outer ones first, with its role."""
    for field, value in ast.iter_fields(node):
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or _is_words(node, field, child):
                continue
            inside = _inside(node, field, index, child, context)
            if isinstance(child, ast.expr):
                yield _Slot(node, field, index, child), _role(node, field, context), inside
            yield from _below(child, inside)


def _is_words(parent: ast.AST, field: str, child: ast.AST) -> bool:
    if isinstance(child, ast.Raise | ast.Import | ast.ImportFrom | ast.JoinedStr | ast.Assert):
        return True
    if field in ("annotation", "returns", "decorator_list", "bases", "type_params", "ctx", "op", "ops"):
        return True
    if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
        return True
    if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
        return True
    if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return child.name in _WORDS or _is_claim(child)
    return isinstance(child, ast.Assign | ast.AnnAssign) and _bound(child) in _WORDS


def _is_claim(node: ast.AST) -> bool:
    """Whether a class is decorated as a claim."""
    for decorator in getattr(node, "decorator_list", ()):
        call = decorator.func if isinstance(decorator, ast.Call) else decorator
        if getattr(call, "id", getattr(call, "attr", "")) == "claim":
            return True
    return False


def _inside(node: ast.AST, field: str, index: int | None, child: ast.AST, context: _Context) -> _Context:
    path, function, local, shaping, name = (
        context.path,
        context.function,
        context.scope,
        context.shaping,
        context.name,
    )
    if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        path = (*path, child.name)
        if not isinstance(child, ast.ClassDef):
            function = function or ".".join(path)
            local = scope(child)
    elif isinstance(child, ast.Lambda):
        local = scope(child)
    elif isinstance(child, ast.stmt) and not function:
        name = _bound(child)
    if isinstance(node, ast.arguments):  # defaults are evaluated outside of the function
        local = None
    if isinstance(node, ast.Subscript):
        shaping = field == "slice" or (shaping and field != "value")
    elif isinstance(node, ast.keyword):
        shaping = shaping or node.arg in SHAPING
    elif isinstance(node, ast.Call):
        callee = getattr(node.func, "attr", getattr(node.func, "id", ""))
        # In broadcast_to(x, shape) and its like the first argument is the array.
        array = index == 0 and callee not in ("range", "empty", "full", "ones", "zeros")
        method = isinstance(node.func, ast.Attribute) and callee in ("reshape", "view", "expand", "permute")
        shaping = shaping or (callee in SHAPERS and field == "args" and (not array or method))
    return _Context(path, function, local, shaping, name)


def _role(node: ast.AST, field: str, context: _Context) -> str:
    if isinstance(node, ast.Return | ast.Assign | ast.AugAssign | ast.AnnAssign) and field == "value":
        in_class = isinstance(node, ast.AnnAssign) and context.path and not context.function
        return "default" if in_class else "value"
    if isinstance(node, ast.Lambda) and field == "body":
        return "value"
    if isinstance(node, ast.BinOp):
        return "term" if isinstance(node.op, ast.Add | ast.Sub) else "factor"
    if isinstance(node, ast.UnaryOp):
        return "factor" if isinstance(node.op, ast.USub) else ""
    if isinstance(node, ast.Call) and field == "args":
        return "argument"
    if isinstance(node, ast.keyword):
        return "argument"
    if isinstance(node, ast.arguments) and field in ("defaults", "kw_defaults"):
        return "default"
    return "operand" if isinstance(node, ast.Compare) else ""


def _bound(node: ast.stmt) -> str:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return next((target.id for target in targets if isinstance(target, ast.Name)), "")
