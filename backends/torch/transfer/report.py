"""What a run leaves behind: tables of errors and of fitted curves, a figure for each comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.intervals import student_interval
from driftproof.backends.torch.kit.report import Section, section_of, table_of
from driftproof.numerics.transfer import CurveFit, fit_curve, transfer_gain

from .fewshot import Curves
from .figures import curves_figure

__all__ = ["comparisons_section", "fitted"]


def fitted(curves: Curves) -> dict[str, CurveFit]:
    """A fitted curve for each method that has every size and changes with it."""
    fits = {}
    for name, errors in curves.errors.items():
        # An error of 0 in a finite test is no error rate of 0: half of a per mille at least.
        risks = np.maximum(errors, 5e-4)
        if np.isfinite(risks).all() and not np.allclose(risks, risks[:1]) and len(curves.sizes) >= 4:
            fits[name] = fit_curve(np.asarray(curves.sizes, dtype=np.float64), risks)
    return fits


def comparisons_section(compared: Sequence[Curves]) -> Section:
    """Tables of errors and fitted curves, a figure for each comparison."""
    tables: list[dict[str, Any]] = []
    figures, sentences = [], []
    for curves in compared:
        fits = fitted(curves)
        tables.append(_errors(curves))
        if fits:
            tables.append(_curves(curves, fits))
        caption = f"{curves.name}: error on held-out target rows; bands are 95 % intervals over seeds."
        figures.append({"caption": caption, "svg": curves_figure(curves)})
        sentences.append(_verdict(curves))
    return section_of(" ".join(sentences), tables, figures)


def _errors(curves: Curves) -> dict[str, Any]:
    seeds = next(iter(curves.errors.values())).shape[1]
    rows = []
    for name, errors in curves.errors.items():
        cells = [
            "" if np.isnan(row).any() else "{:.3f} ± {:.2g}".format(*student_interval(row)) for row in errors
        ]
        rows.append([name, *cells])
    caption = f"{curves.name}: error by {curves.unit}; mean and 95 % interval over {seeds} seeds"
    return table_of(caption, ["", *map(str, curves.sizes)], rows)


def _curves(curves: Curves, fits: Mapping[str, CurveFit]) -> dict[str, Any]:
    rows = []
    middle = curves.sizes[len(curves.sizes) // 2]
    for name, fit in fits.items():
        low, high = fit.floor_interval
        start = str(curves.sizes[fit.burn_in]) if fit.fits else "none fits"
        gain = _gain(fits, fit, middle) if name != "direct" else ""
        rows.append(
            [
                name,
                _exponent(fit),
                f"{fit.floor:.3f} [{low:.3f}, {high:.3f}]",
                start,
                gain,
            ]
        )
    columns = ["", "exponent", "floor", "curve from", f"gain over direct at its error with {middle}"]
    return table_of(f"{curves.name}: fitted learning curves, with 95 % intervals", columns, rows)


def _exponent(fit: CurveFit) -> str:
    low, high = fit.exponent_interval
    if fit.constant <= 0.0:
        return "does not fall"
    end = "∞)" if high == math.inf else f"{high:.2f}]"
    return f"{fit.exponent:.2f} [{low:.2f}, {end}"


def _gain(fits: Mapping[str, CurveFit], fit: CurveFit, size: int) -> str:
    if "direct" not in fits:
        return ""
    try:
        gain = transfer_gain(fits["direct"], fit, fits["direct"](size))
    except UnmetHypothesis:
        return "neither reaches it"
    return "never reaches it" if gain == 0.0 else f"{gain:.2g}"


def _verdict(curves: Curves) -> str:
    """From which size on direct learning is ahead of transport without labels; where transfer is negative."""
    direct, transport = curves.errors["direct"].mean(axis=1), curves.errors["transport"].mean(axis=1)
    ahead = [size for size, a, b in zip(curves.sizes, direct, transport, strict=True) if a < b]
    worst = curves.errors["wrong source"].mean(axis=1) > direct
    first = (
        f"transport without labels stays ahead of direct learning up to {curves.sizes[-1]} {curves.unit}"
        if not ahead
        else f"direct learning is ahead of transport without labels from {ahead[0]} {curves.unit}"
    )
    return f"{curves.name}: {first}; a wrong source is worse than none at {int(worst.sum())} of {len(worst)} sizes."
