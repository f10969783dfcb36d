r"""The recipes of paper ``tweedie``: Gaussian, geometric and Cox-Ingersoll-Ross diffusions of real data.

``driftproof train tweedie --config FILE`` trains every process of a recipe with the same network and
budget, draws samples with the reverse steps of :mod:`driftproof.numerics.tweedie`, and measures them on
rows held out.
"""

from __future__ import annotations

from pathlib import Path

from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types

from driftproof.backends.torch.kit.changes import loss_section
from driftproof.backends.torch.kit.entry import Paper
from driftproof.backends.torch.kit.report import Section
from driftproof.backends.torch.score_models.data import vix

from .config import RECIPES
from .energies import compare_estimators
from .experiment import Prepared, prepare, run
from .laws import study
from .market_fit import forecasts
from .report import comparison_section, energies_section, laws_section, market_section

__all__ = ["main"]


def _sections(prepared: Prepared, out: Path, accelerator: Accelerator) -> list[Section]:
    """All parts of one recipe."""
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


main = Paper(
    RECIPES,
    _sections,
    "Diffusion beyond Gaussian, on real data",
    ("torch", "numpy", "scipy", "accelerate"),
    prepare=prepare,
)
