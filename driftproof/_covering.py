"""The command ``driftproof coverage``: what of the code the evidence of claims runs at all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._commands import (
    LIMIT,
    Json,
    claims_registry,
    is_stdout,
    require_ours,
    require_writable,
    write_json,
    written,
)

__all__ = ["coverage"]


def coverage(
    names: Annotated[
        list[str] | None, typer.Argument(help="Papers and claim ids (TWEEDIE-CIR-*); all unless given.")
    ] = None,
    of: Annotated[
        list[str] | None,
        typer.Option("--of", help="Package or module that is recorded; theory and numerics unless given."),
    ] = None,
    normal: Annotated[
        bool, typer.Option("--normal/--quick", help="The effort of the claims' evidence.")
    ] = False,
    at_least: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Exit status 1 if a smaller share is run.")
    ] = 0.0,
    jobs: Annotated[int, typer.Option(help="Processes at once; -1 takes every core.")] = -1,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="For a claim, on average.")] = LIMIT,
    json_file: Json = None,
    html: Annotated[
        Path | None, typer.Option(file_okay=False, help="Put the table into the report of this folder.")
    ] = None,
    module: Annotated[
        list[str] | None, typer.Option("--module", help="Also import claims from this module.")
    ] = None,
) -> None:
    """Record which lines and branches the evidence of claims runs, without their planted errors."""
    from .validation import reporting
    from .validation.covering import PACKAGES, covering

    require_writable(json_file, html)
    require_ours(json_file, "coverage")
    if html:
        require_ours(html / "coverage.json", "coverage")
    found = covering(
        names or (),
        packages=of or PACKAGES,
        modules=module or (),
        effort="normal" if normal else "quick",
        jobs=jobs,
        timeout=timeout,
        registry=claims_registry(module, timeout),
        announce=lambda line: typer.echo(line, err=True),
    )
    with written():
        write_json(json_file, found.to_json())
        if html:
            typer.echo(f"report: {reporting.add_coverage(found, html)}", err=is_stdout(json_file))
        typer.echo(str(found), err=is_stdout(json_file))
    raise typer.Exit(1 if found.total().share < at_least else 0)
