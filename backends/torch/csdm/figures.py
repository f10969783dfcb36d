"""Figures of the report: inline SVG, one function each."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from driftproof.backends.torch.kit.report import svg

from .experiment import Study

__all__ = ["budget_figure", "samples_figure"]

COLOURS = ("#7fb2d9", "#4c72b0", "#8a5aa8", "#c8452f")


def budget_figure(study: Study) -> str:
    """Two distances and the decoding error against the latent dimension, a line for each budget."""
    figure = Figure(figsize=(10.5, 3.4), layout="constrained")
    panels = figure.subplots(1, 3)
    budgets = study.recipe.sampling.budgets
    for axes, name in zip(panels, ("W1", "MMD", "decoding error"), strict=True):
        for i, (budget, colour) in enumerate(zip(budgets, COLOURS, strict=False)):
            aside = 0.012 * study.data.dimension * (i - 0.5 * (len(budgets) - 1))  # or bars hide each other
            rows = [row for row in study.rows if row.budget == budget]
            decoded = [row for row in rows if row.factor > 0.0]
            plain = [row for row in rows if row.factor == 0.0]
            for group, style, label in ((decoded, "o-", f"{budget}"), (plain, "s", None)):
                values = [
                    row.decoding if name == "decoding error" else row.metrics[name].value for row in group
                ]
                bars = [0.0 if name == "decoding error" else row.metrics[name].half_width for row in group]
                axes.errorbar(
                    [row.m + aside for row in group],
                    values,
                    bars,
                    fmt=style,
                    color=colour,
                    markersize=4,
                    linewidth=1.2,
                    elinewidth=0.7,
                    label=label,
                    markerfacecolor="none" if style == "s" else colour,
                )
        if name in study.floor:
            axes.axhline(study.floor[name].value, color="#bbbbbb", linewidth=0.9)
        low, high = axes.get_xlim()
        for p in study.predictions:
            inside = p.best <= study.data.dimension
            at = p.best if inside else study.data.dimension + 0.02 * (high - low)
            axes.axvline(at, color="#222222", linewidth=0.8, linestyle="--" if inside else ":")
            text = f"{p.energy:.0%}" if inside else f"{p.energy:.0%}: {p.best:.0f} →"
            height = 0.98 - 0.07 * study.predictions.index(p)
            axes.text(
                at, height, text, transform=axes.get_xaxis_transform(), ha="right", va="top", fontsize=7
            )
        axes.set(xlabel="latent dimension m", title=name)
    lines = panels[0].get_legend_handles_labels()
    figure.legend(*lines, loc="outside right center", frameon=False, title="coordinates\na sample")
    return svg(figure)


def samples_figure(study: Study) -> str:
    """Held-out rows, samples of the sketch nearest to the prediction, and of the full dimension."""
    d = study.data.dimension
    sketched = [label for label in study.samples if label.startswith("m = ")]
    middle = study.predictions[len(study.predictions) // 2].best
    nearest = min(sketched, key=lambda label: abs(int(label[4:]) - min(middle, d)))
    picked = np.linspace(0, len(study.data.held_out) - 1, 24).astype(int)
    sets = {
        "held-out": study.data.held_out[picked],
        nearest: study.samples[nearest],
        "full dimension": study.samples["full dimension"],
    }
    if study.data.side:
        figure = Figure(figsize=(10.5, 2.4), layout="constrained")
        for axes, (name, rows) in zip(figure.subplots(3, 1), sets.items(), strict=True):
            images = rows[:16].reshape(-1, study.data.side, study.data.side)
            strip = np.concatenate([np.pad(image, 1) for image in images], axis=1)
            axes.imshow(strip, cmap="gray_r", vmin=0.0, vmax=16.0, interpolation="nearest")
            axes.set_ylabel(name, rotation=0, ha="right", va="center")
            axes.set(xticks=[], yticks=[])
        return svg(figure)
    figure = Figure(figsize=(10.5, 2.8), layout="constrained")
    for axes, (name, rows) in zip(figure.subplots(1, 3, sharey=True), sets.items(), strict=True):
        axes.plot(np.arange(1, d + 1), rows.T, color="#4c72b0", linewidth=0.7, alpha=0.7)
        axes.set(title=name, xlabel="day")
    return svg(figure)
