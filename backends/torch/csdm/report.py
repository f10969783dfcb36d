"""The report of the studies: tables and figures, written whole or not at all."""

from __future__ import annotations

from typing import Any

from driftproof.backends.torch.kit.report import Section, section_of, table_of

from .experiment import Row, Study
from .figures import budget_figure, samples_figure

__all__ = ["study_section"]


def study_section(study: Study) -> Section:
    """A table and two figures of a study."""
    return section_of(_summary(study), [_table(study)], _figures(study))


def _prediction(study: Study) -> str:
    """Sparsity, what it needs and what is predicted to be best, for each share of energy."""
    d = study.data.dimension
    cases = [
        f"{p.energy:.0%} of a row's energy lies in {p.sparsity} of {d} coefficients, which need {p.needed:.0f} "
        f"measurements and are best sketched to {p.best:.0f}" + (" (so not at all)" if p.best >= d else "")
        for p in study.predictions
    ]
    return "; ".join(cases)


def _summary(study: Study) -> str:
    """The prediction, and who is nearest in each distance at the largest budget; the table has the others."""
    budget = max(study.recipe.sampling.budgets)
    found = f"at {budget} coordinates a sample {_nearest(study, budget, 'W1')}, and {_nearest(study, budget, 'MMD')}"
    return f"{study.recipe.title}: {_prediction(study)}. Found: {found}."


def _nearest(study: Study, budget: int, metric: str) -> str:
    full = _full(study, budget)
    best = min((r for r in study.rows if r.budget == budget), key=lambda r: r.metrics[metric].value)
    if best is full:
        return f"the full dimension is nearest in {metric} ({full.metrics[metric]})"
    gap = full.metrics[metric] - best.metrics[metric]
    clear = "beyond" if gap.value > gap.half_width else "within"
    return (
        f"{best.label} is nearest in {metric}, {gap} nearer than the full dimension ({clear} the error bars)"
    )


def _table(study: Study) -> dict[str, Any]:
    drawdowns = any(row.tail is not None for row in study.rows)
    columns = [
        "",
        "coordinates a sample",
        "steps",
        "penalty / universal",
        "decoding error",
        "W1",
        "W1 less the full dimension's",
        "MMD",
    ]
    columns += ["95 % drawdown, less held-out"] if drawdowns else []
    floor = ["training rows", "", "", "", "", str(study.floor["W1"]), "", str(study.floor["MMD"])]
    caption = (
        f"{study.recipe.title} ({study.data.source}). {_prediction(study)}. Distances from held-out rows, "
        "1.96 bootstrap standard errors, differences paired; decoding error: of held-out rows with the noise of the last step, in "
        "standard deviations. One network size and one number of training steps for all."
    )
    rows = [
        floor + ([""] if drawdowns else []),
        *(_cells(row, _full(study, row.budget), drawdowns) for row in study.rows),
    ]
    return table_of(caption, columns, rows)


def _full(study: Study, budget: int) -> Row:
    return next(row for row in study.rows if row.label == "full dimension" and row.budget == budget)


def _cells(row: Row, full: Row, drawdowns: bool) -> list[str]:
    cells = [
        row.label,
        str(row.budget),
        str(row.steps),
        f"{row.factor:g}" if row.factor else "",
        f"{row.decoding:.3f}",
        str(row.metrics["W1"]),
        "" if row is full else str(row.metrics["W1"] - full.metrics["W1"]),
        str(row.metrics["MMD"]),
    ]
    return [*cells, "" if row.tail is None else f"{row.tail:.3f}"] if drawdowns else cells


def _figures(study: Study) -> list[dict[str, str]]:
    return [
        {
            "caption": f"{study.recipe.title}: distance from the held-out rows against the latent dimension, at equal "
            "budgets; dashed lines are the predicted best for a share of the energy (dotted: beyond the full dimension), open symbols are the full dimension without a decoder.",
            "svg": budget_figure(study),
        },
        {
            "caption": f"{study.recipe.title}: held-out rows and samples at the largest budget.",
            "svg": samples_figure(study),
        },
    ]
