"""A report of one claim and one training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from driftproof.validation import documents
from driftproof.validation.outcomes import ClaimOutcome, EvidenceOutcome, FigureOutcome, MutantOutcome, Run
from driftproof.validation.reporting import write
from tests.hostile.payloads import PICTURE


def settled() -> Run:
    evidence = (
        EvidenceOutcome("table", "exact", True, "holds", 0.0, 1e-12, n=3),
        EvidenceOutcome(
            "law", "statistical", True, "holds", 0.1, 0.2, 0.3, 0.4, 1e-9, 100, 5, "x = 1", "d", ("w",)
        ),
    )
    mutants = (MutantOutcome("sign", True, "table", "1 against 2"), MutantOutcome("other", None))
    claim = ClaimOutcome(
        "TOY-1", "tweedie", "A title", r"x \ge 0", ("x > 0",), ("f",), "verified", "verified", evidence, mutants,
        (FigureOutcome("graph", "A graph", PICTURE),), "Notes.\n\nMore.", 1.0,
    )  # fmt: skip
    return Run("0.1.0", 7, "quick", (claim,), 1e-6, 1, ("g",), {"numpy": "2"}, seconds=2.0)


def training() -> dict[str, Any]:
    table = {"caption": "Held out", "columns": ["model", "W1"], "rows": [["CIR", 0.0123], ["VP", None]]}
    content = {
        "title": "A market", "paper": "tweedie", "summary": "First.", "tables": [table],
        "figures": [{"caption": "Samples", "svg": PICTURE}], "meta": {"seed": 0, "recipes": {"a": [1, 2.5]}},
    }  # fmt: skip
    return documents.stamped("report", content)


def place(folder: Path, report: Any = None) -> Path:
    """A report with one training; returns the file of that."""
    write(settled(), folder)
    file = folder / "runs" / "market" / "report.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(training() if report is None else report), encoding="utf-8")
    return file
