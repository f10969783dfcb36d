r"""LaTeX to inline SVG by matplotlib's mathtext: readable without network, fonts or scripts.

Glyph outlines are drawn once for a whole page (:meth:`Typesetter.outlines`) and used from there, in the
colour of the text around them.  Mathtext knows a part of LaTeX; common macros beyond it are rewritten,
and what it still cannot parse is shown as its source.
"""

from __future__ import annotations

from typing import Any, final

from markupsafe import Markup

from .latex import before_relations, cells, parts, pieces, rewritten

__all__ = ["Typesetter"]

EM = 100.0  # matplotlib's text paths are outlined at this size
LONGEST = 20_000  # characters; what is longer is no formula, and would be set for minutes
LONG = 30.0  # em; a longer formula may break before its relations


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
        if len(latex) > LONGEST:
            return Markup('<code class="latex">{}</code>').format(latex)
        try:
            set_parts = [self._cases(part) if cases else self._lines(part) for part, cases in parts(latex)]
        except (ValueError, RuntimeError, KeyError, IndexError):
            return Markup('<code class="latex">{}</code>').format(latex)
        label = " ".join(latex.split())
        body = Markup(" ").join(set_parts)
        return Markup('<span class="math" role="math" aria-label="{}">{}</span>').format(label, body)

    def outlines(self) -> Markup:
        """The outlines of all glyphs used so far: to stand once on the page."""
        paths = "".join(f'<path id="m{number}" d="{d}"/>' for number, d in self._glyphs.values())
        return Markup(f'<svg class="outlines" aria-hidden="true"><defs>{paths}</defs></svg>')

    def _cases(self, latex: str) -> Markup:
        rows = [row if len(row) > 1 else [*row, ""] for row in cells(latex)]
        drawn = (Markup("<span>{}</span>").format(self._lines(cell)) for row in rows for cell in row[:2])
        return Markup('<span class="cases">{}</span>').format(Markup("").join(drawn))

    def _lines(self, latex: str) -> Markup:
        formulas = (part for line in pieces(rewritten(latex)) for part in self._broken(line))
        return Markup(" ").join(self._one(formula) for formula in formulas)

    def _broken(self, line: str) -> list[str]:
        width = self._paths.get_text_width_height_descent(f"${line}$", self._font, ismath=True)[0]
        return before_relations(line) if width / EM > LONG else [line]

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
