r"""LaTeX to inline SVG by matplotlib's mathtext: readable without network, fonts or scripts.

Glyph outlines are drawn once for a whole page (:meth:`Typesetter.outlines`) and used from there, in the
colour of the text around them.  Mathtext knows a part of LaTeX; common macros beyond it are rewritten,
and what it still cannot parse is shown as its source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, final

from markupsafe import Markup, escape

__all__ = ["Typesetter", "pieces", "rewritten"]

EM = 100.0  # matplotlib's text paths are outlined at this size
LONG = 34.0  # em; a longer formula may break before its relations

# What mathtext does not know, in terms of what it does.
_SYNONYMS = {
    "tfrac": r"\frac", "dfrac": r"\frac", "le": r"\leq", "ge": r"\geq", "iff": r"\Leftrightarrow",
    "implies": r"\Rightarrow", "impliedby": r"\Leftarrow", "lVert": r"\|", "rVert": r"\|", "lvert": "|",
    "rvert": "|", "Vert": r"\|", "stackrel": r"\overset", "land": r"\wedge", "lor": r"\vee", "lnot": r"\neg",
    "tag": r"\quad", "coloneqq": ":=", "dots": r"\ldots", "mathds": r"\mathbb", "bm": r"\mathbf",
    "boldsymbol": r"\mathbf", "mid": r"\,|\,", "middle": "", "displaystyle": "", "textstyle": "",
    "limits": "", "nolimits": "", "nonumber": "", "boxed": "", "mathop": "", "mathrel": "", "mathbin": "",
    "big": "", "Big": "", "bigg": "", "Bigg": "", "bigl": "", "bigr": "", "Bigl": "", "Bigr": "", "biggl": "",
    "biggr": "", "Biggl": "", "Biggr": "", "bigm": "", "Bigm": "", "underbrace": "", "overbrace": "",
}  # fmt: skip
_ARGUMENTS = {r"\frac": 2, r"\overset": 2, r"\underset": 2, r"\sqrt": 1, r"\mathbf": 1, r"\mathbb": 1}
_ARGUMENTS |= {
    r"\mathcal": 1,
    r"\mathrm": 1,
    r"\hat": 1,
    r"\widehat": 1,
    r"\tilde": 1,
    r"\bar": 1,
    r"\operatorname": 1,
}
_TOKEN = re.compile(r"\\(?:[A-Za-z]+|.)|\{|\}|\s+|[^\\{}\s]")
_RELATIONS = {
    "=",
    "<",
    ">",
    r"\leq",
    r"\geq",
    r"\Rightarrow",
    r"\Leftrightarrow",
    r"\approx",
    r"\sim",
    r"\equiv",
}
_RELATIONS |= {r"\to", r"\neq", r"\propto", r"\longrightarrow", r"\Longrightarrow"}


@final
class Typesetter:
    """Sets the formulas of one page."""

    def __init__(self) -> None:
        from matplotlib.font_manager import FontProperties
        from matplotlib.textpath import text_to_path

        self._paths: Any = text_to_path
        self._font = FontProperties(size=EM, math_fontfamily="stix")
        self._glyphs: dict[str, tuple[int, str]] = {}

    def __call__(self, latex: str) -> Markup:
        """``latex`` (without dollar signs) as inline SVG, or as its source where it cannot be set."""
        try:
            parts = [part for line in pieces(rewritten(latex)) for part in self._wrapped(line)]
        except (ValueError, RuntimeError, KeyError, IndexError):
            return Markup('<code class="latex">{}</code>').format(latex)
        label = escape(" ".join(latex.split()))
        return Markup('<span class="math" role="math" aria-label="{}">{}</span>').format(
            label, Markup(" ").join(parts)
        )

    def outlines(self) -> Markup:
        """The outlines of all glyphs used so far: to stand once on the page."""
        paths = "".join(f'<path id="m{number}" d="{d}"/>' for number, d in self._glyphs.values())
        return Markup(f'<svg class="outlines" aria-hidden="true"><defs>{paths}</defs></svg>')

    def _wrapped(self, line: str) -> Iterator[Markup]:
        width = self._paths.get_text_width_height_descent(f"${line}$", self._font, ismath=True)[0]
        yield from map(self._one, _before_relations(line) if width / EM > LONG else [line])

    def _one(self, formula: str) -> Markup:
        text = f"${formula}$"
        width, height, depth = self._paths.get_text_width_height_descent(text, self._font, ismath=True)
        glyphs, outlines, rectangles = self._paths.get_glyphs_mathtext(self._font, text)
        drawn = [self._used(outlines, *glyph) for glyph in glyphs]
        drawn += [f'<path d="{_d(*rectangle)}"/>' for rectangle in rectangles]
        pad = 4.0  # accents and slanted strokes reach out of the box that is reported
        box = f"{-pad:g} {-(height - depth) - pad:.1f} {width + 2 * pad:.1f} {height + 2 * pad:.1f}"
        style = f"width:{(width + 2 * pad) / EM:.2f}em;height:{(height + 2 * pad) / EM:.2f}em"
        style += f";vertical-align:{-(depth + pad) / EM:.2f}em"
        return Markup(
            f'<svg viewBox="{box}" style="{style}" aria-hidden="true">'
            f'<g transform="scale(1 -1)">{"".join(drawn)}</g></svg>'
        )

    def _used(self, outlines: Any, name: str, x: float, y: float, scale: float) -> str:
        if name not in self._glyphs:
            self._glyphs[name] = (len(self._glyphs), _d(*outlines[name]))
        number = self._glyphs[name][0]
        size = "" if abs(scale - 1) < 1e-6 else f" scale({scale:.4g})"
        return f'<use href="#m{number}" transform="translate({x:.1f} {y:.1f}){size}"/>'


def rewritten(latex: str) -> str:
    r"""``latex`` within what mathtext parses.

    Example:
        >>> rewritten(r"\tfrac12 \le \bigl(\frac\delta2\bigr)")
        '\\frac{1}{2} \\leq (\\frac{\\delta}{2})'
    """
    latex = re.sub(r"\\(begin|end)\{(aligned|align\*?|gathered|split|equation\*?)\}", "", latex)
    latex = re.sub(r"\\x(right|left)arrow\{", r"\\overset{\\\1arrow}{", latex).replace("&", "")
    tokens = [_SYNONYMS.get(t[1:], t) if t.startswith("\\") else t for t in _TOKEN.findall(latex)]
    tokens = [token for token in tokens if token]
    return re.sub(r"(\\[A-Za-z]+) (?=[^A-Za-z])", r"\1 ", "".join(_braced(tokens))).strip()


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
            if position < len(tokens) and tokens[position] not in ("{", "["):
                yield f"{{{tokens[position]}}}"
                position += 1
            elif position < len(tokens):
                end = _closing(tokens, position)
                yield "".join(_braced(tokens[position:end]))
                position = end


def _closing(tokens: list[str], position: int) -> int:
    """The position after the group that opens here; an option ``[...]`` takes the group after it along."""
    if tokens[position] == "[":
        after = tokens.index("]", position) + 1
        return _closing(tokens, after) if after < len(tokens) else after
    depth = 0
    for index in range(position, len(tokens)):
        depth += {"{": 1, "}": -1}.get(tokens[index], 0)
        if depth == 0:
            return index + 1
    return len(tokens)


def pieces(latex: str) -> list[str]:
    r"""``latex`` cut where a line may break: at ``\\``, ``\quad`` and ``\qquad`` outside of all brackets.

    Example:
        >>> pieces(r"a = b, \quad c = d")
        ['a = b,', 'c = d']
    """
    return [piece for piece in _cut(latex, {r"\\", r"\quad", r"\qquad"}, keep=False) if piece]


def _before_relations(latex: str) -> list[str]:
    return [piece for piece in _cut(latex, _RELATIONS, keep=True) if piece]


def _cut(latex: str, at: set[str], *, keep: bool) -> list[str]:
    found, depth = [""], 0
    for token in _TOKEN.findall(latex):
        depth += (token in ("{", "(", "[", r"\left", r"\{")) - (token in ("}", ")", "]", r"\right", r"\}"))
        if depth <= 0 and token in at:
            found.append(token if keep else "")
        else:
            found[-1] += token
    return [piece.strip() for piece in found]


def _d(vertices: Any, codes: Any) -> str:
    """The path data of matplotlib vertices and codes."""
    letters = {1: "M", 2: "L", 3: "Q", 4: "C", 79: "Z"}
    sizes = {1: 1, 2: 1, 3: 2, 4: 3, 79: 1}
    parts, position = [], 0
    while position < len(codes):
        code = int(codes[position])
        size = sizes.get(code, 1)
        points = (
            ""
            if code == 79
            else " ".join(f"{x:.4g} {y:.4g}" for x, y in vertices[position : position + size])
        )
        parts.append(letters.get(code, "") + points)
        position += size
    return "".join(parts)
