"""Figures as SVG text."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

__all__ = ["svg"]

STYLE: dict[Any, Any] = {
    "svg.fonttype": "path",  # readable without the fonts of this machine
    "svg.hashsalt": "driftproof",  # the same figure gives the same text
    "figure.figsize": (6.4, 3.6),
    "figure.constrained_layout.use": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9.0,
    "savefig.transparent": True,
}


def svg(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """The SVG text of the matplotlib figure that ``function(*args, **kwargs)`` returns."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        drawn = function(*args, **kwargs)
        if not isinstance(drawn, Figure):
            raise TypeError(f"a figure function returns a matplotlib Figure, got {type(drawn).__name__}")
        text = io.StringIO()
        drawn.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()
