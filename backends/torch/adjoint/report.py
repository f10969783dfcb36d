"""The report of ``adjoint``: tables and figures, written whole or not at all."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from driftproof.backends.torch.kit.changes import Change, change_metrics, change_table
from driftproof.backends.torch.kit.intervals import normal_interval, shown
from driftproof.backends.torch.kit.report import Section, section_of, svg, table_of

from .experiment import GaussianOutcome, ModelOutcome
from .trainer import COLUMNS, Tuned

__all__ = ["gaussian_section", "model_section"]

INK, BLUE, RED = "#222222", "#4c72b0", "#c8452f"


def gaussian_section(outcome: GaussianOutcome) -> Section:
    """The objective reached, the interval that the loss certifies, and the optimum."""
    o, m = outcome, outcome.recipe.matching
    inside = "lies inside" if o.holds else "lies OUTSIDE"
    rows = [
        ["objective before", f"{o.before:.6f}"],
        ["objective after", f"{o.objective:.6f}"],
        ["matching loss after", f"{o.loss:.3g}"],
        ["certified interval of the optimum", f"[{o.certified.low:.6f}, {o.certified.high:.6f}]"],
        ["exact optimum of the steps", f"{o.optimum:.6f}"],
        ["mean of the data", ", ".join(f"{v:.4f}" for v in o.mean)],
        ["mean at the optimum", ", ".join(f"{v:.4f}" for v in o.best_mean)],
    ]
    caption = (
        f"A Gaussian flow tuned for a quadratic reward, lambda = {m.lam:g}, {o.recipe.steps} Euler steps, "
        f"{o.recipe.budget.max_steps} steps of {o.recipe.budget.train_batch_size} samples. Expectations are exact: costs are "
        "quadratic in the noise. The interval comes from objective and loss alone (ADJOINT-CERTIFICATE-1)."
    )
    summary = (
        f"Gaussian flow: objective {o.before:.4f} before, {o.objective:.4f} after; the exact optimum {o.optimum:.4f} "
        f"{inside} the certified interval [{o.certified.low:.4f}, {o.certified.high:.4f}]."
    )
    figure = {
        "caption": "Objective (estimated from each batch; dashed: the exact optimum) and matching loss while training.",
        "svg": _training_figure(o.tuned, o.optimum),
    }
    tables = [table_of(caption, ["", "value"], rows)]
    return section_of(summary, tables, [figure])


def model_section(outcome: ModelOutcome) -> Section:
    """Rewards on held-out noise before and after, paired."""
    o, model = outcome, outcome.recipe.pipeline
    assert model is not None
    gain, half = normal_interval((o.after.rewards - o.before.rewards).cpu().double())
    rows = []
    for name, found, spread in (("before", o.before, o.spread[0]), ("after", o.after, o.spread[1])):
        parts = (found.rewards, found.costs, found.losses)
        cells = [shown(*normal_interval(part.cpu().double()), ".4g") for part in parts]
        rows.append([name, *cells, f"{spread:.4g}"])
    size = model.name or "a small configuration with random weights"
    caption = (
        f"{o.recipe.title}: {size}; {len(o.before.rewards)} held-out noises, 95 % intervals. "
        f"lambda = {o.recipe.matching.lam:g}, {o.recipe.steps} steps"
        + (
            f", adjoints of the last {o.recipe.matching.last} ({o.recipe.matching.mode})"
            if o.recipe.matching.last
            else ""
        )
        + f"; {o.recipe.budget.max_steps} steps of {o.recipe.budget.train_batch_size}."
    )
    clear = "a clear gain" if gain > half else "no clear gain"
    summary = f"{o.recipe.title}: reward {shown(gain, half, '+.4g')} on held-out noise, paired; {clear}."
    figure = {
        "caption": "Reward and matching loss of each batch while training.",
        "svg": _training_figure(o.tuned, None),
    }
    columns = ["", "reward", "objective", "matching loss", "deviation of pixels over noises"]
    changes = [
        Change.paired(
            f"{o.recipe.title}: {name} of {len(first)} held-out noises",
            first.cpu().numpy(),
            last.cpu().numpy(),
        )
        for name, first, last in (
            ("reward", o.before.rewards, o.after.rewards),
            ("objective", o.before.costs, o.after.costs),
            ("matching loss", o.before.losses, o.after.losses),
        )
    ]
    tables = [
        table_of(caption, columns, rows),
        change_table("Before and after, from the same noises.", changes),
    ]
    return section_of(summary, tables, [figure], metrics=change_metrics(changes))


def _training_figure(tuned: Tuned, optimum: float | None) -> str:
    figure = Figure(figsize=(8.0, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    log = tuned.log.numpy()
    steps = np.arange(1, len(log) + 1)
    name = "reward" if optimum is None else "objective"
    left.plot(steps, log[:, COLUMNS.index(name)], color=BLUE, lw=0.8)
    if optimum is not None:
        left.axhline(optimum, color=INK, lw=0.9, ls="--")
    left.set(title=name, xlabel="step")
    right.semilogy(steps, np.maximum(log[:, COLUMNS.index("loss")], 1e-30), color=RED, lw=0.8)
    right.set(title="matching loss", xlabel="step")
    return svg(figure)
