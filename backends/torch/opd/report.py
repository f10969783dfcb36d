"""The report of a distillation: one table, written whole or not at all."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from .experiment import Outcome, interval

__all__ = ["write"]


def write(
    out: Path, title: str, before: Outcome, outcomes: Sequence[Outcome], meta: Mapping[str, object]
) -> None:
    """Write ``out/report.json``: a row for each contender, with intervals over seeds."""
    rows = [
        [row.label, interval(row.accuracy), interval(row.kl), str(len(row.kl))] for row in (before, *outcomes)
    ]
    start = sum(before.kl) / len(before.kl)
    away = [row.label for row in outcomes if sum(row.kl) / len(row.kl) > start]
    summary = (
        "Further from the teacher than before distillation: " + "; ".join(away) + "."
        if away
        else "No contender ended further from the teacher than it began."
    )
    report = {
        "title": title,
        "paper": "opd",
        "summary": summary,
        "tables": [
            {
                "caption": "Held-out prompts; mean and 95 % interval over seeds",
                "columns": ["distilled by", "right answers", "KL(p|q) per token, nats", "seeds"],
                "rows": rows,
            }
        ],
        "figures": [],
        "meta": {
            **meta,
            "versions": {
                "python": platform.python_version(),
                **{name: version(name) for name in ("torch", "transformers", "accelerate")},
            },
        },
    }
    out.mkdir(parents=True, exist_ok=True)
    partial = out / f".report.json.{os.getpid()}.part"
    partial.write_text(json.dumps(report, indent=1), encoding="utf-8")
    os.replace(partial, out / "report.json")
