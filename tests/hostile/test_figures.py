"""Figures that would run on the page: refused; what looks alike comes through as text."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from driftproof.validation.reporting.figures import Gallery
from driftproof.validation.reporting.svg import RefusedFigure
from tests.hostile.conftest import Attack
from tests.hostile.payloads import HARMLESS, INSIDE, PICTURE, SVG, WHOLE


def figures() -> Iterator[tuple[str, str]]:
    for name, inner in INSIDE.items():
        yield name, PICTURE.replace("<path", inner + "<path", 1)
        yield f"{name}, within definitions", PICTURE.replace("<path", f"<defs><g>{inner}</g></defs><path", 1)
        yield f"{name}, at the end", PICTURE.replace("</svg>", inner + "</svg>")
    yield from WHOLE.items()


def test_what_is_more_than_a_drawing_is_refused(attack: Attack) -> None:
    faults, tries = [], 0
    for name, svg in figures():
        tries += 1
        try:
            faults.append(f"{name} passed: {Gallery()(svg)}"[:300])
        except RefusedFigure as error:
            if "\n" in str(error) or len(str(error)) > 300:
                faults.append(f"{name}: no line, {str(error)[:300]}")
    attack("SVG payloads", tries, faults)


def test_what_looks_like_more_comes_through_as_text(attack: Attack) -> None:
    faults = []
    for name, inner in HARMLESS.items():
        text = str(Gallery()(PICTURE.replace("<path", inner + "<path", 1)))
        elements = set(re.findall(r"</?([\w:!?-]+)", text))
        if not elements <= {"svg", "text", "title", "path"}:
            faults.append(f"{name}: {text}")
    attack("SVG texts that look like payloads", len(HARMLESS), faults)


def test_the_encoding_that_a_figure_states_is_not_its_own(attack: Attack) -> None:
    faults = []
    for name in ("utf-7", "utf-16", "ebcdic-cp-us", "shift_jis", "nothing"):
        svg = (
            f'<?xml version="1.0" encoding="{name}"?><svg {SVG}><text>+ADw-script+AD4- ¾script¾</text></svg>'
        )
        if not str(Gallery()(svg)).endswith("<text>+ADw-script+AD4- ¾script¾</text></svg>"):
            faults.append(name)
    attack("encodings of SVG", 5, faults)


def test_nothing_that_comes_through_can_run(attack: Attack) -> None:
    """Elements, attributes and values drawn at random: what is accepted holds nothing but drawing."""
    faults, tries, accepted = _fuzzed(400)
    assert accepted > 20, "hardly anything was accepted: the fuzz is blunt"
    attack("SVG at random", tries, faults)


@pytest.mark.hostile
def test_nothing_that_comes_through_can_run_in_many_tries(attack: Attack) -> None:
    faults, tries, _ = _fuzzed(100_000)
    attack("SVG at random, many", tries, faults)


ELEMENTS = [
    "g", "path", "rect", "use", "text", "tspan", "image", "a", "script", "style", "foreignObject",
    "set", "animate", "defs", "pattern", "clipPath",
]  # fmt: skip
ATTRIBUTES = [
    "id", "d", "style", "fill", "href", "xlink:href", "onload", "class", "transform", "clip-path",
    "src", "filter", "x", "xml:base",
]  # fmt: skip
VALUES = (
    "a", "#a", "url(#a)", "none", "1 2", "fill: none", "fill: url(#a); stroke: red", "javascript:alert(1)",
    "https://evil.example", "data:image/png;base64,AA==", "data:text/html,x", "url(//evil)", "expression(1)", "rotate(3)",
)  # fmt: skip
RUNS = re.compile(
    r"<(?!/?(svg|g|path|rect|use|text|tspan|image|defs|pattern|clipPath)[ />])|\son|\sclass=|\ssrc=|\sfilter=|xml:base|"
    r'script|href="(?!#f0-|data:image/png;base64,)|url\((?!#f0-)|expression|evil',
    re.IGNORECASE,
)


def _fuzzed(tries: int) -> tuple[list[str], int, int]:
    rng, faults, accepted = random.Random(0), [], 0
    for _ in range(tries):
        svg, count = f"<svg {SVG}>", rng.randint(1, 3)
        for _ in range(count):
            element = rng.choice(ELEMENTS[:8] if rng.random() < 0.8 else ELEMENTS)
            given = {rng.choice(ATTRIBUTES): rng.choice(VALUES) for _ in range(rng.randint(0, 2))}
            svg += f"<{element} {' '.join(f'{name}={value!r}' for name, value in given.items())}/>"
        try:
            text = str(Gallery()(svg + "</svg>"))
        except RefusedFigure:
            continue
        accepted += 1
        if found := RUNS.search(text):
            faults.append(f"{found[0]!r} came through from {svg}")
    return faults, tries, accepted


def test_every_figure_of_the_pages_comes_through(attack: Attack) -> None:
    pictures = sorted((Path(__file__).parents[2] / "papers" / "figures").glob("*.svg"))
    faults = []
    for file in pictures:
        try:
            Gallery()(file.read_text(encoding="utf-8"))
        except RefusedFigure as error:
            faults.append(f"{file.name}: {error}")
    attack("figures of ours", len(pictures), faults)
