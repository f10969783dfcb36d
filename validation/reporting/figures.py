"""SVG figures made fit to stand beside each other on one page.

Inlined figures share one document: equal ids would collide, and a style sheet of one would reach all.
So ids are prefixed, outlines of glyphs that several figures draw stand once, and black and white become the
colours of the page, so that figures follow a dark one.  Every character of a figure is written anew from what
:mod:`.svg` lets through.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, final

from markupsafe import Markup, escape

from .svg import REFERENCE, Piece, declarations, pieces

__all__ = ["Gallery"]

_COLOURS: Final = {
    **dict.fromkeys(("#000000", "#000", "black"), "currentColor"),
    **dict.fromkeys(("#ffffff", "#fff", "white"), "var(--paper)"),
}
_LENGTH: Final = re.compile(r"([\d.]+)(pt|px)?")


@final
class Gallery:
    """The figures of one page."""

    def __init__(self) -> None:
        self._count = 0
        self._outlines: dict[tuple[str, str], str] = {}

    def __call__(self, svg: str, caption: str = "") -> Markup:
        """``svg`` for this page.

        Raises:
            RefusedFigure: It is no SVG, or holds what is not allowed in a figure.
        """
        found = pieces(svg)
        prefix = f"f{self._count}-"
        self._count += 1
        names: dict[str, str] = {}
        rest = list(self._hoisted(found, names))

        def placed(name: str) -> str:
            return names.get(name, prefix + name)

        (root, *inner) = rest
        sizes = dict(root.attributes)
        width = _LENGTH.fullmatch(sizes.get("width", ""))
        natural = f"max-width:{width[1]}{width[2] or 'px'};" if width else ""
        style = f"{natural}fill:currentColor;stroke-linejoin:round;stroke-linecap:butt"
        head = f'<svg role="img" aria-label="{escape(caption)}" style="{style}"'
        head += "".join(
            f' {key}="{escape(_painted(key, value))}"'
            for key, value in root.attributes
            if key not in ("width", "height", "style", "id")
        )
        return Markup(head + ">" + "".join(_written(inner, placed)))

    def outlines(self) -> Markup:
        """The outlines that the figures share: to stand once on the page."""
        paths = "".join(
            f'<path id="{name}" d="{escape(d)}"'
            + (f' transform="{escape(transform)}"' if transform else "")
            + "/>"
            for (d, transform), name in self._outlines.items()
        )
        return Markup(f'<svg class="outlines" aria-hidden="true"><defs>{paths}</defs></svg>')

    def _hoisted(self, found: Sequence[Piece], names: dict[str, str]) -> Iterator[Piece]:
        """The pieces without the outlines in definitions, which get names of the page."""
        defs, skipping = 0, False
        for piece in found:
            if skipping:  # a path holds nothing: the next start or end is its own
                skipping = not piece.end
                continue
            defs += (piece.name == "defs") * (-1 if piece.end else 1)
            if defs and piece.name == "path" and not piece.end:
                known = dict(piece.attributes)
                if {"id", "d"} <= set(known) <= {"id", "d", "transform"}:
                    shape = (" ".join(known["d"].split()), known.get("transform", ""))
                    names[known["id"]] = self._outlines.setdefault(shape, f"g{len(self._outlines)}")
                    skipping = True
                    continue
            yield piece


def _written(found: Sequence[Piece], placed: Callable[[str], str]) -> Iterator[str]:
    """The text of pieces; an element without content is closed at once."""
    labels = 0  # white space counts inside of them alone
    for i, piece in enumerate(found):
        labels += (piece.name == "text") * (-1 if piece.end else 1)
        if not piece.name:
            yield str(escape(piece.text)) if labels or piece.text.strip() else ""
        elif not piece.end:
            yield f"<{piece.name}{''.join(_attributes(piece, placed))}{'/' if found[i + 1].end else ''}>"
        elif i == 0 or found[i - 1].end or found[i - 1].name != piece.name:
            yield f"</{piece.name}>"


def _attributes(piece: Piece, placed: Callable[[str], str]) -> Iterator[str]:
    for key, value in piece.attributes:
        if key == "id":
            value = placed(value)
        elif key == "href":
            value = value if value.startswith("data:") else f"#{placed(value)}"
        elif key == "style":
            value = ";".join(f"{name}:{_painted(name, each)}" for name, each in declarations(value))
        else:
            value = _painted(key, value)
        value = REFERENCE.sub(lambda found: f"url(#{placed(found[1])})", value)
        yield f' {key}="{escape(" ".join(value.split()))}"'


def _painted(name: str, value: str) -> str:
    """Black and white in the colours of the page."""
    return _COLOURS.get(value.strip().lower(), value) if name in ("fill", "stroke") else value
