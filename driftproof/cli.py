"""The command line: ``driftproof claims | verify | soak | audit | bench | train | report``.

Exit status: 0 all that was asked for is settled and every output written; 1 refuted, a planted error that
survives, or a loss that is not as documented; 2 wrong input; 3 an error, or something unsettled; 130 (ctrl-C),
143 (SIGTERM) and 129 (SIGHUP) stopped, with what was settled kept for ``--resume``.

Commands import what they need when they run: ``--help`` is quick, and torch is loaded by ``train`` and ``audit`` only.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from . import __version__

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
Json = Annotated[
    Path | None,
    typer.Option("--json", dir_okay=False, help="Write the results to this file; - is standard output."),
]


Timeout = Annotated[
    float,
    typer.Option(metavar="SECONDS", help="For a claim or an audit: what has no verdict by then is ended."),
]
LIMIT = 600.0

# What trainings write into their folder.
TRAINED = ("report.json", "metrics.json", "log.json", "samples", "checkpoints")


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

        _fail(lacking(error.name or str(error)) if isinstance(error, ModuleNotFoundError) else str(error))


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

    registry = _registry(module)
    selected = registry.select(names or ())
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("claim", min_width=max((len(made.id) for made in selected), default=0))  # never cut
    for title in ("statement", "evidence", "mutants", "expected"):
        table.add_column(title, overflow="fold")
    for made in selected:
        kinds = dict.fromkeys(item.kind.name for item in made.evidence)
        table.add_row(made.id, made.title, ", ".join(kinds), str(len(made.mutants)), made.expect)
    _console().print(table)
    typer.echo(f"{len(selected)} claim{'s' * (len(selected) != 1)}")
    _warn_of_failures(registry, names)


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
    _require_writable(json_file, html)
    _require_ours(json_file, "verify")
    if html:
        from .validation.reporting import require_writable

        require_writable(html)
    with _stoppable() as stopped:
        done = run(
            names or (),
            effort="quick" if quick else "full" if full else "normal",
            seed=seed,
            jobs=jobs,
            figures=html is not None,
            cluster=cluster,
            timeout=timeout,
            resume=resume,
            registry=_registry(module, timeout),
            progress=fitting(),
            deliver=lambda done: _deliver(done, json_file, html),
        )
    raise typer.Exit(stopped() if done.interrupted else done.status)


def _deliver(done: Any, json_file: Path | None, html: Path | None) -> None:
    from .validation.progress import verdict

    with _written():
        _write_json(json_file, done.to_json())
        if html:
            from .validation.reporting import write

            page = write(done, html, announce=lambda line: typer.echo(line, err=True))
            typer.echo(f"report: {page}", err=_is_stdout(json_file))
        typer.echo(verdict(done), err=_is_stdout(json_file))


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

    _require_writable(json_file)
    _require_ours(json_file, "soak")
    with _stoppable() as stopped, seeds_told(seeds) as announce:
        found = soak(
            names or (),
            seeds=seeds,
            start=start,
            effort="quick" if quick else "normal",
            jobs=jobs,
            cluster=cluster,
            timeout=timeout,
            resume=resume,
            registry=_registry(module, timeout),
            progress=fitting(),
            announce=announce,
        )
    with _written():
        _write_json(json_file, found.to_json())
        typer.echo(str(found), err=_is_stdout(json_file))
    raise typer.Exit(stopped() if found.interrupted else found.status)


@app.command()
def audit(
    target: Annotated[
        str,
        typer.Argument(help="diffusers, trl, or MODULE:OBJECT for a scheduler, a step or a loss of yours."),
    ],
    documented: Annotated[
        str | None, typer.Option(help="What your loss should descend (reverse_kl, gjsd(0.3), ...).")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="Its signature: logits, logp or token, where names do not tell.")
    ] = None,
    json_file: Json = None,
    html: Annotated[Path | None, typer.Option(file_okay=False, help="Write a page into this folder.")] = None,
    timeout: Timeout = LIMIT,
) -> None:
    """Audit the samplers or losses of an installed library, or yours; exit status 1 if not --documented.

    An object of yours is audited in a process of its own: if it has no verdict, that is exit status 3.
    """
    from typing import get_args

    from .validation import outputs
    from .validation.audits.losses import Kind
    from .validation.audits.page import page_name, table, write_page

    if kind not in (None, *get_args(Kind)):
        raise ValueError(f"audit: --kind is one of {', '.join(get_args(Kind))}, not {kind}")
    if target in ("diffusers", "trl"):
        _require_torch("audit")
    _require_writable(json_file, html)
    _require_ours(json_file, "audit")
    if html:
        outputs.require_free(html, f"audit {target}", [page_name(target)])
    with _stoppable():
        found, why = _audited(target, kind, documented, timeout)
    to_stderr = _is_stdout(json_file)
    with _written():
        _write_json(json_file, found.to_json())
        if html:
            typer.echo(f"page: {write_page(found, html)}", err=to_stderr)
        _console(to_stderr).print(table(found))
        typer.echo(", ".join(f"{name} {version}" for name, version in found.versions.items()), err=to_stderr)
    if why:
        _fail(f"{target}: {why}", 3)
    if documented and not all(row.agrees for row in found.rows):
        raise typer.Exit(1)


def _audited(target: str, kind: Any, documented: str | None, timeout: float) -> tuple[Any, str]:
    """The report, and why there is no verdict: an object of the user may do anything, and is supervised."""
    from .validation.audits import Report, Row, audit_target, versions
    from .validation.supervision import parcel, supervised

    asked: dict[str, Any] = {"kind": kind, "documented": documented}
    if ":" not in target:
        return audit_target(target, **asked, announce=lambda line: typer.echo(line, err=True)), ""
    account = supervised(parcel(audit_target, target, **asked), timeout, once=True)
    if account.end == "returned":
        return account.result, ""
    if isinstance(account.result, ValueError | LookupError | TypeError | ImportError):
        raise account.result
    row = Row(target, {}, f"no verdict: {account.why}", account.why, f"driftproof audit {target}")
    return Report(target, versions(target.partition(".")[0].partition(":")[0]), (row,)), account.why


@app.command()
def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Benchmarks; all unless given.")] = None,
    json_file: Json = None,
) -> None:
    """Compare with the peers, in one run, as ratios."""
    from .validation.benchmarks import benchmark, table
    from .validation.documents import stamped

    _require_writable(json_file)
    _require_ours(json_file, "bench")
    rows = benchmark(names or (), announce=lambda line: typer.echo(line, err=True))
    _write_json(json_file, stamped("bench", {"version": __version__, "rows": rows}))
    _console(_is_stdout(json_file)).print(table(rows))


@app.command()
def train(
    paper: Annotated[str, typer.Argument(help="The paper whose recipe is trained.")],
    config: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The recipe (TOML).")
    ] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="A minute on two cores: does it run?")] = False,
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Where checkpoints and the report go; runs/PAPER unless given."),
    ] = None,
    stop_after: Annotated[
        float | None, typer.Option(help="Save and stop after this many seconds, with exit status 75.")
    ] = None,
    extend: Annotated[
        bool, typer.Option("--extend", help="Checkpoints of a shorter run go on as the longer one.")
    ] = False,
) -> None:
    """Train the torch recipe of a paper; the same command goes on from the last checkpoint.

    Ctrl-C, SIGTERM and SIGHUP save and stop, with exit status 130, 143 and 129.
    """
    import importlib

    from .validation.outputs import claim

    recipes = _recipes()
    if paper not in recipes:
        raise LookupError(f"train: there is no recipe for {paper!r}; there are {', '.join(recipes)}")
    _require_torch("train")
    if config is None and not smoke:
        raise ValueError("train: expected --config FILE (or --smoke)")
    out = Path("runs") / paper if out is None else out
    _require_writable(None, out)
    claim(out, f"train {paper}", TRAINED)
    from .backends.torch.kit.stop import session

    with session(extend=extend, stop_after=stop_after):
        importlib.import_module(f"driftproof.backends.torch.{paper}").main(config, smoke, out)


@app.command()
def report(directory: Annotated[Path, typer.Argument(exists=True, file_okay=False)]) -> None:
    """Rebuild the page from DIRECTORY/verify.json and DIRECTORY/runs/*/report.json."""
    from .validation.reporting import rebuild

    typer.echo(f"report: {rebuild(directory)}")


def _registry(modules: list[str] | None, timeout: float = LIMIT) -> Any:
    from .validation.registry import REGISTRY

    if modules:
        sys.path.insert(0, os.getcwd())  # modules beside the user, as with python -m
    for module in modules or ():
        _import(module, timeout)
    return REGISTRY.load()


def _import(module: str, timeout: float) -> None:
    """Import a module of the user: first elsewhere, since what exits or hangs would take this process along."""
    import importlib

    from .validation.missing import absent
    from .validation.registry import REGISTRY, LoadFailure
    from .validation.supervision import imported, parcel, supervised

    account = supervised(parcel(imported, module), timeout, once=True)
    if isinstance(account.result, ImportError) and (why := absent(account.result)):
        REGISTRY.failures.append(LoadFailure(module, module, why, skipped=True))
        return
    if account.end != "returned":
        missing = isinstance(account.result, ModuleNotFoundError | SyntaxError)
        _fail(f"--module {module}: {account.why}", 2 if missing else 3)
    importlib.import_module(module)


@contextmanager
def _stoppable() -> Iterator[Callable[[], int]]:
    """SIGTERM and SIGHUP end the body as ctrl-C does; gives the exit status that tells by what."""
    by = signal.SIGINT

    def stop(number: int, _: object) -> NoReturn:
        nonlocal by
        by = signal.Signals(number)
        raise KeyboardInterrupt

    others = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
    # What the caller has chosen to ignore (nohup) stays ignored.
    before = {n: signal.signal(n, stop) for n in others if signal.getsignal(n) is signal.SIG_DFL}
    try:
        yield lambda: 128 + by
    except KeyboardInterrupt:
        raise typer.Exit(128 + by) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _written() -> Iterator[None]:
    """What cannot be written is an error, not wrong input."""
    try:
        yield
    except OSError as error:
        _fail(f"cannot write the results: {error}", 3)


def _warn_of_failures(registry: Any, names: list[str] | None) -> None:
    failures = registry.selected_failures(names or ())
    for failure in failures:
        typer.echo(f"{failure.module} does not import: {failure.reason}", err=True)
    if not all(failure.skipped for failure in failures):
        raise typer.Exit(3)


def _recipes() -> list[str]:
    """The papers that can be trained."""
    from importlib.resources import files

    from .validation.papers import PAPERS

    below = files("driftproof.backends") / "torch" / "recipes"
    return [paper for paper in PAPERS if (below / paper).is_dir()]


def _require_torch(command: str) -> None:
    from .validation.missing import installed, lacking

    if not installed("torch"):
        raise ValueError(f"{command}: {lacking('torch')}")


def _require_writable(file: Path | None, folder: Path | None = None) -> None:
    """Find out before the work, not after it, that its results cannot be kept."""
    for place in (folder, file.parent if file and not _is_stdout(file) else None):
        if place is None:
            continue
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(f"cannot write below {place}: {error.strerror}") from error
        if not os.access(place, os.W_OK):
            raise PermissionError(f"cannot write below {place}: permission denied")


def _require_ours(file: Path | None, kind: str) -> None:
    """Find out before the work that its document would take the place of something else."""
    if file is not None and not _is_stdout(file):
        from .validation.documents import require_ours

        require_ours(file, kind)


def _is_stdout(file: Path | None) -> bool:
    return file == Path("-")


def _write_json(file: Path | None, document: Any) -> None:
    if file is None:
        return
    text = json.dumps(document, indent=1, allow_nan=False) + "\n"
    if _is_stdout(file):
        typer.echo(text, nl=False)
        return
    from .validation.journal import write_atomically

    write_atomically(file, text)


def _console(to_stderr: bool = False) -> Any:
    from rich.console import Console

    stream = sys.stderr if to_stderr else sys.stdout
    # Off a terminal rich assumes 80 columns and cuts cells: give tables the room that they need.
    return Console(file=stream) if stream.isatty() else Console(file=stream, width=200)


def _fail(message: str, status: int = 2) -> NoReturn:
    typer.echo(f"error: {message}", err=True)
    raise SystemExit(status)
