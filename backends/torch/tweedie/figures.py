"""Figures of the report: inline SVG, one function each."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from .experiment import Comparison
from .laws import LawsStudy
from .metrics import clustering

__all__ = ["error_figure", "images_figure", "laws_figure", "paths_figure"]

Rows = NDArray[np.float64]

INK, ACCENT = "#222222", "#c8452f"
COLOURS: Mapping[str, str] = {"held-out": INK, "VP": "#4c72b0", "GBM": "#b07a1c", "CIR": ACCENT}


def laws_figure(study: LawsStudy) -> str:
    """Counts, posterior means and marginals learnt, each beside the exact one; samples beside data."""
    figure = Figure(figsize=(10.5, 7.2), layout="constrained")
    grid = figure.subplots(2, 2)
    shades = [str(shade) for shade in ("#7fb2d9", "#4c72b0", "#8a5aa8", ACCENT)]
    for curve, shade in zip(study.curves, shades, strict=True):
        root, label = np.sqrt(curve.x), f"r = {curve.ratio:.2g}"
        for axes, learnt, exact in (
            (grid[0, 0], curve.learnt, curve.exact),
            (grid[0, 1], curve.learnt_mean, curve.exact_mean),
        ):
            axes.plot(root, exact, color=shade, lw=3.5, alpha=0.35)
            axes.plot(root, learnt, color=shade, lw=1.2, ls="--", label=label)
        heights, edges = np.histogram(
            np.sqrt(curve.states), bins=60, range=(0.0, float(root[-1])), density=True
        )
        grid[1, 0].stairs(heights, edges, color=shade, alpha=0.9, lw=1.0)
        grid[1, 0].plot(root, 2.0 * root * curve.density, color=shade, lw=3.5, alpha=0.35)
    grid[0, 0].set(title=r"ratio $2\rho\,n(x,t)/x$", xlabel=r"$\sqrt{x}$", ylim=(0.0, 3.0))
    grid[0, 1].set(title=r"posterior mean $E[X_0 \mid X_t = x]$", xlabel=r"$\sqrt{x}$", ylim=(0.0, None))
    grid[1, 0].set(title=r"law of $\sqrt{X_t}$: exact, and the reverse sampler", xlabel=r"$\sqrt{x}$")
    grid[0, 0].legend(frameon=False, title="wide: exact, dashed: learnt")
    levels = np.linspace(0.002, 0.998, 400)
    axes = grid[1, 1]
    theirs = np.quantile(study.train, levels)
    axes.plot(theirs, theirs, color="#bbbbbb", lw=1)
    axes.plot(theirs, np.quantile(study.samples, levels), color=ACCENT, lw=1.5, label="generated")
    axes.plot(theirs, np.quantile(study.held_out, levels), color=INK, lw=1.2, label="held out (later years)")
    axes.set(
        title="quantiles against the training years",
        xscale="log",
        yscale="log",
        xlabel="variance / trailing mean",
    )
    axes.legend(frameon=False)
    return _svg(figure)


def paths_figure(comparison: Comparison) -> str:
    """A few paths of each kind, the quantiles, and the autocorrelation of the daily squares."""
    data = comparison.prepared.data
    sets = {
        "held-out": data.held_out,
        **{name: result.samples for name, result in comparison.results.items()},
    }
    figure = Figure(figsize=(10.5, 5.6), layout="constrained")
    halves = figure.add_gridspec(2, 1)
    top, bottom = figure.add_subfigure(halves[0]), figure.add_subfigure(halves[1])
    row = top.subplots(1, len(sets), sharey=True)
    days = np.arange(1, data.dimension + 1)
    limit = 1.3 * float(np.quantile(data.held_out, 0.99))
    for axes, (name, rows) in zip(row, sets.items(), strict=True):
        picked = rows[np.linspace(0, len(rows) - 1, 24).astype(int)]
        axes.plot(days, picked.T, color=_colour(name), lw=0.7, alpha=0.7)
        axes.set(title=name, xlabel="day", ylim=(min(0.0, float(np.quantile(picked, 0.01))), limit))
    left, right = bottom.subplots(1, 2)
    levels = np.linspace(0.005, 0.995, 300)
    reference = np.quantile(data.held_out, levels)
    lags = range(1, min(8, data.dimension - 1) + 1)
    for name, rows in sets.items():
        left.plot(reference, np.quantile(rows, levels), color=_colour(name), lw=1.3, label=name)
        right.plot(
            list(lags), [_lag(comparison, rows, k) for k in lags], "o-", ms=3, lw=1, color=_colour(name)
        )
    left.set(title="quantiles against the held-out ones", xlabel="held out", ylabel="generated")
    left.legend(frameon=False)
    right.axhline(0.0, color="#bbbbbb", lw=0.8)
    right.set(title="autocorrelation of the daily squares", xlabel="lag in days")
    return _svg(figure)


def images_figure(comparison: Comparison) -> str:
    """Images held out and generated, a strip each."""
    data = comparison.prepared.data
    sets = {
        "held-out": data.held_out,
        **{name: result.samples for name, result in comparison.results.items()},
    }
    figure = Figure(figsize=(10.5, 1.15 * len(sets)), layout="constrained")
    for axes, (name, rows) in zip(np.atleast_1d(figure.subplots(len(sets), 1)), sets.items(), strict=True):
        picked = rows[np.linspace(0, len(rows) - 1, 16).astype(int)].reshape(-1, data.side, data.side)
        strip = np.concatenate([np.pad(image, 1) for image in picked], axis=1)
        axes.imshow(strip, cmap="gray_r", vmin=0.0, vmax=16.0, interpolation="nearest")
        axes.set_ylabel(name)
        axes.set(xticks=[], yticks=[])
    return _svg(figure)


def error_figure(comparison: Comparison) -> str:
    """The exact error of every network against the noise level, and the training losses."""
    figure = Figure(figsize=(10.5, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, result in comparison.results.items():
        if result.errors:
            edges = [result.errors[0].low, *(error.high for error in result.errors)]
            left.stairs([e.network for e in result.errors], edges, color=_colour(name), label=name, lw=1.6)
            left.stairs([e.conjugate for e in result.errors], edges, color=_colour(name), ls=":", lw=1.2)
        size = max(1, len(result.losses) // 100)
        smooth = result.losses[: len(result.losses) // size * size].reshape(-1, size).mean(axis=1)
        right.plot(np.arange(1, len(smooth) + 1) * size, smooth, color=_colour(name), lw=1.2, label=name)
    left.set(
        xscale="log",
        yscale="log",
        xlabel="noise-to-signal ratio",
        title="exact error in nats (dotted: conjugate)",
    )
    right.set(yscale="log", xlabel="step", title="training loss")
    right.legend(frameon=False)
    return _svg(figure)


def _lag(comparison: Comparison, rows: Rows, lag: int) -> float:
    squares = comparison.prepared.data.squares
    upto, before = clustering(squares, rows, lag) * lag, 0.0
    if lag > 1:
        before = clustering(squares, rows, lag - 1) * (lag - 1)
    return upto - before


def _colour(name: str) -> str:
    return COLOURS.get(name, "#888888")


def _svg(figure: Figure) -> str:
    """The figure as an <svg> element: text stays text, and the same figure gives the same bytes."""
    _plain(figure.get_axes())
    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "driftproof", "font.size": 9.0}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return re.sub(r"^.*?(?=<svg)", "", buffer.getvalue(), flags=re.DOTALL)


def _plain(axes: Sequence[Axes]) -> None:
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.title.set_fontsize(9.5)
