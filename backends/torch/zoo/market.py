r"""``market-unet1d``: a ``UNet1DModel`` with a DDPM's schedule, on windows of daily returns of two indices.

Returns are in units of the volatility of the 63 days before the window, which is known when it begins.  Of each eight
years the last two are held out; windows that reach over a border are left out.  (The VIX that ``arch`` ships has five
years only, too few for windows that are held out.)

The network predicts :math:`v = \alpha_t \epsilon - \sigma_t x`.  Where nearly all is noise, an error of a predicted
noise comes back divided by alpha, .007 at the first step, and returns have no range to clip it to: a network that
predicted the noise drew windows of more than twice the volatility.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import nn

from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.recipe import Recipes
from driftproof.backends.torch.kit.schema import NOT_EMPTY, validated
from driftproof.backends.torch.pretrained.models import read_market
from driftproof.backends.torch.recipes import RecipeError
from driftproof.backends.torch.score_models.metrics import Estimate, clustering, resample, w1

from .maker import Maker, Training
from .noising import fit_noised, sampled
from .scores import Score

__all__ = ["MAKER", "MarketRecipe", "windows"]

DAYS: Final = 64
TRAILING: Final = 63
SPAN: Final = 504  # two years; every fourth span is held out
STEPS: Final = 50
COUNT: Final = 1000
REPLICATES: Final = 30
GAUSSIAN: Final = "a Gaussian with the mean and covariance of the training windows"

Rows = NDArray[np.float64]


@final
@validated(frozen=True, slots=True)
class MarketRecipe:
    """Settings.

    Arguments:
        title: A title of the model.
        channels: Channels of the blocks.
        plan: The budget.
    """

    title: str
    channels: Annotated[tuple[PositiveInt, ...], NOT_EMPTY]
    plan: Plan


@cache
def windows() -> tuple[Rows, Rows]:
    """Windows to train on and windows held out, with shapes (n, 2, 64) and (m, 2, 64).

    Raises:
        RecipeError: ``arch`` is not installed.
    """
    try:
        from arch.data import nasdaq, sp500
    except ImportError:
        raise RecipeError("zoo: the prices come with arch: pip install 'driftproof[data]'") from None
    indices = sp500.load(), nasdaq.load()
    days = indices[0].index.intersection(indices[1].index)
    closes = [index.loc[days, "Adj Close"].to_numpy(dtype=np.float64) for index in indices]
    returns = np.diff(np.log(closes), axis=1)
    trailing = np.lib.stride_tricks.sliding_window_view(returns**2, TRAILING, axis=1).mean(axis=-1)
    found = np.lib.stride_tricks.sliding_window_view(returns[:, TRAILING:], DAYS, axis=1).swapaxes(0, 1)
    scaled = found / np.sqrt(trailing.T[: len(found), :, None])
    first = np.arange(len(scaled))
    inside = first // SPAN == (first + DAYS - 1) // SPAN
    held = first // SPAN % 4 == 3
    return scaled[inside & ~held], scaled[inside & held]


def _network(recipe: MarketRecipe) -> nn.Module:
    from diffusers import UNet1DModel

    network: nn.Module = UNet1DModel(
        sample_size=DAYS,
        in_channels=2,
        out_channels=2,
        time_embedding_type="positional",
        use_timestep_embedding=True,
        block_out_channels=recipe.channels,
        down_block_types=("DownResnetBlock1D",) * len(recipe.channels),
        up_block_types=("UpResnetBlock1D",) * (len(recipe.channels) - 1),
        mid_block_type="MidResTemporalBlock1D",
        out_block_type="OutConv1DBlock",
        act_fn="mish",
        layers_per_block=1,
    )
    return network


def _scheduler() -> Any:
    from diffusers import DDPMScheduler

    return DDPMScheduler(clip_sample=False, prediction_type="v_prediction")


def _train(recipe: MarketRecipe, checkpoints: Path) -> Training:
    rows, scheduler = torch.tensor(windows()[0], dtype=torch.float32), _scheduler()
    return fit_noised(lambda: _network(recipe), rows, scheduler, recipe.plan, checkpoints / "market")


def _squares(rows: Rows) -> Rows:
    """The squared returns of the S&P 500."""
    return rows.reshape(len(rows), 2, DAYS)[:, 0] ** 2


def _clustering_gap(x: Rows, y: Rows) -> float:
    return clustering(_squares, x) - clustering(_squares, y)


def _estimate(metric: Callable[[Rows, Rows], float], x: Rows, block: int, y: Rows) -> Estimate:
    """A metric of rows x against windows y, with its bootstrap over blocks of neighbours."""
    rng = np.random.default_rng(0)
    drawn = [
        metric(x[resample(len(x), block, rng)], y[resample(len(y), DAYS, rng)]) for _ in range(REPLICATES)
    ]
    return Estimate(metric(x, y), np.array(drawn))


def _evaluate(folder: Path) -> list[Score]:
    from diffusers import DDPMScheduler

    seen, held = (part.reshape(len(part), -1) for part in windows())
    network, scheduler = read_market(folder), DDPMScheduler.from_pretrained(folder / "scheduler")
    noise = torch.randn(COUNT, 2, DAYS, generator=torch.Generator().manual_seed(0))
    samples = sampled(network, scheduler, noise, STEPS).double().numpy().reshape(COUNT, -1)
    rng = np.random.default_rng(0)
    gaussian = seen.mean(axis=0) + rng.standard_normal((COUNT, len(seen))) @ (
        seen - seen.mean(axis=0)
    ) / np.sqrt(len(seen))
    scores = []
    # Years differ in how returns cluster more than models do, so this alone is measured from the windows seen.
    for name, metric, factor, rows, which in (
        ("W1", w1, 1.5, held, "held out"),
        ("clustering", _clustering_gap, 2.0, seen, "trained on"),
    ):
        measured, trivial, floors = (
            _estimate(metric, x, block, rows) for x, block in ((samples, 1), (gaussian, 1), (seen, DAYS))
        )
        value, half = abs(measured.value), measured.half_width
        title = f"{name} of {COUNT} samples from the windows {which}"
        limits = (value, value - half, value + half)
        scores.append(Score(title, *limits, abs(trivial.value), GAUSSIAN, factor, abs(floors.value)))
    return scores


MAKER = Maker(
    Recipes("zoo", MarketRecipe, ()),
    _train,
    _evaluate,
    "S&P 500 and NASDAQ, daily adjusted closes 1999-2018, as arch ships them",
    "Weights: Apache-2.0, as the package. Trained on prices distributed by arch (NCSA).",
)
