"""The errors that are planted: each operator maps a node of the syntax tree, where it stands, to wrong ones.

They are the slips of numerical code: signs, factors, wrong variables and axes, strictness, what is dropped.
What would only ever raise (a factor on a string, a shape of twice the rank) is left out as far as the text
tells, since an error that nobody can miss says nothing about evidence.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias, final

__all__ = ["COUNTED", "OPERATORS", "Scope", "Where", "scope"]

NAMESPACES = {"xp", "np", "numpy", "math", "torch", "F", "special", "sp", "scipy", "mp", "mpmath", "linalg"}
NUMERIC_BUILTINS = {"abs", "float", "max", "min", "sum"}
NOT_NUMBERS = {
    "all", "any", "arange", "argmax", "argmin", "argsort", "bool", "broadcast_shapes", "device", "dtype",
    "empty", "finfo", "iinfo", "isdtype", "isfinite", "isinf", "isnan", "logical_and", "logical_not",
    "logical_or", "ndim", "ones_like", "result_type", "shape", "where_all", "zeros_like",
}  # fmt: skip
SHAPING = {"axis", "dim", "axes", "dims", "shape", "size", "keepdims", "ndim", "dtype", "device"}
SHAPERS = {
    "broadcast_to", "empty", "expand", "expand_dims", "full", "moveaxis", "ones", "permute", "permute_dims",
    "range", "reshape", "swapaxes", "transpose", "unsqueeze", "view", "zeros",
}  # fmt: skip
ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.MatMult)
STRICTNESS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
}


@final
@dataclass(frozen=True)
class Scope:
    """The facts that the text of one function states about its local names.

    Attributes:
        numbers: The names that stand in arithmetic or go to a function of arrays, with the line that binds them.
    """

    numbers: dict[str, int]


@final
@dataclass(frozen=True)
class Where:
    """Where a node stands.

    Attributes:
        role: ``value`` of a return or an assignment, ``term`` or ``factor`` of arithmetic, ``argument`` of a
            call, ``default`` of a parameter or a field, or empty.
        shaping: Inside of an index, a shape or an axis.
        scope: The scope of the function that it stands in; None at the level of a module or class.
    """

    role: str
    shaping: bool
    scope: Scope | None


Mutations: TypeAlias = Iterator[tuple[str, ast.expr]]
Operator: TypeAlias = Callable[[ast.expr, Where], Mutations]


def scope(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> Scope:
    """The numbers among the local names of a function."""
    arguments = function.args
    bound = {a.arg: 0 for a in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)}
    used, called = set[str](), set[str]()
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound.setdefault(node.id, node.lineno)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ARITHMETIC):
            used |= {side.id for side in (node.left, node.right) if isinstance(side, ast.Name)}
        elif isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Name):
            used.add(node.operand.id)
        elif isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name):
                called.add(node.func.id)
            elif _of_namespace(node.func):
                used |= {a.id for a in node.args if isinstance(a, ast.Name)}
    left_out = {"self", "cls", "rng", *NAMESPACES} | called
    return Scope({name: line for name, line in bound.items() if name in used and name not in left_out})


def sign(node: ast.expr, where: Where) -> Mutations:
    if where.shaping:
        return
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield "", node.operand
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub) and _arithmetic(node):
        other = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
        yield "", ast.BinOp(node.left, other, node.right)


def factor(node: ast.expr, where: Where) -> Mutations:
    if where.role in ("value", "term", "argument") and not where.shaping and _is_number(node, where):
        for value in (2.0, 0.5):
            yield f"{value:g}", ast.BinOp(ast.Constant(value), ast.Mult(), node)


def hundredth(node: ast.expr, where: Where) -> Mutations:
    if isinstance(node, ast.Constant) and not where.shaping and where.role != "default":
        number = isinstance(node.value, float) or (_is_int(node) and where.role in ("term", "factor"))
        if number and node.value != 0:
            yield "", ast.Constant(float(node.value) * 1.01)  # type: ignore[arg-type]


def off_by_one(node: ast.expr, where: Where) -> Mutations:
    if _is_int(node) and where.role != "default":
        assert isinstance(node, ast.Constant) and isinstance(node.value, int)
        for change in (1, -1):
            yield f"{change:+d}", ast.Constant(node.value + change)
    elif where.role == "argument" and where.shaping and isinstance(node, ast.Name | ast.BinOp):
        for change in (1, -1):  # the end of a range
            yield f"{change:+d}", ast.BinOp(node, ast.Add() if change > 0 else ast.Sub(), ast.Constant(1))


def default(node: ast.expr, where: Where) -> Mutations:
    if where.role != "default" or not isinstance(node, ast.Constant):
        return
    if isinstance(node.value, bool):
        yield "not", ast.Constant(not node.value)
    elif isinstance(node.value, int):
        yield "+1", ast.Constant(node.value + 1)
    elif isinstance(node.value, float):
        yield "2", ast.Constant(2.0 * node.value if node.value else 1.0)


def variable(node: ast.expr, where: Where) -> Mutations:
    if where.scope is None or where.shaping or not where.role:
        return
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in where.scope.numbers:
        for name, line in where.scope.numbers.items():
            if name != node.id and line < node.lineno:
                yield name, ast.Name(name, ast.Load())


def arguments(node: ast.expr, where: Where) -> Mutations:
    if not isinstance(node, ast.Call) or any(isinstance(a, ast.Starred) for a in node.args):
        return
    for i, (first, second) in enumerate(zip(node.args, node.args[1:], strict=False)):
        if isinstance(first, ast.Name) and first.id in NAMESPACES:
            continue
        if ast.dump(first) != ast.dump(second) and not _is_text(first) and not _is_text(second):
            swapped = [*node.args[:i], second, first, *node.args[i + 2 :]]
            yield f"{i}", ast.Call(node.func, swapped, node.keywords)


def axis(node: ast.expr, where: Where) -> Mutations:
    if not isinstance(node, ast.Call):
        return
    for i, keyword in enumerate(node.keywords):
        if keyword.arg in ("axis", "dim") and (now := _integer(keyword.value)) is not None:
            other = ast.keyword(keyword.arg, _constant({-1: 0, 0: -1, -2: -1}.get(now, now - 1)))
            yield "", ast.Call(node.func, node.args, [*node.keywords[:i], other, *node.keywords[i + 1 :]])


def strictness(node: ast.expr, where: Where) -> Mutations:
    if isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            if other := STRICTNESS.get(type(op)):
                ops = [*node.ops[:i], other(), *node.ops[i + 1 :]]
                yield f"{i}" if len(node.ops) > 1 else "", ast.Compare(node.left, ops, node.comparators)


def junction(node: ast.expr, where: Where) -> Mutations:
    if isinstance(node, ast.BoolOp):
        yield "", ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd | ast.BitOr):
        other = ast.BitOr() if isinstance(node.op, ast.BitAnd) else ast.BitAnd()
        yield "", ast.BinOp(node.left, other, node.right)


def term(node: ast.expr, where: Where) -> Mutations:
    if not isinstance(node, ast.BinOp) or where.shaping or not _arithmetic(node):
        return
    if isinstance(node.op, ast.Add | ast.Sub):
        yield "right", node.left
        minus = isinstance(node.op, ast.Sub)
        yield "left", ast.UnaryOp(ast.USub(), node.right) if minus else node.right
    elif isinstance(node.op, ast.Mult | ast.Div):
        yield "right", node.left


def clip(node: ast.expr, where: Where) -> Mutations:
    if not isinstance(node, ast.Call) or (name := _attribute(node.func)) is None:
        return
    method = isinstance(node.func, ast.Attribute) and not _of_namespace(node.func)
    if method and name in ("clamp", "clamp_min", "clamp_max", "clip"):
        assert isinstance(node.func, ast.Attribute)
        yield "", node.func.value
    elif name in ("clip", "clamp", "abs") and node.args:
        yield "", node.args[0]
    elif name in ("maximum", "minimum") and len(node.args) == 2:
        yield "0", node.args[0]
        yield "1", node.args[1]
    elif name == "where" and len(node.args) == 3:
        yield "1", node.args[1]
        yield "2", node.args[2]


def detach(node: ast.expr, where: Where) -> Mutations:
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr == "detach" and not node.args:
            yield "", node.func.value
        elif _attribute(node.func) in ("stop_gradient", "detached", "detach") and len(node.args) == 1:
            yield "", node.args[0]


def mean(node: ast.expr, where: Where) -> Mutations:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _AVERAGES:
        func = ast.Attribute(node.func.value, _AVERAGES[node.func.attr], ast.Load())
        yield "", ast.Call(func, node.args, node.keywords)


def float32(node: ast.expr, where: Where) -> Mutations:
    written = isinstance(node, ast.Constant) or where.scope is None or where.shaping
    if where.role == "value" and not written and _is_number(node, where):
        yield "", ast.Call(_HELPER, [node], [])


_AVERAGES = {"sum": "mean", "mean": "sum"}

# By name in the text of an error; `mean` covers sums for means as well.
OPERATORS: dict[str, Operator] = {
    "sign": sign,
    "factor": factor,
    "constant": hundredth,
    "off-by-one": off_by_one,
    "default": default,
    "variable": variable,
    "arguments": arguments,
    "axis": axis,
    "strictness": strictness,
    "junction": junction,
    "term": term,
    "clip": clip,
    "detach": detach,
    "mean": mean,
    "float32": float32,
}

_IMPORT = ast.parse(
    "__import__('driftproof.validation.mutation.rounding', fromlist=['float32']).float32", mode="eval"
)
_HELPER = _IMPORT.body
COUNTED = ast.parse(ast.unparse(_IMPORT).replace("float32", "counted"), mode="eval").body


def _arithmetic(node: ast.BinOp) -> bool:
    return isinstance(node.op, ARITHMETIC) and not any(map(_is_collection, (node.left, node.right)))


def _is_number(node: ast.expr, where: Where) -> bool:
    """Whether the text tells that this is a number or an array of numbers."""
    if isinstance(node, ast.BinOp):
        return _arithmetic(node)
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub)
    if isinstance(node, ast.Name):
        return where.scope is not None and node.id in where.scope.numbers
    if isinstance(node, ast.Subscript):
        return not isinstance(node.slice, ast.Constant) and _is_number(node.value, where)
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name):
            return node.func.id in NUMERIC_BUILTINS
        return _of_namespace(node.func) and _attribute(node.func) not in NOT_NUMBERS
    return where.role == "term" and isinstance(node, ast.Attribute)


def _is_collection(node: ast.expr) -> bool:
    kinds = (ast.List, ast.Tuple, ast.Dict, ast.Set, ast.JoinedStr, ast.ListComp, ast.DictComp)
    if isinstance(node, ast.BinOp):
        return _is_collection(node.left) or _is_collection(node.right)
    if isinstance(node, ast.Attribute):
        return node.attr == "shape"
    if isinstance(node, ast.Subscript):  # a part of a shape
        return isinstance(node.slice, ast.Slice) and _is_collection(node.value)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in ("list", "tuple", "dict", "set", "sorted", "str", "repr")
    return isinstance(node, kinds) or _is_text(node)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and not isinstance(node.value, int | float)
    )


def _is_int(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and type(node.value) is int


def _integer(node: ast.expr) -> int | None:
    """The integer that is written, with its sign."""
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return value if type(value) is int else None


def _constant(value: int) -> ast.expr:
    return ast.Constant(value) if value >= 0 else ast.UnaryOp(ast.USub(), ast.Constant(-value))


def _attribute(node: ast.expr) -> str | None:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def _of_namespace(node: ast.expr) -> bool:
    """Whether it is ``xp.name`` or ``xp.linalg.name``."""
    while isinstance(node, ast.Attribute):
        node = node.value
        if isinstance(node, ast.Name):
            return node.id in NAMESPACES
    return False
