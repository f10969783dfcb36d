"""The atlas: what audits of installed libraries found, as a record and as lines of a page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from driftproof.validation.audits.severity import Severity
from driftproof.validation.documents import read

__all__ = ["lines", "take"]

KEPT = ("object", "options", "severity", "verdict", "reproduction")
# What a verdict of each severity says, and what to do.
MEANT: Mapping[str, str] = {
    Severity.NAN: "a state is not a number",
    Severity.DIVERGES: "the error does not fall with the number of steps",
    Severity.MISMATCH: "the state is at another noise level than the model is told",
    Severity.UNEVEN: "wrong at some step counts, right at their neighbours",
    Severity.FLOOR: "it converges, to something else than the data",
    Severity.MISLABELLED: "a network is told another level than the step uses",
    Severity.CONDITIONAL: "right with another model than the denoiser of its prediction",
    Severity.LIMIT: "right in the limit only: the mean is off at every step count",
    Severity.SLOW: "of a lower order than it states",
    Severity.LONG: "right at usual step counts, and not a number at 999 or 1000",
    Severity.CONVERGES: "it converges",
    Severity.UNSUPPORTED: "no verdict: why is said",
    "not as documented": "the gradient is that of another objective than the documentation names",
    "nothing documented": "the gradient is compared with all objectives",
    "as documented": "the gradient is that of the documented objective",
}
GOOD = (Severity.CONVERGES, Severity.UNSUPPORTED, "as documented")
# A loss has no severity: it is what is said of it, or not.
OF_A_LOSS = {True: "as documented", False: "not as documented", None: "nothing documented"}
LONGEST = 230


def take(file: Path, pages: Path) -> None:
    """Keep of a document of ``driftproof audit LIBRARY --json`` what the page shows."""
    found = read(file, "audit")
    rows = [
        {**{key: row[key] for key in KEPT}, "severity": row["severity"] or OF_A_LOSS[row["agrees"]]}
        for row in found["rows"]
    ]
    record = {"target": found["target"], "versions": found["versions"], "rows": rows}
    there = pages / "data" / "atlas" / f"{found['target'].replace(':', '.')}.json"
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def lines(record: Path, library: str) -> list[str]:
    """Counts by severity, then each class with its settings that are not simply right, and five lines for the first."""
    file = record / "data" / "atlas" / f"{library}.json"
    if not file.is_file():
        return ["Not audited yet."]
    found = json.loads(file.read_text(encoding="utf-8"))
    places = list(MEANT)
    rows = sorted(
        found["rows"], key=lambda row: (places.index(row["severity"]), row["object"], str(row["options"]))
    )
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    told = [f"{len(rows)} rows ({versions}).", "", "| severity | rows | it says |", "| --- | --: | --- |"]
    counts = Counter(row["severity"] for row in rows)
    told += [
        f"| {severity} | {counts[severity]} | {MEANT[severity]} |" for severity in places if counts[severity]
    ]
    worse = [row for row in rows if row["severity"] not in GOOD]
    told += ["", "| setting | severity | verdict |", "| --- | --- | --- |"]
    told += [f"| `{_setting(row)}` | {row['severity']} | {_short(row['verdict'])} |" for row in worse]
    first: dict[tuple[str, str], Any] = {}
    for row in worse:
        first.setdefault((row["object"], row["severity"]), row)
    for (name, severity), row in first.items():
        told += [
            "",
            f"<details><summary>{name}: {severity}</summary>",
            "",
            "```text",
            row["reproduction"],
            "```",
            "</details>",
        ]
    return [*told, ""]


def _setting(row: Mapping[str, Any]) -> str:
    chosen = ", ".join(f"{name}={value!r}" for name, value in row["options"].items())
    return f"{row['object']}({chosen})".replace("|", r"\|")


def _short(verdict: str) -> str:
    told = " ".join(verdict.split()).replace("|", r"\|").replace("<", "&lt;")
    return told if len(told) <= LONGEST else f"{told[:LONGEST].rsplit(' ', 1)[0]} …"
