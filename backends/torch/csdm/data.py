r"""Real data that packages ship, sparse in themselves or in a basis.

========= ======================================================================= =======================
name      rows                                                                    sparse
========= ======================================================================= =======================
stress    log-price paths of ``window`` days of the S&P 500 in units of trailing  in cosines
          volatility, those with the largest drawdowns only
digits    8x8 images, grey levels 0 to 16, about half of them 0                   in themselves, in [0, 16]
========= ======================================================================= =======================

A drawdown is the largest fall of a path below its highest point so far; the paths kept are those above the
quantile of the *training* drawdowns.  Held out are spans of two years in turn with those of training: the question
here is how well one law is sampled, and the last years alone have another.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal, final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveInt

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.schema import Share, TwoOrMore, validated
from driftproof.backends.torch.score_models.data import Data, DataRecipe
from driftproof.backends.torch.score_models.data import load as load_rows

__all__ = ["SketchData", "drawdown", "effective_sparsity", "load"]

Rows = NDArray[np.float64]
_SPAN = 504


@final
@validated(frozen=True, slots=True)
class SketchData:
    """The choice of data to load.

    Arguments:
        name: ``stress`` or ``digits``.
        window: Days of a path.
        trailing: Days before a path that set its scale.
        held_out: The share of the rows that no training sees, in (0, 1/2]: from the end (``digits``), or in spans.
        share: The share of the paths that count as stress, in (0, 1].
    """

    name: Literal["stress", "digits"]
    window: Annotated[PositiveInt, Field(le=_SPAN)] = 64  # a span holds a path
    trailing: TwoOrMore = 63
    held_out: Annotated[float, Field(gt=0, le=0.5)] = 0.3
    share: Share = 1.0 / 3.0


def load(recipe: SketchData) -> Data:
    """Load and split.

    Raises:
        RecipeError: The package that ships the data is missing.
        UnmetHypothesis: A coordinate of zero variance in the paths, or too few rows.
    """
    if recipe.name == "digits":
        return load_rows(DataRecipe("digits", held_out=recipe.held_out))
    prices = load_rows(DataRecipe("prices", recipe.window, recipe.trailing, recipe.held_out))
    paths = 2.0 * np.log(np.concatenate([prices.train, prices.held_out]))
    # Spans of two years in turn, each without its first paths: no path shares a day with one of another span.
    spans = [span[recipe.window - 1 :] for span in np.split(paths, range(_SPAN, len(paths), _SPAN))]
    every = max(2, round(1.0 / recipe.held_out))
    held_out = np.concatenate([span for i, span in enumerate(spans) if i % every == every - 1])
    train = np.concatenate([span for i, span in enumerate(spans) if i % every != every - 1])
    level = float(np.quantile(drawdown(train), 1.0 - recipe.share))
    train, held_out = (rows[drawdown(rows) >= level] for rows in (train, held_out))
    if min(len(train), len(held_out)) < 2:
        got = f"{len(train)} and {len(held_out)}"
        raise UnmetHypothesis("data", "at least 2 stress paths on each side", got)
    source = (
        f"S&P 500 adjusted closes 1999-2018, {recipe.window}-day log-price paths over their trailing volatility "
        f"times sqrt({recipe.window}), drawdown at least {level:.3g}"
    )
    return Data("stress", source, train, held_out, recipe.window)


def drawdown(paths: Rows) -> Rows:
    """The largest fall below the highest point so far, from paths (n, d) that begin at 0; shape (n,).

    Example:
        >>> drawdown(np.array([[1.0, -1.0, 0.5]])).tolist()
        [2.0]
    """
    whole = np.concatenate([np.zeros((len(paths), 1)), paths], axis=1)
    falls = np.maximum.accumulate(whole, axis=1) - whole
    return np.asarray(falls.max(axis=1), dtype=np.float64)


def effective_sparsity(coefficients: Rows, energy: float) -> int:
    """The mean number of coefficients (n, d) that hold a share of a row's energy, rounded up; rows of zeros need none.

    Raises:
        UnmetHypothesis: No rows, or a share outside of (0, 1).

    Example:
        >>> effective_sparsity(np.array([[3.0, 1.0, 0.0], [0.0, 0.0, 2.0]]), 0.95)
        2
    """
    if coefficients.ndim != 2 or 0 in coefficients.shape or not 0.0 < energy < 1.0:
        got = f"shape {coefficients.shape}, energy = {energy!r}"
        raise UnmetHypothesis("effective_sparsity", "coefficients (n, d), 0 < energy < 1", got)
    squares = -np.sort(-(coefficients**2), axis=1)
    held = np.cumsum(squares, axis=1) / np.maximum(squares.sum(axis=1, keepdims=True), 1e-300)
    counts = np.where(squares.any(axis=1), (held < energy * (1.0 - 1e-12)).sum(axis=1) + 1, 0)
    return math.ceil(float(counts.mean()))
