"""The report of ``score_as_action``: tables and figures, written whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from driftproof.backends.torch.kit.changes import change_metrics, change_table
from driftproof.backends.torch.kit.intervals import shown
from driftproof.backends.torch.kit.report import Section, section_of, svg, table_of

from .experiment import GaussianOutcome, PipelineOutcome

__all__ = ["LEVEL", "gaussian_section", "pipeline_section"]


LEVEL = 0.99
COLOURS = {"pathwise": "#4c72b0", "advantage": "#c8452f", "ppo": "#55813c"}


def gaussian_section(outcome: GaussianOutcome) -> Section:
    """Where the actors ended, and the optimum that they should have reached."""
    recipe, best, before = outcome.recipe, outcome.optimum, outcome.before
    assert recipe.gaussian is not None  # the outcome of a Gaussian run
    gain = best.objective - before.objective

    def law(mean: Any, cov: Any, halves: Any = None) -> list[str]:
        entries = [*np.asarray(mean), *np.asarray(cov)[np.triu_indices(len(mean))]]
        if halves is None:
            return [f"{v:.4f}" for v in entries]
        return [shown(v, h, ".4f") for v, h in zip(entries, halves, strict=True)]

    d = len(best.mean)
    pairs = [f"C{i + 1}{j + 1}" for i, j in zip(*np.triu_indices(d), strict=True)]
    columns = [
        "",
        *[f"m{i + 1}" for i in range(d)],
        *pairs,
        "objective, exact",
        "objective, measured",
        "of the gain",
    ]
    rows = [["before", *law(before.mean, before.cov), f"{before.objective:.4f}", "", "0 %"]]
    verdicts = []
    for actor, ends in outcome.ends.items():
        mean, half = outcome.interval(actor, LEVEL)
        ended = float(np.mean([end.objective for end in ends]))
        value, error = outcome.measured[actor]
        cov = np.zeros((d, d))
        cov[np.triu_indices(d)] = mean[d:]
        name = f"{actor}, {len(ends)} seeds"
        share = f"{100 * (ended - before.objective) / gain:.2f} %"
        rows.append(
            [name, *law(mean[:d], cov, half), f"{ended:.4f}", f"{value:.4f} ± {2.58 * error:.2g}", share]
        )
        verdicts.append(
            f"{actor} {'inside' if outcome.inside(actor, LEVEL) else 'OUTSIDE'} ({share} of the gain)"
        )
    rows.append(
        ["exact optimum of the N steps", *law(best.mean, best.cov), f"{best.objective:.4f}", "", "100 %"]
    )
    rows.append(["optimum of infinitely many steps", *law(*outcome.continuous), "", "", ""])
    caption = (
        f"Gaussian model, N = {recipe.sampling.steps}, eta = {recipe.sampling.eta:g}, beta = {recipe.budget.beta:g}. "
        f"Mean m and covariance C of the samples are exact for the trained weights; {100 * LEVEL:g} % Student "
        f"intervals over seeds, jointly for all numbers of a row (Bonferroni): an actor that is off by more than "
        f"the half-width is seen. Measured: {recipe.evaluation} fresh trajectories a seed, 99 %."
    )
    summary = f"Gaussian model: the exact optimum lies, for {'; '.join(verdicts)} of the {100 * LEVEL:g} % intervals."
    figure = {
        "caption": "Objective of every rollout, seeds averaged; dashed: the exact optimum of the N steps, dotted: "
        "the pre-trained policy.",
        "svg": _curves(
            {
                a: np.mean([log.column("objective") for log in logs], axis=0)
                for a, logs in outcome.logs.items()
            },
            "objective",
            {"--": best.objective, ":": before.objective},
        ),
    }
    return section_of(summary, [table_of(caption, columns, rows)], [figure])


def pipeline_section(outcome: PipelineOutcome) -> Section:
    """Rewards of the first and the last rollouts."""
    recipe = outcome.recipe
    rows = []
    for actor, log in outcome.logs.items():
        reward, span = log.column("reward"), max(1, log.epochs // 4)
        rows.append(
            [
                actor,
                f"{np.mean(reward[:span]):.4g}",
                f"{np.mean(reward[-span:]):.4g}",
                f"{log.column('kl')[-1]:.3g}",
                f"{log.column('critic')[0]:.3g}",
                f"{log.column('critic')[-1]:.3g}",
            ]
        )
    columns = [
        "actor",
        "reward, first quarter",
        "last quarter",
        "KL of the paths",
        "critic's loss, first",
        "last",
    ]
    caption = f"{recipe.title}: skip = {recipe.critic.skip}, {recipe.critic.loss} critic."
    summary = f"{recipe.title}: " + "; ".join(f"{r[0]}: reward {r[1]} to {r[2]}" for r in rows) + "."
    curves = {actor: np.asarray(log.column("reward")) for actor, log in outcome.logs.items()}
    figure = {
        "caption": f"{recipe.title}: mean reward of every rollout.",
        "svg": _curves(curves, "reward", {}),
    }
    changed = change_table("Before and after, from the same starts.", outcome.changes)
    return section_of(
        summary,
        [table_of(caption, columns, rows), changed],
        [figure],
        metrics=change_metrics(outcome.changes),
    )


def _curves(curves: Mapping[str, Any], label: str, levels: Mapping[str, float]) -> str:
    """One curve for each actor, as an <svg> element: the same figure gives the same bytes."""
    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.subplots()
    for actor, values in curves.items():
        axes.plot(np.arange(1, len(values) + 1), values, color=COLOURS[actor], lw=1.2, label=actor)
    for style, level in levels.items():
        axes.axhline(level, color="#555555", lw=0.9, ls=style)
    axes.set(xlabel="epoch", ylabel=label)
    axes.legend(frameon=False)
    return svg(figure)
