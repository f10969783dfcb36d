"""The report of ``diffpo``: accuracy beside evaluations, with intervals over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from driftproof.backends.torch.kit.intervals import student_text
from driftproof.backends.torch.kit.report import Section, section_of, svg, table_of

from .config import Recipe
from .experiment import LEARNED, Outcome

__all__ = ["section"]


def section(recipe: Recipe, outcomes: Sequence[Outcome]) -> Section:
    """A row for each method and threshold; changes are paired, each seed with itself before."""
    before, *after = outcomes
    rows = [row for outcome in outcomes for row in _rows(outcome, before)]
    caption = (
        f"{recipe.evaluation} puzzles of unseen grids with {recipe.clues} clues for each seed, the same puzzles and noise for "
        f"all rows; mean and 95 % Student interval over {len(recipe.seeds)} seeds. A threshold is an entropy bound in nats."
    )
    columns = ["trained by", "threshold", "solved", "its change", "evaluations", "their change"]
    training = [
        [outcome.label, student_text([_ends(row)[0] for row in outcome.rewards]), student_text([_ends(row)[1] for row in outcome.rewards])]
        for outcome in after
    ]  # fmt: skip
    tables = [
        table_of(caption, columns, rows),
        table_of(
            "Mean reward of rollouts, less what evaluations cost, in the first and in the last fifth of training",
            ["trained by", "first", "last"],
            training,
        ),
    ]
    metrics = {
        outcome.label: [
            {name: [point.accuracy, point.evaluations] for name, point in points.items()}
            for points in outcome.points
        ]
        for outcome in outcomes
    }
    figures = [{"caption": "Accuracy beside evaluations, means over seeds", "svg": svg(_figure(outcomes))}]
    return section_of(_summary(before, after), tables, figures, metrics={"sudoku": metrics})


def _rows(outcome: Outcome, before: Outcome) -> list[list[str]]:
    rows = []
    for name in outcome.points[0]:
        found = [points[name] for points in outcome.points]
        cells = [
            student_text([p.accuracy for p in found]),
            "",
            student_text([p.evaluations for p in found]),
            "",
        ]
        if outcome is not before and name in before.points[0]:
            pairs = list(zip(found, (points[name] for points in before.points), strict=True))
            cells[1] = student_text([a.accuracy - b.accuracy for a, b in pairs])
            cells[3] = student_text([a.evaluations - b.evaluations for a, b in pairs])
        shown = f"{name}, mean {student_text(outcome.chosen)}" if name == LEARNED else name
        rows.append([outcome.label, shown, *cells])
    return rows


def _summary(before: Outcome, after: Sequence[Outcome]) -> str:
    """The change of accuracy at the largest threshold, where most is to be gained."""
    last = list(before.points[0])[-1]
    said = []
    for outcome in after:
        pairs = zip(outcome.points, before.points, strict=True)
        said.append(
            f"{outcome.label} {student_text([a[last].accuracy - b[last].accuracy for a, b in pairs])}"
        )
    return f"Share of puzzles solved at the threshold {last}, change by training: {'; '.join(said)}."


def _ends(rewards: Sequence[float]) -> tuple[float, float]:
    """Means over the first and the last fifth."""
    fifth = max(1, len(rewards) // 5)
    return sum(rewards[:fifth]) / fifth, sum(rewards[-fifth:]) / fifth


def _figure(outcomes: Sequence[Outcome]) -> Figure:
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes: Any = figure.subplots()
    for outcome in outcomes:
        names = [name for name in outcome.points[0] if name != LEARNED]
        n = len(outcome.points)
        means = [
            (sum(p[name].evaluations for p in outcome.points) / n, sum(p[name].accuracy for p in outcome.points) / n)
            for name in names
        ]  # fmt: skip
        line = axes.plot(*zip(*means, strict=True), marker="o", ms=3, label=outcome.label)[0]
        if LEARNED in outcome.points[0]:
            x = sum(p[LEARNED].evaluations for p in outcome.points) / n
            y = sum(p[LEARNED].accuracy for p in outcome.points) / n
            axes.plot([x], [y], marker="*", ms=10, color=line.get_color())
    axes.set(xlabel="evaluations", ylabel="puzzles solved")
    axes.legend(frameon=False)
    return figure
