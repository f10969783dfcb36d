"""The report of a distillation: one table, written whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence

from driftproof.backends.torch.kit.changes import change_metrics, change_table
from driftproof.backends.torch.kit.intervals import student_text
from driftproof.backends.torch.kit.report import Section, section_of, table_of

from .experiment import Outcome

__all__ = ["comparison_section"]


def comparison_section(title: str, before: Outcome, outcomes: Sequence[Outcome]) -> Section:
    """A row for each method, with intervals over seeds."""
    rows = [[row.label, *_cells(row, before), str(len(row.kl))] for row in (before, *outcomes)]
    nearer = {row.label: _nearer(row, before) for row in outcomes if row.label != "teacher"}
    n = len(before.kl)
    away = [label for label, count in nearer.items() if count == 0]
    some = [f"{label} ({count} of {n})" for label, count in nearer.items() if count]
    summary = " ".join(
        f"{said}: {'; '.join(labels)}."
        for said, labels in (
            ("Every student ended further from the teacher than it began by", away),
            ("Students that came nearer to the teacher, by", some),
        )
        if labels
    )
    table = table_of(
        "Held-out prompts; mean and 95 % interval over seeds; changes are paired: "
        "each student against itself before distillation",
        [
            "distilled by",
            "right answers",
            "their change",
            "KL(p|q) per token, nats",
            "its change",
            "its ratio to before, each seed",
            "seeds",
        ],
        rows,
    )
    changes = [row.change_from(before, title) for row in outcomes if row.label != "teacher"]
    changed = change_table("The first student before and after, prompt by prompt.", changes)
    return section_of(summary, [table, changed], metrics=change_metrics(changes))


def _cells(row: Outcome, before: Outcome) -> list[str]:
    """Values, and changes of each student: the students differ more than the methods do."""
    if row.label in (before.label, "teacher"):
        return [student_text(row.accuracy), "", student_text(row.kl), "", ""]
    better = [after - start for after, start in zip(row.accuracy, before.accuracy, strict=True)]
    nearer = [after - start for after, start in zip(row.kl, before.kl, strict=True)]
    ratios = ", ".join(f"{after / start:.2g}" for after, start in zip(row.kl, before.kl, strict=True))
    return [
        student_text(row.accuracy),
        student_text(better),
        student_text(row.kl),
        student_text(nearer),
        ratios,
    ]


def _nearer(row: Outcome, before: Outcome) -> int:
    """How many students ended nearer to the teacher than they began."""
    return sum(after < start for after, start in zip(row.kl, before.kl, strict=True))
