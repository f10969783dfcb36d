"""The report of ``reward_gap``: tables and figures, written whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from driftproof.backends.torch.kit.changes import change_metrics, change_table
from driftproof.backends.torch.kit.intervals import shown
from driftproof.backends.torch.kit.report import Section, section_of, table_of

from .experiment import GaussianOutcome, PipelineOutcome
from .figures import gaussian_figure, pipeline_figure

__all__ = ["LEVEL", "gaussian_section", "pipeline_section"]

LEVEL = 0.99


def gaussian_section(outcome: GaussianOutcome) -> Section:
    """Where the runs ended, and the optimum that they should have reached."""
    recipe, exact, optimum = outcome.recipe, outcome.exact, outcome.optimum
    found = outcome.interval(LEVEL)
    ended = (found[0][0], found[1][0])
    inside = all(abs(mean - best) <= half for (mean, half), best in zip(found, optimum, strict=True))
    limit = outcome.continuous
    columns = ["", "theta", "kappa", "reward, ODE", "reward, SDE", "gap"]

    def values(name: str, theta: str, kappa: str, point: tuple[float, float]) -> list[str]:
        ode, sde = (exact.reward(*point, eta_zero=eta_zero) for eta_zero in (True, False))
        return [name, theta, kappa, f"{ode:.4f}", f"{sde:.4f}", f"{ode - sde:+.4f}"]

    rows = [
        values("before", "0", "1", (0.0, 1.0)),
        values(
            f"trained, {len(outcome.logs)} seeds", shown(*found[0], ".4f"), shown(*found[1], ".4f"), ended
        ),
        values("exact optimum of the N steps", f"{optimum[0]:.4f}", f"{optimum[1]:.4f}", optimum),
    ]
    if limit is not None:
        numbers = [f"{v:.4f}" for v in (limit.theta, limit.kappa, limit.deployed, limit.trained)]
        rows.append(["optimum of infinitely many steps", *numbers, f"{limit.gap:+.4f}"])
    windows = f", window of {recipe.window.size}" if recipe.method == "mixgrpo" and recipe.window.size else ""
    caption = (
        f"Gaussian model, {recipe.method}{windows}, N = {exact.sampler.n_steps}, training eta = "
        f"{recipe.sampling.eta:g}, beta = {recipe.budget.beta:g} ({recipe.budget.kl}). Parameters: mean over the "
        f"last {100 * outcome.model.tail:.0f} % of the epochs, {100 * LEVEL:g} % Student interval over seeds; "
        "rewards are exact for these parameters."
    )
    if len(outcome.logs) < 2:
        verdict = "One seed has no interval"
    else:
        verdict = f"The optimum lies {'inside' if inside else 'outside'} of the {100 * LEVEL:g} % intervals"
    summary = (
        f"Gaussian model: trained to theta {shown(*found[0], '.4f')}, kappa {shown(*found[1], '.4f')}; the exact optimum is "
        f"{optimum[0]:.4f}, {optimum[1]:.4f}. {verdict}."
    )
    tables = [
        table_of(caption, columns, rows),
        _gaps(outcome.logs[0].gaps, recipe.title),
    ]
    figure = {
        "caption": "Exact rewards of the parameters while training (dots: measured on paired seeds, with "
        "intervals), and the parameters of every seed; dashed: the exact optimum of the N steps.",
        "svg": gaussian_figure(outcome),
    }
    return section_of(summary, tables, [figure])


def pipeline_section(outcome: PipelineOutcome) -> Section:
    """Rewards before and after, on the ODE and on the SDE."""
    (_, before), (_, after) = outcome.log.gaps[0], outcome.log.gaps[-1]
    title = outcome.recipe.title
    figure = {
        "caption": f"{title}: reward while training, and the gap between the samplers on paired seeds.",
        "svg": pipeline_figure(outcome),
    }
    summary = (
        f"{title}: reward of the ODE {before.ode:.4g} before, {after.ode:.4g} after; gap to the SDE {after}."
    )
    changed = change_table("Before and after, from the same starts.", [outcome.change])
    return section_of(
        summary, [_gaps(outcome.log.gaps, title), changed], [figure], metrics=change_metrics([outcome.change])
    )


def _gaps(gaps: Sequence[tuple[int, Any]], title: str) -> dict[str, Any]:
    first = gaps[0][1]
    caption = (
        f"{title}: mean reward at eta = 0 and at the training eta from the same {first.pairs} starts; gap with "
        f"its {100 * first.level:g} % Student interval (each alone, not jointly)."
    )
    rows = [
        [str(epochs), f"{g.ode:.4g}", f"{g.sde:.4g}", f"{g.gap:+.3g} [{g.low:+.3g}, {g.high:+.3g}]"]
        for epochs, g in gaps
    ]
    return table_of(caption, ["epochs", "reward, ODE", "reward, SDE", "gap"], rows)
