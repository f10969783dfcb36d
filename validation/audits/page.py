"""An audit for people: a table for a terminal, and one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..journal import write_atomically
from .rows import Report

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["table", "write_page"]

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Audit of {{ report.target }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; vertical-align: top;
padding: .35rem .6rem; border-bottom: 1px solid #8884 } pre { overflow-x: auto; font-size: 12px }
.true { color: #18794e } .false { color: #b42318 }
</style></head><body>
<h1>Audit of {{ report.target }}</h1>
<p>{% for name, version in report.versions.items() %}{{ name }} {{ version }}{{ ", " if not loop.last }}{% endfor %}.
p is the student, q the teacher or reference.</p>
<table><tr><th>object</th><th>options</th><th>verdict</th></tr>
{% for row in report.rows %}<tr><td><code>{{ row.object }}</code></td>
<td>{% for key, value in row.options.items() %}<code>{{ key }}={{ value }}</code> {% endfor %}</td>
<td class="{{ row.agrees | lower }}">{{ row.verdict }}
<details><summary>why, and five lines that show it</summary><p>{{ row.reason }}</p>
<pre>{{ row.reproduction }}</pre></details></td></tr>
{% endfor %}</table></body></html>
"""


def table(report: Report) -> Table:
    """The verdicts as a table for a terminal."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    made = Table("object", "options", "verdict", "error", box=box.SIMPLE_HEAD)
    for row in report.rows:
        options = ", ".join(f"{name}={value}" for name, value in row.options.items())
        error = "" if row.error is None else f"{row.error:.1e}"
        made.add_row(escape(row.object), escape(options), escape(row.verdict), error)
    return made


def write_page(report: Report, directory: Path) -> Path:
    """Write ``directory/audit-TARGET.html``; returns its path."""
    from jinja2 import Environment

    page = Environment(autoescape=True).from_string(_PAGE).render(report=report)
    file = directory / f"audit-{report.target.replace(':', '.')}.html"
    write_atomically(file, page)
    return file
