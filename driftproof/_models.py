"""``driftproof models``: the small trained models that come with the package, and how to make them again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ._commands import console, require_torch, require_writable

__all__ = ["models"]

models = typer.Typer(help="Small trained models that come with the package: list, show, retrain.")


@models.callback(invoke_without_command=True)
def _listed(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        list_models()


@models.command("list")
def list_models() -> None:
    """List the models with their first score beside what is trivial."""
    from rich import box
    from rich.table import Table

    require_torch("models")
    from .backends.torch.pretrained.cards import card, folder, names

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("name", no_wrap=True)
    for title in ("what", "score", "trivial"):
        table.add_column(title, overflow="fold")
    table.add_column("KB", justify="right")
    for name in names():
        found = card(folder(name))
        score = found["scores"][0]
        size = sum(file["bytes"] for file in found["files"].values())
        summary = f"{score['value']:.3g} {score['name']}"
        table.add_row(name, found["title"], summary, f"{score['baseline']:.3g}", f"{size / 1000:.0f}")
    console().print(table)


@models.command()
def show(
    name: Annotated[str, typer.Argument(help="One of driftproof models.")],
    as_json: Annotated[bool, typer.Option("--json", help="The whole card.")] = False,
) -> None:
    """Show the card of a model, after its files have been checked."""
    require_torch("models")
    from .backends.torch.pretrained.cards import folder, verified

    found = verified(folder(name))
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    for line in _described(found):
        typer.echo(line)


@models.command()
def retrain(
    name: Annotated[str, typer.Argument(help="One of driftproof models, or all.")],
    out: Annotated[
        Path, typer.Option(file_okay=False, help="Each model is written to a folder of its name below this.")
    ] = Path("runs/zoo"),
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Two steps: shows that it runs, not what it learns.")
    ] = False,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set a value (plan.max_steps=5).")
    ] = None,
) -> None:
    """Train a model again from its recipe, score it and write its card; the same command goes on where it stopped.

    A model that stands on others takes those that come with the package. Exit status 1 where a model does not beat what is trivial by the factor that its card states.
    """
    require_torch("models")
    from .backends.torch.zoo.retrain import MODULES, maker_of
    from .backends.torch.zoo.retrain import retrain as train

    chosen = list(MODULES) if name == "all" else [name]
    for one in chosen:
        maker_of(one)
    require_writable(None, out)
    fell_short = False
    for one in chosen:
        scores = train(one, out / one, smoke, changes or ())
        for score in scores:
            typer.echo(f"{one}: {_line(score.to_json())}")
        fell_short = fell_short or not all(score.ok for score in scores)
    if smoke:
        typer.echo("a smoke run shows that it runs, not what it finds")
    elif fell_short:
        raise typer.Exit(1)


def _described(card: Mapping[str, Any]) -> list[str]:
    training = card["training"]
    versions = ", ".join(f"{key} {value}" for key, value in training["versions"].items())
    return [
        f"{card['name']}, version {card['version']}: {card['title']}",
        f"data: {card['data']}",
        f"licence: {card['licence']}",
        f"training: {training['steps']} steps, {training['cpu_seconds']} CPU seconds ({versions})",
        *(f"stands on: {name}" for name in card["uses"]),
        *(f"score: {_line(score)}" for score in card["scores"]),
        *(
            f"file: {name}, {file['bytes']} bytes, sha256 {file['sha256']}"
            for name, file in card["files"].items()
        ),
        f"recipe: {json.dumps(card['recipe'])}",
    ]


def _line(score: dict[str, Any]) -> str:
    floor = "" if score["floor"] is None else f"; real images: {score['floor']:.3g}"
    wanted = f", at least {score['factor']:g} times better" if score["factor"] else ""
    interval = f"[{score['low']:.3g}, {score['high']:.3g}]"
    return f"{score['value']:.3g} {interval} {score['name']} ({score['trivial']}: {score['baseline']:.3g}{wanted}{floor})"
