"""The section of a report on grids: errors, distances of images, levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from driftproof.backends.torch.kit.intervals import student_text
from driftproof.backends.torch.kit.report import Section, section_of, svg, table_of

from .experiment import CARRIED, CLOSED, DEFAULT, LOCAL, Row, Study
from .schedule import ARTSchedule

__all__ = ["figure_of_levels", "schedule_figure", "study_section"]

SHOWN = (DEFAULT, "uniform", "log-SNR", "EDM", CLOSED, LOCAL, CARRIED)


def study_section(study: Study) -> Section:
    """Tables of errors and, for images, of Fréchet distances; figures of the errors and of the levels."""
    recipe = study.recipe
    tables = [_errors(study, settings) for settings in _settings(study)]
    if study.floor is not None:
        tables.append(_distances(study))
    caption = f"{recipe.title}: what measuring cost in evaluations of the network, for any number of steps"
    tables.append(table_of(caption, ["grid, solver", "evaluations"], list(study.evaluations.items())))
    most = max(recipe.steps)
    levels = {
        row.grid: row.levels
        for row in study.rows
        if row.steps == most and row.solver == recipe.solvers[0] and row.grid in SHOWN
    }
    caption = f"{recipe.title}: the levels of {most} steps of {recipe.solvers[0]}."
    figures = [
        {
            "caption": f"{recipe.title}: error at the end against the number of steps.",
            "svg": svg(_figure_of_errors(study)),
        },
        {"caption": caption, "svg": svg(figure_of_levels(levels))},
    ]
    metrics = {
        f"{recipe.name}, {row.grid}, {row.solver}, {row.steps}": {
            "error": list(row.errors),
            "levels": row.levels.tolist(),
        }
        for row in study.rows
    }
    return section_of(_summary(study), tables, figures, metrics=metrics)


def figure_of_levels(levels: Mapping[str, ArrayLike]) -> Figure:
    """Levels against their place in the grid; a last 0 is left out where the axis is logarithmic."""
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.subplots()
    flow = all(np.max(np.asarray(grid)) <= 1.0 for grid in levels.values())
    for name, grid in levels.items():
        values = np.asarray(grid, dtype=np.float64)
        kept = values if flow else np.where(values > 0.0, values, np.nan)
        axes.plot(np.linspace(0.0, 1.0, len(values)), kept, marker="o", markersize=3, label=name)
    axes.set_xlabel("share of the steps")
    axes.set_ylabel("noise time" if flow else "noise level / signal level")
    axes.set_yscale("linear" if flow else "log")
    axes.legend(fontsize=7.5, frameon=False)
    return figure


def schedule_figure(schedule: ARTSchedule, others: Mapping[str, Sequence[float]]) -> str:
    """The levels of a grid beside others, as an <svg> element."""
    return svg(figure_of_levels({**others, "this grid": schedule.levels}))


def _settings(study: Study) -> list[tuple[str, int]]:
    return [(solver, steps) for solver in study.recipe.solvers for steps in study.recipe.steps]


def _of(study: Study, solver: str, steps: int) -> list[Row]:
    found = [row for row in study.rows if (row.solver, row.steps) == (solver, steps)]
    return sorted(found, key=lambda row: float(np.mean(row.errors)))


def _errors(study: Study, setting: tuple[str, int]) -> dict[str, Any]:
    solver, steps = setting
    rows = _of(study, *setting)
    usual = next(row for row in rows if row.grid == DEFAULT)
    table = []
    for row in rows:
        shares = np.asarray(row.errors) / np.asarray(usual.errors)
        table.append([row.grid, student_text(row.errors), student_text(shares)])
    return table_of(
        f"{study.recipe.title}: {steps} steps of {solver}: root mean square distance from a reference of "
        f"{study.recipe.reference} steps of Heun, from the same noise; mean of {len(study.recipe.seeds)} seeds with 95 % intervals",
        ["grid", "error", "over that of the default (paired)"],
        table,
    )


def _distances(study: Study) -> dict[str, Any]:
    table = []
    for solver, steps in _settings(study):
        rows = _of(study, solver, steps)
        usual = next(row for row in rows if row.grid == DEFAULT)
        for row in rows:
            assert row.frechet is not None and usual.frechet is not None
            less = row.frechet - usual.frechet
            table.append(
                [f"{solver}, {steps}", row.grid, str(row.frechet), "" if row is usual else str(less)]
            )
    return table_of(
        f"{study.recipe.title}: Fréchet distance in features of mnist-classifier from 500 digits held out "
        f"(real digits, as many: {study.floor}; the reference: {study.reference}); the same noise and prompts for all, 95 % "
        "bootstrap intervals",
        ["solver, steps", "grid", "distance", "less that of the default (paired)"],
        table,
    )


def _summary(study: Study) -> str:
    """The grids with errors carried beside those without, and beside the least of all others: no ranking but that."""
    said = []
    for solver, steps in _settings(study):
        errors = {row.grid: float(np.mean(row.errors)) for row in _of(study, solver, steps)}
        learned = {name: errors.pop(name) for name in (LOCAL, CARRIED)}
        exact = errors.pop(CLOSED, None)
        least = min(errors, key=lambda name: errors[name])
        beside = f", {learned[CARRIED] / exact:.3f} times that of the closed form" if exact else ""
        said.append(
            f"{steps} steps of {solver}: error {learned[CARRIED]:.3g} with errors carried, {learned[LOCAL]:.3g} with local ones, "
            f"{errors[least]:.3g} for {least}, the best of the others, {errors[DEFAULT]:.3g} for the default{beside}"
        )
    return f"{study.recipe.title}: {'; '.join(said)}."


def _figure_of_errors(study: Study) -> Figure:
    solvers = study.recipe.solvers
    figure = Figure(figsize=(3.4 * len(solvers) + 1.6, 3.4), layout="constrained")
    panels = figure.subplots(1, len(solvers), squeeze=False)[0]
    for axes, solver in zip(panels, solvers, strict=True):
        for name in SHOWN:
            found = [row for row in study.rows if row.grid == name and row.solver == solver]
            if found:
                axes.plot(
                    [row.steps for row in found],
                    [np.mean(row.errors) for row in found],
                    marker="o",
                    markersize=3,
                    label=name,
                )
        axes.set(xscale="log", yscale="log", xlabel="steps", title=solver)
        axes.set_xticks(study.recipe.steps, [str(steps) for steps in study.recipe.steps])
        axes.minorticks_off()
    panels[0].set_ylabel("error at the end")
    panels[-1].legend(fontsize=7.5, frameon=False)
    return figure
