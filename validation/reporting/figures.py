"""SVG figures made fit to stand beside each other on one page.

Inlined figures share one document: equal ids would collide, and a style sheet of one would reach all.
So ids are prefixed, outlines of glyphs that several figures draw stand once, style sheets and scripts
go, and black and white become the colours of the page, so that figures follow a dark one.
"""

from __future__ import annotations

import re
from typing import final

from markupsafe import Markup, escape

__all__ = ["Gallery"]

_DROPPED = re.compile(
    r"<\?xml.*?\?>|<!DOCTYPE.*?>|<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>"
    r"|<script.*?</script>|<foreignObject.*?</foreignObject>|\son\w+=\"[^\"]*\"",
    re.DOTALL | re.IGNORECASE,
)
_GLYPH = re.compile(r'<path id="([^"]+)" d="([^"]+)"(?: transform="([^"]+)")?\s*/>')
_IDS = re.compile(r'\bid="([^"]+)"')
_REFERENCES = re.compile(r'((?:xlink:)?href="#|url\(#)([^")]+)')
_BLACK = re.compile(r"(fill|stroke)(: ?|=\")(?:#000000|#000|black)\b")
_WHITE = re.compile(r"(fill|stroke)(: ?|=\")(?:#ffffff|#fff|white)\b")


@final
class Gallery:
    """The figures of one page."""

    def __init__(self) -> None:
        self._count = 0
        self._outlines: dict[tuple[str, str], str] = {}

    def __call__(self, svg: str, caption: str = "") -> Markup:
        """``svg`` for this page.

        Raises:
            ValueError: It is no SVG.
        """
        prefix = f"f{self._count}-"
        self._count += 1
        text = _DROPPED.sub("", svg).strip()
        if not text.startswith("<svg") or not text.endswith("</svg>"):
            raise ValueError(f"expected an SVG figure, got {svg[:40]!r}")
        shared: dict[str, str] = {}

        def hoist(match: re.Match[str]) -> str:
            name, d, transform = match.groups()
            shape = (" ".join(d.split()), transform or "")
            shared[name] = self._outlines.setdefault(shape, f"g{len(self._outlines)}")
            return ""

        text = re.sub(r"<defs>(.*?)</defs>", lambda defs: _GLYPH.sub(hoist, defs[0]), text, flags=re.DOTALL)
        text = _REFERENCES.sub(lambda m: m[1] + shared.get(m[2], prefix + m[2]), text)
        text = _IDS.sub(lambda m: f'id="{prefix}{m[1]}"', text)
        text = _BLACK.sub(r"\1\2currentColor", text).replace("xlink:href", "href")
        text = _WHITE.sub(r"\1\2var(--paper)", text)
        text = re.sub(r"\s*\n\s*", " ", text)
        head, rest = text.split(">", 1)
        width = re.search(r'\swidth="([\d.]+)(pt|px)?"', head)
        natural = f"max-width:{width[1]}{width[2] or 'px'};" if width else ""
        head = re.sub(r'\s(width|height|style)="[^"]*"', "", head).removeprefix("<svg")
        style = f"{natural}fill:currentColor;stroke-linejoin:round;stroke-linecap:butt"
        return Markup(f'<svg role="img" aria-label="{escape(caption)}" style="{style}"{head}>{rest}')

    def outlines(self) -> Markup:
        """The outlines that the figures share: to stand once on the page."""
        paths = "".join(
            f'<path id="{name}" d="{d}"' + (f' transform="{transform}"' if transform else "") + "/>"
            for (d, transform), name in self._outlines.items()
        )
        return Markup(f'<svg class="outlines" aria-hidden="true"><defs>{paths}</defs></svg>')
