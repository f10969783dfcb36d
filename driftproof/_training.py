"""The commands about recipes: ``driftproof train`` runs one, ``driftproof recipes`` lists what is shipped."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from . import __version__
from ._commands import Json, console, is_stdout, require_ours, require_torch, require_writable, write_json

__all__ = ["recipes", "train"]

# What trainings write into their folder.
TRAINED = ("report.json", "metrics.json", "log.json", "samples", "checkpoints")


def train(
    paper: Annotated[str, typer.Argument(help="The paper whose recipe is trained.")],
    config: Annotated[
        str | None,
        typer.Option(metavar="NAME|FILE", help="A recipe of driftproof recipes, or a file (TOML or JSON)."),
    ] = None,
    smoke: Annotated[bool, typer.Option("--smoke", help="A minute on two cores: does it run?")] = False,
    out: Annotated[
        Path | None,
        typer.Option(file_okay=False, help="Where checkpoints and the report go; runs/PAPER unless given."),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a value (budget.epochs=5); may be repeated."),
    ] = None,
    show_config: Annotated[
        bool,
        typer.Option("--show-config", help="Print the whole recipe as JSON for --config, and run nothing."),
    ] = False,
    stop_after: Annotated[
        float | None, typer.Option(help="Save and stop after this many seconds, with exit status 75.")
    ] = None,
    extend: Annotated[
        bool, typer.Option("--extend", help="Checkpoints of a shorter run go on as the longer one.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Tell memory and time on a GPU, from shapes alone; load and write nothing."
        ),
    ] = False,
    gpu: Annotated[
        str, typer.Option(metavar="NAME", help="Of --dry-run: h200, h100, a100-80, l40s, ...")
    ] = "h200",
    count: Annotated[int, typer.Option(help="Of --dry-run: GPUs, a process each.")] = 1,
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="no|bf16|fp16", help="Of --dry-run: that of accelerate; of the weights unless given."
        ),
    ] = None,
    json_file: Json = None,
) -> None:
    """Train the torch recipe of a paper; the same command goes on from the last checkpoint.

    Ctrl-C, SIGTERM and SIGHUP save and stop, with exit status 130, 143 and 129.
    """
    import importlib

    from .backends.torch.recipes import find, names
    from .validation.outputs import claim

    _require_paper("train", paper)
    require_torch("train")
    if config is None and (show_config or changes or dry_run or not smoke):
        beside = "--set and --show-config are about one recipe" if smoke else "or --smoke"
        raise ValueError(f"train: expected --config FILE, or one of {', '.join(names(paper))} ({beside})")
    file = None if config is None else find(paper, config)
    if show_config:
        made = _made_of(paper)
        typer.echo(made.resolved(made.load(file, smoke, changes or ())[0]))
        return
    if json_file is not None and not dry_run:
        raise ValueError("train: --json is of --dry-run; the report of a training is --out")
    if dry_run:
        assert file is not None  # a recipe was asked for above
        _tell(paper, file, smoke, changes or (), (gpu, count, precision), json_file)
        return
    out = Path("runs") / paper if out is None else out
    require_writable(None, out)
    claim(out, f"train {paper}", TRAINED)
    from .backends.torch.kit.stop import session

    with session(extend=extend, stop_after=stop_after):
        importlib.import_module(f"driftproof.backends.torch.{paper}").main(file, smoke, out, changes or ())


def _tell(
    paper: str,
    file: Path,
    smoke: bool,
    changes: Sequence[str],
    machine: tuple[str, int, str | None],
    json_file: Path | None,
) -> None:
    """What a recipe would hold and take."""
    import importlib

    from .backends.torch.kit.memory import Machine, gpu_of

    require_writable(json_file)
    require_ours(json_file, "dry-run")
    gpu, count, precision = machine
    wanted: Any = precision  # which Machine checks
    main = importlib.import_module(f"driftproof.backends.torch.{paper}").main
    if getattr(main, "dry", None) is None:
        raise ValueError(f"train: --dry-run knows methods of rollouts; {paper} trains otherwise")
    found = main.estimate(file, smoke, changes, Machine(gpu_of(gpu), count, wanted))
    if json_file is not None:
        from .validation.documents import stamped

        write_json(json_file, stamped("dry-run", {"version": __version__, **found.to_json()}))
    if not is_stdout(json_file):
        typer.echo("\n".join(found.lines()))


def recipes(
    schema: Annotated[
        str | None, typer.Option(metavar="PAPER", help="Print the JSON schema of a paper's recipes instead.")
    ] = None,
    json_file: Json = None,
) -> None:
    """List the recipes that come with the package: driftproof train PAPER --config NAME runs one."""
    import json

    from rich import box
    from rich.table import Table

    from .backends.torch.recipes import shipped
    from .validation.documents import stamped

    if schema is not None:
        _require_paper("recipes", schema)
        require_torch("recipes")
        typer.echo(json.dumps(_made_of(schema).schema(), indent=1))
        return
    require_writable(json_file)
    require_ours(json_file, "recipes")
    found = [one for paper in _papers() for one in shipped(paper)]
    content = {"version": __version__, "recipes": [one.to_json() for one in found]}
    write_json(json_file, stamped("recipes", content))
    table = Table(box=box.SIMPLE_HEAD)
    for title in ("paper", "name"):
        table.add_column(title, no_wrap=True)
    for title in ("title", "loads (and wants a GPU)", "with --smoke"):
        table.add_column(title, overflow="fold")
    for one in found:
        table.add_row(
            one.paper,
            one.name,
            one.title,
            *("\n".join(needs) or "-" for needs in (one.needs, one.smoke_needs)),
        )
    console(is_stdout(json_file)).print(table)


def _papers() -> list[str]:
    """The papers that can be trained."""
    from .backends.torch.recipes import names
    from .validation.papers import PAPERS

    return [paper for paper in PAPERS if names(paper)]


def _require_paper(command: str, paper: str) -> None:
    known = _papers()
    if paper not in known:
        near = difflib.get_close_matches(paper, known, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise LookupError(f"{command}: there is no recipe for {paper!r}; there are {', '.join(known)}{hint}")


def _made_of(paper: str) -> Any:
    """How the files of a paper become recipes."""
    import importlib

    return importlib.import_module(f"driftproof.backends.torch.{paper}.config").RECIPES
