"""An audit for people: a table for a terminal, and one self-contained HTML page."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from driftproof.validation import outputs

from .rows import Report

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["page_name", "table", "write_page"]

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Audit of {{ report.target }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; vertical-align: top;
padding: .35rem .6rem; border-bottom: 1px solid #8884 } pre { overflow-x: auto; font-size: 12px }
.true, .converges { color: #18794e } .false, .nan, .diverges, .mismatch { color: #b42318 }
.uneven, .floor, .mislabelled, .conditional, .limit, .slow, .long { color: #975a16 } .unsupported { opacity: .6 }
</style></head><body>
<h1>Audit of {{ report.target }}</h1>
<p>{% for name, version in report.versions.items() %}{{ name }} {{ version }}{{ ", " if not loop.last }}{% endfor %}.
{% if samplers %}Errors of the terminal mean and standard deviation with the exact model, at the step counts
shown; a run starts at the exact marginal. {% for severity, count in samplers.items() %}{{ count }} {{ severity
}}{{ ", " if not loop.last }}{% endfor %}.{% else %}p is the student, q the teacher or reference.{% endif %}</p>
<table><tr><th>object</th><th>options</th><th>verdict</th>{% if samplers
%}<th>steps</th><th>mean error</th><th>std error</th><th>order</th><th>floor</th>{% endif %}</tr>
{% for row in report.rows %}<tr><td><code>{{ row.object }}</code></td>
<td>{% for key, value in row.options.items() %}<code>{{ key }}={{ value }}</code> {% endfor %}</td>
<td class="{{ row.severity or row.agrees | lower }}">{{ row.verdict }}
<details><summary>why, and five lines that show it</summary><p>{{ row.reason }}</p>
<pre>{{ row.reproduction }}</pre></details></td>{% if samplers
%}<td>{{ row.steps | join(" ") }}</td><td>{{ row.mean_error | errors }}</td><td>{{ row.std_error | errors }}</td>
<td>{{ "" if row.order is none else "%.1f" | format(row.order) }}</td>
<td>{{ "" if row.floor is none else "%.1e" | format(row.floor) }}</td>{% endif %}</tr>
{% endfor %}</table></body></html>
"""


def table(report: Report) -> Table:
    """The verdicts as a table for a terminal."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    last = ("mean", "std", "order") if _samplers(report) else ("error",)
    made = Table("object", "options", "verdict", *last, box=box.SIMPLE_HEAD)
    for row in report.rows:
        options = ", ".join(f"{name}={value}" for name, value in row.options.items())
        if last == ("error",):
            numbers = ["" if row.error is None else f"{row.error:.1e}"]
        else:
            numbers = [f"{errors[-1]:+.1e}" if errors else "" for errors in (row.mean_error, row.std_error)]
            numbers.append("" if row.order is None else f"{row.order:.1f}")
        made.add_row(escape(row.object), escape(options), escape(row.verdict), *numbers)
    return made


def write_page(report: Report, directory: Path) -> Path:
    """Write ``directory/audit-TARGET.html``; returns its path.

    Raises:
        ValueError: Something is there that driftproof did not write.
    """
    from jinja2 import Environment

    environment = Environment(autoescape=True)
    environment.filters["errors"] = lambda errors: " ".join(f"{error:+.0e}" for error in errors or ())
    page = environment.from_string(_PAGE).render(report=report, samplers=_samplers(report))
    outputs.write(directory, f"audit {report.target}", {page_name(report.target): page})
    return directory / page_name(report.target)


def page_name(target: str) -> str:
    """The name of the page of a target.

    Example:
        >>> page_name("mine:loss")
        'audit-mine.loss.html'
    """
    return f"audit-{target.replace(':', '.')}.html"


def _samplers(report: Report) -> Counter[str]:
    """How many samplers have each severity; nothing for a report on losses."""
    return Counter(row.severity for row in report.rows if row.severity is not None)
