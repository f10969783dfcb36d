"""``driftproof grid``: the noise levels that a frozen model's own stiffness asks for, as a file and a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ._commands import require_device, require_torch, require_writable, written

__all__ = ["grid"]


def grid(
    model: Annotated[
        str, typer.Argument(help="zoo:NAME of driftproof models, or the folder of a saved pipeline.")
    ],
    steps: Annotated[int, typer.Option(min=1, help="Steps of the grid.")] = 8,
    solver: Annotated[str, typer.Option(help="euler (DDIM, of a flow Euler) or heun.")] = "euler",
    guidance: Annotated[
        float | None,
        typer.Option(help="The weight of classifier-free guidance; the pipeline's own unless given."),
    ] = None,
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="What the model is asked for; may be repeated. Classes for a SiT."),
    ] = None,
    local: Annotated[
        bool,
        typer.Option(
            "--local", help="ART as it is: local errors, not carried to the end; needs no backward passes."
        ),
    ] = False,
    paths: Annotated[int, typer.Option(min=2, help="Paths that are measured.")] = 32,
    fine: Annotated[int, typer.Option(min=4, help="Levels at which they are.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Of their noise.")] = 0,
    device: Annotated[str, typer.Option(help="Where the model runs.")] = "cpu",
    out: Annotated[
        Path,
        typer.Option(file_okay=False, help="Where grids are kept: what was measured is not measured again."),
    ] = Path("runs/grids"),
) -> None:
    """Learn a grid for a frozen model, and write it as JSON and as a figure; the list of its levels is printed."""
    require_torch("grid")
    from .backends.torch.art import learn_grid, load
    from .backends.torch.art.experiment import baselines
    from .backends.torch.art.report import schedule_figure
    from .backends.torch.art.schedule import ORDERS
    from .backends.torch.kit.report import write_whole

    if solver not in ORDERS:
        raise ValueError(f"grid: --solver is one of {', '.join(ORDERS)}, not {solver}")
    require_device("grid", device)
    require_writable(None, out)
    flow = load(model, guidance, prompt or (), device)
    made = learn_grid(
        flow, steps, solver, count=paths, fine=fine, carried=not local, seed=seed, folder=out  # type: ignore[arg-type]  # checked above
    )  # fmt: skip
    file = out / made.file_name
    with written():
        others = {name: grid.tolist() for name, grid in baselines(flow, steps).items()}
        write_whole(file.with_suffix(".svg"), schedule_figure(made, others).encode())
    spent = f"{made.evaluations} evaluations" + ("" if flow.evaluations else ", measured before")
    typer.echo(f"grid: {file} ({spent}), figure: {file.with_suffix('.svg')}", err=True)
    typer.echo(made.text())
