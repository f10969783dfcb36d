r"""LaTeX as authors write it, brought to the part of LaTeX that matplotlib's mathtext parses."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["before_relations", "cells", "parts", "pieces", "rewritten"]

# What mathtext does not know, in terms of what it does.
_SYNONYMS = {
    r"\tfrac": r"\frac", r"\dfrac": r"\frac", r"\le": r"\leq", r"\ge": r"\geq", r"\iff": r"\Leftrightarrow",
    r"\implies": r"\Rightarrow", r"\impliedby": r"\Leftarrow", r"\lVert": r"\|", r"\rVert": r"\|",
    r"\lvert": "|", r"\rvert": "|", r"\Vert": r"\|", r"\stackrel": r"\overset", r"\land": r"\wedge",
    r"\lor": r"\vee", r"\lnot": r"\neg", r"\coloneqq": ":=", r"\dots": r"\ldots", r"\mathds": r"\mathbb",
    r"\bm": r"\mathbf", r"\boldsymbol": r"\mathbf", r"\mid": r"\,|\,", r"\middle": "", r"\displaystyle": "",
    r"\textstyle": "", r"\limits": "", r"\nolimits": "", r"\nonumber": "", r"\boxed": "", r"\mathop": "",
    r"\mathrel": "", r"\mathbin": "", r"\underbrace": "", r"\overbrace": "", "&": "",
    r"\texttt": r"\mathtt", r"\textbf": r"\mathbf", r"\textit": r"\mathit", r"\textrm": r"\mathrm", "\\ ": r"\;",
}  # fmt: skip
_SIZES = re.compile(r"\\[bB]igg?[lrm]?")
_OPENING, _CLOSING = {"(", "[", r"\{"}, {")", "]", r"\}"}
_ARGUMENTS = {r"\frac": 2, r"\overset": 2, r"\underset": 2, r"\sqrt": 1, r"\mathbf": 1, r"\mathbb": 1}
_ARGUMENTS |= {r"\mathcal": 1, r"\mathrm": 1, r"\hat": 1, r"\widehat": 1, r"\tilde": 1, r"\bar": 1}
_ARGUMENTS |= {r"\operatorname": 1, r"\dot": 1, r"\vec": 1, "^": 1, "_": 1}
_RELATIONS = {"=", "<", ">", r"\leq", r"\geq", r"\Rightarrow", r"\Leftrightarrow", r"\approx", r"\sim"}
_RELATIONS |= {r"\to", r"\neq", r"\propto", r"\equiv", r"\longrightarrow", r"\Longrightarrow"}
_TOKEN = re.compile(r"\\(?:[A-Za-z]+|.)|\{|\}|\s+|[^\\{}\s]", re.DOTALL)
_CASES = re.compile(r"\\begin\{cases\}(.*?)\\end\{cases\}", re.DOTALL)
_NEWLINE = re.compile(r"\\\\(?:\[[^\]]*\])?")


def parts(latex: str) -> Iterator[tuple[str, bool]]:
    r"""The stretches of ``latex`` between and (marked True) inside of ``cases``.

    Example:
        >>> list(parts(r"x = \begin{cases} a & b \\ c & d \end{cases}"))
        [('x = ', False), (' a & b \\\\ c & d ', True)]
    """
    for index, part in enumerate(_CASES.split(latex)):
        if part.strip():
            yield part, index % 2 == 1


def cells(cases: str) -> list[list[str]]:
    r"""The rows of ``cases``, each a list of its cells.

    Example:
        >>> cells(r" a & b \\[2pt] c & d ")
        [['a', 'b'], ['c', 'd']]
    """
    return [[cell.strip() for cell in row.split("&")] for row in _NEWLINE.split(cases) if row.strip()]


def rewritten(latex: str) -> str:
    r"""``latex`` within what mathtext parses; fractions are set large unless they stand small.

    Example:
        >>> rewritten(r"\tfrac12 \le \bigl(\frac\delta2\bigr)^{\frac12}")
        '\\dfrac{1}{2} \\leq \\left(\\dfrac{\\delta}{2}\\right)^{\\frac{1}{2}}'
    """
    latex = re.sub(r"\\(begin|end)\{(aligned|align\*?|gathered|split|equation\*?)\}", "", latex)
    latex = re.sub(r"\\x(right|left)arrow\{", r"\\overset{\\\1arrow}{", latex)
    tokens = list(_sized([_SYNONYMS.get(token, token) for token in _TOKEN.findall(" ".join(latex.split()))]))
    return "".join(_displayed(_TOKEN.findall("".join(_braced(tokens))))).strip()


def _sized(tokens: list[str]) -> Iterator[str]:
    r"""``\big(`` and its kin as ``\left(`` or ``\right)``: mathtext sizes delimiters by what they hold."""
    for index, token in enumerate(tokens):
        if not _SIZES.fullmatch(token):
            if token:
                yield token
            continue
        delimiter = next((after for after in tokens[index + 1 :] if not after.isspace()), "")
        yield r"\left" if delimiter in _OPENING else r"\right" if delimiter in _CLOSING else ""


def _braced(tokens: list[str]) -> Iterator[str]:
    r"""TeX lets ``\frac12`` do without braces, mathtext does not."""
    position = 0
    while position < len(tokens):
        token = tokens[position]
        position += 1
        yield token
        for _ in range(_ARGUMENTS.get(token, 0)):
            while position < len(tokens) and tokens[position].isspace():
                position += 1
            if token == r"\sqrt" and position < len(tokens) and tokens[position] == "[":
                end = tokens.index("]", position) + 1
                yield "".join(tokens[position:end])
                position = end
            if position == len(tokens):
                return
            end = _end_of_group(tokens, position)
            inside = "".join(_braced(tokens[position:end]))
            yield inside if tokens[position] == "{" or token in "^_" else f"{{{inside}}}"
            position = end


def _end_of_group(tokens: list[str], position: int) -> int:
    """The position after the argument that begins here: a group in braces or one token."""
    if tokens[position] != "{":
        return position + 1
    depth = 0
    for index in range(position, len(tokens)):
        depth += {"{": 1, "}": -1}.get(tokens[index], 0)
        if depth == 0:
            return index + 1
    return len(tokens)


def _displayed(tokens: list[str]) -> Iterator[str]:
    depth = 0
    for token in tokens:
        depth += {"{": 1, "}": -1}.get(token, 0)
        yield r"\dfrac" if token == r"\frac" and depth == 0 else token


def pieces(latex: str) -> list[str]:
    r"""``latex`` cut where a line may break: at ``\\``, ``\quad`` and ``\qquad`` outside of all brackets.

    Example:
        >>> pieces(r"a = b, \quad c = d")
        ['a = b,', 'c = d']
    """
    return [piece for piece in _cut(latex, {r"\\", r"\quad", r"\qquad"}, keep=False) if piece]


def before_relations(latex: str) -> list[str]:
    r"""``latex`` cut before its relations, outside of all brackets.

    Example:
        >>> before_relations(r"a = f(x = 1) \leq c")
        ['a', '= f(x = 1)', '\\leq c']
    """
    return [piece for piece in _cut(latex, _RELATIONS, keep=True) if piece]


def _cut(latex: str, at: set[str], *, keep: bool) -> list[str]:
    found, depth, escaped = [""], 0, False
    for token in _TOKEN.findall(latex):
        if not escaped:  # the delimiter after \left or \right is counted with it
            depth += token == "{" or token == r"\left" or token in _OPENING
            depth -= token == "}" or token == r"\right" or token in _CLOSING
        escaped = token in (r"\left", r"\right")
        if depth <= 0 and token in at:
            found.append(token if keep else "")
        else:
            found[-1] += token
    return [piece.strip() for piece in found]
