"""The part of SVG that a figure may be made of, read by a real parser.

Figures come from files that anybody may have written, and on the page they would run with its rights.  So only
what draws is let through, by name: elements, attributes, properties of style, references within the figure.
Anything else is an error of the figure; of what matplotlib adds, metadata and its one style sheet are left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, NoReturn, final
from xml.parsers import expat

__all__ = ["REFERENCE", "Piece", "RefusedFigure", "declarations", "pieces"]

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_LARGEST, _DEEPEST = 20_000_000, 64  # characters, and elements inside of each other

# What may be reused: shapes alone, for groups that use groups grow without bound.
_SHAPES: Final = frozenset({"path", "rect", "circle", "ellipse", "line", "polyline", "polygon"})
_ELEMENTS: Final = _SHAPES | frozenset({
    "svg", "g", "defs", "clipPath", "use", "text", "tspan", "image", "title", "desc", "linearGradient",
    "radialGradient", "stop", "pattern",
})  # fmt: skip
# What holds references for others must hold none itself, for the same reason.
_CLOSED: Final = frozenset({"clipPath", "pattern"})
_STYLES: Final = frozenset({
    "fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity", "stroke-linecap",
    "stroke-linejoin", "stroke-miterlimit", "stroke-dasharray", "stroke-dashoffset", "opacity",
    "clip-path", "clip-rule", "stop-color", "stop-opacity", "shape-rendering", "image-rendering",
    "text-rendering", "font", "font-family", "font-size", "font-style", "font-weight", "font-variant",
    "font-stretch", "text-anchor", "text-decoration", "dominant-baseline", "letter-spacing",
})  # fmt: skip
_ATTRIBUTES: Final = _STYLES | frozenset({
    "id", "d", "transform", "style", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "rx", "ry",
    "dx", "dy", "rotate", "width", "height", "points", "offset", "version", "viewBox",
    "preserveAspectRatio", "gradientUnits", "gradientTransform", "spreadMethod", "clipPathUnits",
    "patternUnits", "patternContentUnits", "patternTransform",
})  # fmt: skip
_FUNCTIONS: Final = frozenset({
    "matrix", "translate", "scale", "rotate", "skewx", "skewy", "rgb", "rgba", "hsl", "hsla",
})  # fmt: skip
_ID: Final = re.compile(r"[A-Za-z_][\w.:-]*")
REFERENCE: Final = re.compile(r"url\(#([A-Za-z_][\w.:-]*)\)")
_VALUE: Final = re.compile(r"[\w\s.,#%()+'\"-]*")
_CALL: Final = re.compile(r"([\w-]*)\s*\(")
_PNG: Final = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=\s]*")
_SHEET: Final = "*{stroke-linejoin:round;stroke-linecap:butt}"


@final
class RefusedFigure(ValueError):
    """A figure holds what no figure of the report may hold."""


@final
@dataclass(frozen=True)
class Piece:
    """One start of an element (with its attributes), one end, or text in between.

    Attributes:
        name: The name of the element; empty for text.
        attributes: The attributes of a start; a reference to a shape stands under ``href``, without its ``#``.
        text: The text in between.
        end: Whether the element ends here.
    """

    name: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    text: str = ""
    end: bool = False


def pieces(svg: str) -> list[Piece]:
    """A figure, piece by piece.

    Raises:
        RefusedFigure: It is no SVG, or holds what is not allowed; which.

    Example:
        >>> [piece.name for piece in pieces('<svg xmlns="http://www.w3.org/2000/svg"><g/></svg>')]
        ['svg', 'g', 'g', 'svg']
        >>> pieces('<svg xmlns="http://www.w3.org/2000/svg"><script/></svg>')
        Traceback (most recent call last):
            ...
        driftproof.validation.reporting.svg.RefusedFigure: the element <script> is not allowed in a figure
    """
    if len(svg) > _LARGEST:
        raise RefusedFigure(f"a figure of {len(svg)} characters; at most {_LARGEST} are allowed")
    reader = _Reader()
    try:
        reader.parser.Parse(svg.encode("utf-8", "replace"), True)
    except expat.ExpatError as error:
        raise RefusedFigure(f"expected an SVG figure, got {svg[:40]!r}: {error}") from error
    return reader.checked()


def declarations(style: str) -> list[tuple[str, str]]:
    """The properties of a ``style``, with their values.

    Raises:
        RefusedFigure: A property or a value is not allowed.

    Example:
        >>> declarations("fill: none; stroke: #000000")
        [('fill', 'none'), ('stroke', '#000000')]
    """
    found = []
    for part in filter(str.strip, style.split(";")):
        name, _, value = part.partition(":")
        name, value = name.strip(), value.strip()
        if name not in _STYLES:
            _refuse(f"the style {name[:40]!r}")
        _require_plain(name, value)
        found.append((name, value))
    return found


@final
class _Reader:
    """Takes what the parser finds, and refuses."""

    def __init__(self) -> None:
        parser = expat.ParserCreate("utf-8", " ")  # whatever the figure says of its encoding
        parser.buffer_text = True
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._doctype
        parser.EntityDeclHandler = lambda *_: _refuse("an entity")
        parser.SkippedEntityHandler = lambda *_: _refuse("an entity")
        parser.ProcessingInstructionHandler = lambda target, _: _refuse(f"the instruction <?{target[:40]}?>")
        self.parser = parser
        self._found: list[Piece] = []
        self._open: list[str] = []
        self._left_out = 0  # depth inside of metadata
        self._sheet: str | None = None
        self._shapes: set[str] = set()
        self._used: list[str] = []

    def checked(self) -> list[Piece]:
        """Everything, once all references are known to lead to shapes."""
        for name in self._used:
            if name not in self._shapes:
                _refuse(f"<use> of {name[:40]!r}, which is no shape of this figure,")
        return self._found

    def _doctype(self, name: str, system: str | None, public: str | None, internal: int) -> None:
        if internal:
            _refuse("a document type with declarations")

    def _start(self, qualified: str, attributes: dict[str, str]) -> None:
        space, name = _split(qualified)
        if self._left_out or (space == _SVG and name == "metadata" and self._open):
            self._left_out += 1
            return
        if self._sheet is not None or space not in ("", _SVG):
            _refuse(f"the element <{name[:40]}>")
        if name == "style" and self._open:
            self._sheet = ""
            return
        if name not in _ELEMENTS:
            _refuse(f"the element <{name[:40]}>")
        if (name == "svg") == bool(self._open):
            _refuse(f"<{name}> {'inside of another element' if self._open else 'as the outermost element'}")
        if len(self._open) >= _DEEPEST:
            _refuse(f"more than {_DEEPEST} elements inside of each other")
        kept = [pair for pair in (self._attribute(name, *item) for item in attributes.items()) if pair]
        if name in _SHAPES:
            self._shapes.update(value for key, value in kept if key == "id")
        self._open.append(name)
        self._found.append(Piece(name, tuple(kept)))

    def _end(self, qualified: str) -> None:
        if self._left_out:
            self._left_out -= 1
        elif self._sheet is not None:
            if "".join(self._sheet.split()) != _SHEET:
                _refuse("a style sheet")
            self._sheet = None
        else:
            self._found.append(Piece(self._open.pop(), end=True))

    def _characters(self, text: str) -> None:
        if self._left_out:
            return
        if self._sheet is not None:
            self._sheet += text
        else:
            self._found.append(Piece(text=text))

    def _attribute(self, element: str, qualified: str, value: str) -> tuple[str, str] | None:
        space, name = _split(qualified)
        if name == "href" and space in ("", _XLINK):
            return "href", self._reference(element, value)
        if space == "http://www.w3.org/XML/1998/namespace" and name in ("space", "lang"):
            return None
        if space or name not in _ATTRIBUTES:
            _refuse(f"the attribute {name[:40]!r}")
        if name == "id":
            if not _ID.fullmatch(value):
                _refuse(f"the id {value[:40]!r}")
        elif name == "style":
            for key, each in declarations(value):
                self._require_open(key, each)
        else:
            _require_plain(name, value)
            self._require_open(name, value)
        return name, value

    def _require_open(self, name: str, value: str) -> None:
        if REFERENCE.search(value) and _CLOSED & set(self._open):
            _refuse(f"a reference from inside of a <{self._open[-1]}> by {name!r}")

    def _reference(self, element: str, value: str) -> str:
        if element == "image" and _PNG.fullmatch(value):
            return "".join(value.split())
        if element == "use" and value[:1] == "#" and _ID.fullmatch(value[1:]):
            self._used.append(value[1:])
            return value[1:]
        return _refuse(f"a reference of <{element}> to {value[:40]!r}")


def _split(qualified: str) -> tuple[str, str]:
    space, _, name = qualified.rpartition(" ")
    return space, name


def _require_plain(name: str, value: str) -> None:
    """No functions but those of geometry and colour, no addresses but those of this figure, no escapes."""
    rest = REFERENCE.sub("", value)
    calls = {call.lower() for call in _CALL.findall(rest)}
    if not _VALUE.fullmatch(rest) or not calls <= _FUNCTIONS:
        _refuse(f"the value {value[:40]!r} of {name!r}")


def _refuse(what: str) -> NoReturn:
    raise RefusedFigure(f"{what} is not allowed in a figure")
