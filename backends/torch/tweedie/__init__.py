r"""The recipes of paper ``tweedie``: Gaussian, geometric and Cox-Ingersoll-Ross diffusions of real data.

``driftproof train tweedie --config FILE`` trains every process of a recipe with the same network and
budget, draws samples with the reverse steps of :mod:`driftproof.numerics.tweedie`, and measures them on
rows held out.
"""

from __future__ import annotations

import time
from pathlib import Path

from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

from ..running import interruptible, told
from .config import load_recipe, packaged
from .data import vix
from .energies import compare_estimators
from .experiment import Prepared, prepare, run
from .laws import study
from .market_fit import forecasts
from .report import Section, comparison_section, energies_section, laws_section, market_section, write

__all__ = ["main"]


def main(config: Path | None, smoke: bool, out: Path) -> None:
    """Run one recipe, or all that come with the package, and write ``out/report.json``.

    Arguments:
        config: A recipe; None for all of the package.
        smoke: The small budget of each recipe.
        out: The folder of the report; ``checkpoints`` in it is where an interrupted run goes on from.

    Raises:
        RecipeError: A recipe that cannot be run.
        UnmetHypothesis: Data that a process refuses; raised before any work, and nothing is written.
        InUse: Another run writes to ``out``.
        SystemExit: After a signal or the limit of the session, with everything saved.
    """
    started = time.perf_counter()
    paths = [config] if config is not None else packaged()
    prepared = [prepare(*load_recipe(path, smoke)) for path in paths]
    accelerator = Accelerator()
    sections: dict[str, Section] = {}
    samples = {}
    with interruptible(out, accelerator):
        for one in prepared:
            parts, rows = _sections(one, out / "checkpoints", accelerator)
            sections.update(parts)
            samples.update(rows)
        if accelerator.is_main_process:
            title = (
                prepared[0].recipe.title if config is not None else "Diffusion beyond Gaussian, on real data"
            )
            meta = told(
                accelerator,
                started,
                seed=[list(one.recipe.seeds) for one in prepared],
                recipes={one.recipe.name: dict(one.tables) for one in prepared},
                smoke=smoke,
            )
            write(out, title, sections, samples, meta)
            print(f"{out / 'report.json'}: {' '.join(section['summary'] for section in sections.values())}")


def _sections(
    prepared: Prepared, folder: Path, accelerator: Accelerator
) -> tuple[dict[str, Section], dict[str, object]]:
    """Everything that one recipe asks for."""
    recipe = prepared.recipe
    comparison = run(prepared, folder, accelerator)
    sections = {recipe.name: comparison_section(comparison)}
    if recipe.laws is not None:
        sections[f"{recipe.name}-laws"] = laws_section(study(prepared, recipe.laws, folder, accelerator))
    if recipe.market_fit:
        sections["vix"] = market_section(*forecasts(vix(), recipe.data.held_out))
    if recipe.energies is not None:
        sections["energies"] = energies_section(compare_estimators(prepared.data, recipe.energies))
    samples = {f"{recipe.name}-{name.lower()}": result.samples for name, result in comparison.results.items()}
    return sections, dict(samples)
