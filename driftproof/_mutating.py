"""The command ``driftproof mutate``: errors that nobody declared, drawn at random."""

from __future__ import annotations

from typing import Annotated

import typer

from ._commands import (
    LIMIT,
    Json,
    claims_registry,
    is_stdout,
    require_ours,
    require_writable,
    stoppable,
    write_json,
    written,
)

__all__ = ["mutate"]


def mutate(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Modules, packages and papers (theory, numerics.rates, opd); theory and numerics."
        ),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many errors.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw; a larger count continues it.")] = 0,
    tests: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH", help="Also run the tests of this file or folder that touch a line."),
    ] = None,
    test_seconds: Annotated[float, typer.Option(help="What tests may take for one error.")] = 60.0,
    replay: Annotated[
        list[str] | None,
        typer.Option(metavar="FILE:LINE:COLUMN-END:OPERATOR", help="Try this error instead, as printed."),
    ] = None,
    at_least: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Exit status 1 if a smaller share is noticed.")
    ] = 1.0,
    normal: Annotated[
        bool, typer.Option("--normal/--quick", help="The effort of the claims' evidence.")
    ] = False,
    jobs: Annotated[int, typer.Option(help="Worker processes; -1 takes every core.")] = -1,
    json_file: Json = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue, or extend, an earlier campaign.")
    ] = False,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="For one error, by the clock.")] = LIMIT,
    module: Annotated[
        list[str] | None, typer.Option("--module", help="Also import claims from this module.")
    ] = None,
) -> None:
    """Plant random errors and see what claims and tests notice; exit status 1 if anything survives.

    For code of your own: driftproof mutate mine.kernels --module mine.claims --tests tests.
    """
    from .validation.mutation import mutate as campaign
    from .validation.progress import mutants_told

    require_writable(json_file)
    require_ours(json_file, "mutate")
    with stoppable() as stopped, mutants_told(len(replay or ()) or count) as (recording, announce):
        found = campaign(
            names or (),
            count=count,
            seed=seed,
            replay=replay or (),
            tests=tests or (),
            test_seconds=test_seconds,
            effort="normal" if normal else "quick",
            at_least=at_least,
            jobs=jobs,
            timeout=timeout,
            resume=resume,
            registry=claims_registry(module, timeout),
            recording=recording,
            announce=announce,
        )
    with written():
        write_json(json_file, found.to_json())
        typer.echo(str(found), err=is_stdout(json_file))
    raise typer.Exit(stopped() if found.interrupted else found.status)
