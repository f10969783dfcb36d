"""The figure of a comparison, as SVG text."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from driftproof.backends.torch.kit.intervals import student_interval
from driftproof.backends.torch.kit.report import svg

from .fewshot import Curves

__all__ = ["curves_figure"]

COLOURS = {
    "direct": "#222222",
    "source only": "#999999",
    "transport": "#4c72b0",
    "transport, known classes": "#8a5aa8",
    "transport, estimated classes": "#c59ad6",
    "transport, labels": "#c8452f",
    "fine-tuned": "#b07a1c",
    "wrong source": "#3a8f5c",
    "wrong source, chosen penalty": "#8fc9a5",
    "source features": "#7fb2d9",
    "ridge towards source": "#7fb2d9",
}


def curves_figure(curves: Curves) -> str:
    """Errors against sample sizes, with bands over seeds."""
    figure = Figure(figsize=(9.4, 4.4), layout="constrained")
    axis = figure.subplots()
    for name, errors in curves.errors.items():
        # Methods that skip a size have NaN there.
        kept = ~np.isnan(errors).any(axis=1)
        sizes, values = np.asarray(curves.sizes)[kept], errors[kept]
        mean, half = student_interval(values.T)
        colour = COLOURS.get(name, "#000000")
        style = "--" if name in ("source only", "wrong source") else "-"
        axis.plot(sizes, mean, style, color=colour, lw=1.5, marker="o", ms=3, label=name)
        axis.fill_between(sizes, np.maximum(mean - half, 1e-4), mean + half, color=colour, alpha=0.12, lw=0)
    axis.set(xscale="log", yscale="log", xlabel=curves.unit, ylabel="error", title=curves.name)
    axis.set_xticks(curves.sizes, [str(size) for size in curves.sizes], minor=False)
    means = np.concatenate([errors.mean(axis=1) for errors in curves.errors.values()])
    low, high = 0.7 * float(np.nanmin(means)), 1.3 * float(np.nanmax(means))
    ticks = [tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0) if low <= tick <= high]
    axis.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_ylim(max(low, 1e-3), high)
    axis.minorticks_off()
    # Beside the curves: a dozen names would cover them.
    figure.legend(loc="outside right center", frameon=False, fontsize=8)
    return svg(figure)
