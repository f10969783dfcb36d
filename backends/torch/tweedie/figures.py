"""Figures of the report: inline SVG, one function each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from driftproof.backends.torch.kit.report import svg
from driftproof.backends.torch.score_models.metrics import autocorrelation

from .experiment import Comparison
from .laws import LawsStudy

__all__ = ["error_figure", "images_figure", "laws_figure", "paths_figure"]

Rows = NDArray[np.float64]

INK, ACCENT = "#222222", "#c8452f"
SHADES = ("#7fb2d9", "#4c72b0", "#8a5aa8", ACCENT)
COLOURS: Mapping[str, str] = {"held-out": INK, "VP": "#4c72b0", "GBM": "#b07a1c", "CIR": ACCENT}


def laws_figure(study: LawsStudy) -> str:
    """The count and the marginal at four noise levels, the posterior mean, and samples beside data."""
    figure = Figure(figsize=(10.5, 8.0), layout="constrained")
    cells = figure.add_gridspec(3, 4)
    for column, curve in enumerate(study.curves):
        root = np.sqrt(curve.x)
        above, below = (figure.add_subplot(cells[row, column]) for row in range(2))
        above.plot(root, curve.exact, color=INK, lw=3.5, alpha=0.25, label="exact")
        above.plot(root, curve.learnt, color=ACCENT, lw=1.3, ls="--", label="learnt")
        above.set(title=rf"$2\rho\,n(x,t)/x$ at $r = {curve.ratio:.2g}$")
        heights, edges = np.histogram(
            np.sqrt(curve.states), bins=40, range=(0.0, float(root[-1])), density=True
        )
        below.stairs(heights, edges, color=ACCENT, lw=1.0, label="reverse sampler")
        below.plot(root, 2.0 * root * curve.density, color=INK, lw=3.5, alpha=0.25, label="exact")
        below.set(title=r"density of $X_t^{1/2}$", xlabel=r"$\sqrt{x}$")
        if column == 0:
            above.legend(frameon=False)
            below.set_ylim(top=1.5 * float(heights.max()))  # room above the curves
            below.legend(frameon=False, loc="upper right")
    left, right = figure.add_subplot(cells[2, :2]), figure.add_subplot(cells[2, 2:])
    for curve, shade in zip(study.curves, SHADES, strict=True):
        left.plot(np.sqrt(curve.x), curve.exact_mean, color=shade, lw=3.5, alpha=0.35)
        left.plot(
            np.sqrt(curve.x), curve.learnt_mean, color=shade, lw=1.2, ls="--", label=f"r = {curve.ratio:.2g}"
        )
    left.set(
        title=r"$E[X_0 \mid X_t = x]$: exact (wide), learnt (dashed)", xlabel=r"$\sqrt{x}$", ylim=(0.0, None)
    )
    left.legend(frameon=False)
    levels = np.linspace(0.002, 0.998, 400)
    theirs = np.quantile(study.train, levels)
    right.plot(theirs, theirs, color="#bbbbbb", lw=1)
    right.plot(theirs, np.quantile(study.samples, levels), color=ACCENT, lw=1.5, label="generated")
    right.plot(theirs, np.quantile(study.held_out, levels), color=INK, lw=1.2, label="held out (later years)")
    title = "quantiles of the variance against the training years"
    right.set(title=title, xscale="log", yscale="log", xlabel="variance / trailing mean")
    right.legend(frameon=False)
    return svg(figure)


def paths_figure(comparison: Comparison) -> str:
    """A few rows of each kind, the quantiles and, for paths, the autocorrelation of the daily squares."""
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
    for name, rows in sets.items():
        left.plot(reference, np.quantile(rows, levels), color=_colour(name), lw=1.3, label=name)
        if data.squares(rows) is not None and data.dimension > 1:
            lags = autocorrelation(data.squares, rows)[:8]
            right.plot(np.arange(1, len(lags) + 1), lags, "o-", ms=3, lw=1, color=_colour(name))
    left.set(title="quantiles against the held-out ones", xlabel="held out", ylabel="generated")
    left.legend(frameon=False)
    right.axhline(0.0, color="#bbbbbb", lw=0.8)
    right.set(title="autocorrelation of the daily squares", xlabel="lag in days")
    return svg(figure)


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
    return svg(figure)


def error_figure(comparison: Comparison) -> str:
    """The exact error of every network against the noise level, and the training losses."""
    figure = Figure(figsize=(10.5, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, result in comparison.results.items():
        if result.errors:
            edges = [result.errors[0].low, *(error.high for error in result.errors)]
            left.stairs(
                [e.network for e in result.errors],
                edges,
                baseline=None,
                color=_colour(name),
                label=name,
                lw=1.6,
            )
            left.stairs(
                [e.conjugate for e in result.errors],
                edges,
                baseline=None,
                color=_colour(name),
                ls=":",
                lw=1.2,
            )
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
    return svg(figure)


def _colour(name: str) -> str:
    return COLOURS.get(name, "#888888")


def _plain(axes: Sequence[Axes]) -> None:
    for one in axes:
        one.spines[["top", "right"]].set_visible(False)
        one.title.set_fontsize(9.5)
