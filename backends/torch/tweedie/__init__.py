r"""The recipes of paper ``tweedie``: Gaussian, geometric and Cox-Ingersoll-Ross diffusions of real data.

``driftproof train tweedie --config FILE`` trains every process of a recipe with the same network and
budget, draws samples with the reverse steps of :mod:`driftproof.numerics.tweedie`, and measures them on
rows held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from driftproof.backends.torch.kit.changes import loss_section
from driftproof.backends.torch.kit.entry import Paper, run_recipes
from driftproof.backends.torch.score_models.data import vix

from .config import RECIPES
from .energies import compare_estimators
from .experiment import Prepared, prepare, run
from .laws import study
from .market_fit import forecasts
from .report import comparison_section, energies_section, laws_section, market_section

if TYPE_CHECKING:
    from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

    from driftproof.backends.torch.kit.report import Section


__all__ = ["main"]


def main(config: Path | None, smoke: bool, out: Path, changes: Sequence[str] = ()) -> None:
    """Run one recipe, or all that come with the package; see :func:`.kit.entry.run_recipes`."""
    title, packages = "Diffusion beyond Gaussian, on real data", ("torch", "numpy", "scipy", "accelerate")
    run_recipes(Paper(RECIPES, prepare, _sections, title, packages), config, smoke, out, changes)


def _sections(prepared: Prepared, out: Path, accelerator: Accelerator) -> list[Section]:
    """Everything that one recipe asks for."""
    recipe, folder = prepared.recipe, out / "checkpoints"
    comparison = run(prepared, folder, accelerator)
    sections = [comparison_section(comparison)]
    if recipe.laws is not None:
        sections.append(
            laws_section(study(prepared, recipe.laws, folder, accelerator), f"{recipe.name}-laws")
        )
    if recipe.market_fit:
        sections.append(market_section(*forecasts(vix(), recipe.data.held_out)))
    if recipe.energies is not None:
        sections.append(energies_section(compare_estimators(prepared.data, recipe.energies)))
    losses = {f"{recipe.title}: {name}": result.losses for name, result in comparison.results.items()}
    sections += loss_section(losses)
    return sections
