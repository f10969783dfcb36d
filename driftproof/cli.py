"""The command line.

``driftproof claims | verify | soak | coverage | mutate | audit | bench | train | grid | recipes | models | report | inventory``

Exit status: 0 all that was asked for is settled and every output written; 1 refuted, a planted error that
survives, an audit at or above ``--fail-on``, or a loss that is not as documented; 2 wrong input; 3 an error, or
something unsettled; 130 (ctrl-C), 143 (SIGTERM) and 129 (SIGHUP) stopped, with what was settled kept for ``--resume``.

Commands import what they need when they run: ``--help`` is quick, and torch is loaded by ``train``, ``grid`` and
``audit`` only.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from . import __version__
from ._commands import (
    LIMIT,
    Json,
    claims_registry,
    console,
    fail,
    is_stdout,
    require_ours,
    require_torch,
    require_writable,
    stoppable,
    warn_of_failures,
    write_json,
    written,
)
from ._covering import coverage
from ._grids import grid
from ._models import models
from ._mutating import mutate
from ._training import recipes, train

__all__ = ["main"]

app = typer.Typer(
    name="driftproof",
    help="Theorems about diffusion, distillation and alignment, checked.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Names = Annotated[
    list[str] | None, typer.Argument(help="Papers and claim ids (TWEEDIE-CIR-*); all unless given.")
]
Modules = Annotated[list[str] | None, typer.Option("--module", help="Also import claims from this module.")]
Timeout = Annotated[
    float,
    typer.Option(metavar="SECONDS", help="For a claim or an audit: what has no verdict by then is ended."),
]

# By their files, as importing them would make --help slow.
_FILES = (Path(__file__).parent / "validation" / "benchmarks").glob("[a-z]*.py")
_BENCHMARKS = ", ".join(sorted(file.stem for file in _FILES))


def main() -> None:
    """Run the command line; wrong input ends with one line and exit status 2, whatever else with 3."""
    try:
        app()
    except SystemExit as ended:
        if isinstance(ended.__context__, OSError):  # nobody reads what is written
            raise SystemExit(3) from ended
        raise
    except Exception as error:
        known = isinstance(error, ValueError | LookupError | TypeError | OSError | ImportError)
        ours = isinstance(error, ImportError) and (error.name or "").startswith("driftproof")
        if os.environ.get("DRIFTPROOF_TRACEBACK") or ours or not known:
            import traceback

            traceback.print_exc()
            raise SystemExit(2 if known and not ours else 3) from error
        from .validation.missing import lacking

        fail(lacking(error.name or str(error)) if isinstance(error, ModuleNotFoundError) else str(error))


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"driftproof {__version__}")
        raise typer.Exit


@app.command()
def claims(names: Names = None, module: Modules = None) -> None:
    """List the claims."""
    from rich import box
    from rich.table import Table

    registry = claims_registry(module)
    selected = registry.select(names or ())
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("claim", min_width=max((len(made.id) for made in selected), default=0))  # never cut
    for title in ("statement", "evidence", "mutants", "expected"):
        table.add_column(title, overflow="fold")
    for made in selected:
        kinds = dict.fromkeys(item.kind.name for item in made.evidence)
        table.add_row(made.id, made.title, ", ".join(kinds), str(len(made.mutants)), made.expect)
    console().print(table)
    typer.echo(f"{len(selected)} claim{'s' * (len(selected) != 1)}")
    warn_of_failures(registry, names)


@app.command()
def verify(
    names: Names = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="A tenth of the Monte Carlo: at most a minute.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Everything, tenfold Monte Carlo.")] = False,
    jobs: Annotated[int, typer.Option(help="Worker processes; -1 takes every core.")] = -1,
    seed: Annotated[int, typer.Option(min=0, help="Replays a run exactly.")] = 0,
    json_file: Json = None,
    html: Annotated[
        Path | None, typer.Option(file_okay=False, help="Write the report below this folder.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a run that was interrupted.")] = False,
    cluster: Annotated[str | None, typer.Option(help="dask://HOST:PORT or ray.")] = None,
    timeout: Timeout = LIMIT,
    module: Modules = None,
) -> None:
    """Settle the claims; exit status 1 on a refutation or a surviving mutant, 3 where a verdict is missing."""
    from .validation.progress import fitting
    from .validation.runner import run

    if quick and full:
        raise ValueError("verify: --quick and --full exclude each other")
    require_writable(json_file, html)
    require_ours(json_file, "verify")
    if html:
        from .validation import reporting

        reporting.require_writable(html)
    with stoppable() as stopped:
        done = run(
            names or (),
            effort="quick" if quick else "full" if full else "normal",
            seed=seed,
            jobs=jobs,
            figures=html is not None,
            cluster=cluster,
            timeout=timeout,
            resume=resume,
            registry=claims_registry(module, timeout),
            progress=fitting(),
            deliver=lambda done: _deliver(done, json_file, html),
        )
    raise typer.Exit(stopped() if done.interrupted else done.status)


def _deliver(done: Any, json_file: Path | None, html: Path | None) -> None:
    from .validation.progress import verdict

    with written():
        write_json(json_file, done.to_json())
        if html:
            from .validation.reporting import write

            page = write(done, html, announce=lambda line: typer.echo(line, err=True))
            typer.echo(f"report: {page}", err=is_stdout(json_file))
        typer.echo(verdict(done), err=is_stdout(json_file))


@app.command()
def soak(
    names: Names = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds.")] = 100,
    start: Annotated[int, typer.Option(min=0, help="The first one.")] = 0,
    quick: Annotated[bool, typer.Option("--quick/--normal", help="The effort for each seed.")] = True,
    jobs: Annotated[int, typer.Option(help="Worker processes; -1 takes every core.")] = -1,
    json_file: Json = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue a soak that was interrupted.")] = False,
    cluster: Annotated[str | None, typer.Option(help="dask://HOST:PORT or ray.")] = None,
    timeout: Timeout = LIMIT,
    module: Modules = None,
) -> None:
    """Settle what depends on the seed under many seeds; exit status 1 if a verdict flips, 3 after an error."""
    from .validation.progress import fitting, seeds_told
    from .validation.soak import soak

    require_writable(json_file)
    require_ours(json_file, "soak")
    with stoppable() as stopped, seeds_told(seeds) as announce:
        found = soak(
            names or (),
            seeds=seeds,
            start=start,
            effort="quick" if quick else "normal",
            jobs=jobs,
            cluster=cluster,
            timeout=timeout,
            resume=resume,
            registry=claims_registry(module, timeout),
            progress=fitting(),
            announce=announce,
        )
    with written():
        write_json(json_file, found.to_json())
        typer.echo(str(found), err=is_stdout(json_file))
    raise typer.Exit(stopped() if found.interrupted else found.status)


@app.command()
def audit(
    target: Annotated[
        str,
        typer.Argument(
            help="diffusers, k_diffusion, azula, trl, ..., or MODULE:OBJECT for an object of yours."
        ),
    ],
    documented: Annotated[
        str | None, typer.Option(help="What your loss should descend (reverse_kl, gjsd(0.3), ...).")
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            help="Its form: logits, logp, sampled, preference, policy or tokens, where names do not tell."
        ),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="CLASS", help="Only this sampler of the library.")
    ] = None,
    fail_on: Annotated[
        str | None, typer.Option(help="Exit status 1 from this severity on: nan, diverges, mismatch, ...")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Leave out what confirms good verdicts.")] = False,
    jobs: Annotated[int, typer.Option(help="Processes for a library; -1 takes every core.")] = -1,
    json_file: Json = None,
    html: Annotated[Path | None, typer.Option(file_okay=False, help="Write a page into this folder.")] = None,
    timeout: Timeout = LIMIT,
) -> None:
    """Audit the samplers or losses of an installed library, or yours; exit status 1 from --fail-on on.

    A loss fails if it is not as --documented.  Each class of diffusers and each object of yours is audited in a
    process of its own: if it has no verdict, that is exit status 3.
    """
    from .validation import outputs
    from .validation.audits.forms import FORMS
    from .validation.audits.page import page_name, table, write_page
    from .validation.audits.running import audited
    from .validation.audits.severity import FAIL_ON, Severity, exit_status

    if fail_on not in (None, *Severity):
        raise ValueError(f"audit: --fail-on is one of {', '.join(Severity)}, not {fail_on}")
    if only and (target == "trl" or ":" in target):
        raise ValueError("audit: --only chooses among the samplers of a library")

    if form not in (None, *FORMS):
        raise ValueError(f"audit: --form is one of {', '.join(FORMS)}, not {form}")
    if target in ("diffusers", "trl"):
        require_torch("audit")
    require_writable(json_file, html)
    require_ours(json_file, "audit")
    if html:
        outputs.require_free(html, f"audit {target}", [page_name(target)])
    with stoppable():
        asked = {"form": form, "documented": documented}
        found, why = audited(target, asked, only or (), jobs=jobs, fast=fast, timeout=timeout)
    to_stderr = is_stdout(json_file)
    with written():
        write_json(json_file, found.to_json())
        if html:
            typer.echo(f"page: {write_page(found, html)}", err=to_stderr)
        console(to_stderr).print(table(found))
        typer.echo(", ".join(f"{name} {version}" for name, version in found.versions.items()), err=to_stderr)
    if why:
        fail(f"{target}: {why}", 3)
    severities = [row.severity for row in found.rows]
    status = exit_status(severities, Severity(fail_on) if fail_on else FAIL_ON)
    if documented and not all(row.agrees for row in found.rows):
        status = 1 if any(row.agrees is False for row in found.rows) else 3
    raise typer.Exit(status)


@app.command()
def bench(
    names: Annotated[list[str] | None, typer.Argument(help=f"Of {_BENCHMARKS}; all unless given.")] = None,
    json_file: Json = None,
) -> None:
    """Compare with the peers, in one run, as ratios."""
    from .validation.benchmarks import benchmark, table
    from .validation.documents import stamped

    require_writable(json_file)
    require_ours(json_file, "bench")
    rows = benchmark(names or (), announce=lambda line: typer.echo(line, err=True))
    write_json(json_file, stamped("bench", {"version": __version__, "rows": rows}))
    console(is_stdout(json_file)).print(table(rows))


app.command()(coverage)
app.command()(grid)
app.command()(mutate)
app.command()(train)
app.command()(recipes)
app.add_typer(models, name="models")


@app.command()
def report(directory: Annotated[Path, typer.Argument(exists=True, file_okay=False)]) -> None:
    """Rebuild the page from DIRECTORY/verify.json and DIRECTORY/runs/*/report.json."""
    from .validation.reporting import rebuild

    typer.echo(f"report: {rebuild(directory)}")


@app.command()
def inventory(json_file: Json = None) -> None:
    """List the public functions, laws and processes of theory and numerics, each marked array or scalar."""
    from collections import Counter

    from .validation.documents import stamped
    from .validation.inventory import inventory

    require_writable(json_file)
    require_ours(json_file, "inventory")
    entries = inventory()
    if json_file is None:
        for entry in entries:
            typer.echo(f"{entry.kind:9}{entry.takes:7}{entry.name}({', '.join(entry.arguments)})")
        counts = Counter((entry.takes, entry.kind) for entry in entries)
        typer.echo(", ".join(f"{count} {takes} {kind}" for (takes, kind), count in sorted(counts.items())))
    content = {"version": __version__, "entries": [entry.to_json() for entry in entries]}
    write_json(json_file, stamped("inventory", content))
