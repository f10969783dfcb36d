r"""Real data that packages ship: daily S&P 500 (``arch``) and handwritten digits (``scikit-learn``).

========= ================================================================== ================
name      rows                                                               state space
========= ================================================================== ================
prices    paths of ``window`` daily closes (adjusted), each a power of its   > 0
          ratio to the close before the path:
          :math:`(P_{j+k}/P_j)^{1/(2 \hat\sigma_j \sqrt{w})}`
variance  paths of ``window`` daily Parkinson variances                      > 0
          :math:`V = \log(\text{high}/\text{low})^2 / (4 \log 2)`,
          each divided by :math:`\hat V_j`
digits    8x8 images, grey levels 0 to 16, about half of them 0              >= 0
file      rows of a ``.npy`` file                                            as found
========= ================================================================== ================

:math:`\hat\sigma_j` is the root mean square of the ``trailing`` daily log-returns before the path and
:math:`\hat V_j` the mean of the ``trailing`` variances before it: both are known when the path begins,
both make the data O(1), and they take most of the change of level between 1999 and 2018 out.

The held-out rows are the last ones: no path of the training set shares a day with a path held out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveInt

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.recipe import RecipeError
from driftproof.backends.torch.kit.schema import ProperShare, TwoOrMore, validated

__all__ = ["Data", "DataRecipe", "load", "vix"]

Rows = NDArray[np.float64]


@final
@validated(frozen=True, slots=True)
class DataRecipe:
    """The choice of data to load.

    Arguments:
        name: ``prices``, ``variance``, ``digits`` or ``file``.
        window: Days of a path, >= 1.
        trailing: Days before a path that set its scale, >= 2.
        held_out: The share of the rows, from the end, that no training sees, in (0, 1).
        path: The ``.npy`` file of ``file``.
    """

    name: Literal["prices", "variance", "digits", "file"]
    window: PositiveInt = 16
    trailing: TwoOrMore = 63
    held_out: ProperShare = 0.3
    path: str = ""


@final
@dataclass(frozen=True, slots=True)
class Data:
    """Rows for training and rows held out.

    Arguments:
        name: The name in the recipe.
        source: Where the rows come from, in words.
        train: Training rows, with shape (n, d), float64.
        held_out: Held-out rows, with shape (m, d), float64.
        block: Neighbouring rows that share days: the block length of a bootstrap, 1 if independent.
        side: The side of square images, 0 for paths.
    """

    name: str
    source: str
    train: Rows
    held_out: Rows
    block: int
    side: int = 0

    @property
    def dimension(self) -> int:
        """Coordinates of a row."""
        return int(self.train.shape[1])

    def squares(self, rows: Rows) -> Rows | None:
        """The daily values that cluster: squared log-returns of prices, or the variances themselves.

        Arguments:
            rows: Paths with shape (n, d); paths with a price that is not positive are left out.

        Returns:
            Array of the same shape; None for data that are no paths.
        """
        if self.name == "prices":
            positive = rows[(rows > 0.0).all(axis=1)]
            return np.diff(np.log(positive), axis=1, prepend=0.0) ** 2
        return rows if self.name == "variance" else None


def load(recipe: DataRecipe) -> Data:
    """Load, normalise and split.

    Raises:
        RecipeError: The package that ships the data, or the file, is missing.
        UnmetHypothesis: NaN or infinity in the data, or too few rows on a side of the split.
    """
    data = _LOADERS[recipe.name](recipe)
    for part, rows in (("training", data.train), ("held-out", data.held_out)):
        if rows.shape[0] < 2:
            raise UnmetHypothesis("data", f"at least 2 {part} rows", f"{rows.shape[0]} rows")
        if not np.isfinite(rows).all():
            bad = int((~np.isfinite(rows)).sum())
            raise UnmetHypothesis("data", f"{part} rows are finite", f"{bad} NaN or infinite values")
    return data


def vix() -> Rows:
    """Daily closes of the VIX index 2014-2018 as annual variances, (index/100)^2, with shape (n,)."""
    frame = _arch("vix").dropna()
    return np.asarray(frame["vix"].to_numpy(dtype=np.float64) / 100.0) ** 2


def _prices(recipe: DataRecipe) -> Data:
    closes = _arch("sp500")["Adj Close"].to_numpy(dtype=np.float64)
    returns = np.diff(np.log(closes))
    volatility = np.sqrt(_trailing_mean(returns**2, recipe))
    steps = _paths(returns, recipe) / (2.0 * volatility * math.sqrt(recipe.window))
    source = (
        f"S&P 500 adjusted closes 1999-2018, paths of {recipe.window} days, in units of trailing volatility"
    )
    return _split("prices", source, np.exp(np.cumsum(steps, axis=1)), recipe, recipe.window)


def _variance(recipe: DataRecipe) -> Data:
    frame = _arch("sp500")
    high, low = (frame[column].to_numpy(dtype=np.float64) for column in ("High", "Low"))
    parkinson = np.log(high / low) ** 2 / (4.0 * math.log(2.0))
    rows = _paths(parkinson, recipe) / _trailing_mean(parkinson, recipe)
    source = f"S&P 500 daily Parkinson variances 1999-2018, paths of {recipe.window} days, over their trailing mean"
    return _split("variance", source, rows, recipe, recipe.window)


def _digits(recipe: DataRecipe) -> Data:
    from sklearn.datasets import load_digits

    rows = np.asarray(load_digits().data, dtype=np.float64)
    return _split("digits", "scikit-learn digits, 8x8, grey levels 0-16", rows, recipe, 1, side=8)


def _file(recipe: DataRecipe) -> Data:
    path = Path(recipe.path)
    if not path.is_file():
        raise RecipeError(f"recipe.data.path: no file {recipe.path!r}")
    rows = np.load(path, allow_pickle=False)
    if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.floating):
        raise RecipeError(
            f"recipe.data.path: expected a real floating array (n, d), got {rows.dtype} {rows.shape}"
        )
    return _split("file", path.name, rows.astype(np.float64), recipe, 1)


_LOADERS: Mapping[str, Callable[[DataRecipe], Data]] = {
    "prices": _prices,
    "variance": _variance,
    "digits": _digits,
    "file": _file,
}


def _split(name: str, source: str, rows: Rows, recipe: DataRecipe, block: int, side: int = 0) -> Data:
    first = round(len(rows) * (1.0 - recipe.held_out))
    # Paths overlap: the last ``block - 1`` before the split share days with the first one after it.
    return Data(name, source, rows[: max(0, first - block + 1)], rows[first:], block, side)


def _paths(series: Rows, recipe: DataRecipe) -> Rows:
    """All paths of ``window`` values that have ``trailing`` values before them, in order of time."""
    paths = np.lib.stride_tricks.sliding_window_view(series[recipe.trailing :], recipe.window)
    return np.array(paths)


def _trailing_mean(series: Rows, recipe: DataRecipe) -> Rows:
    """The mean of the ``trailing`` values before each path, as a column."""
    means = np.lib.stride_tricks.sliding_window_view(series, recipe.trailing).mean(axis=1)
    return means[: len(series) - recipe.trailing - recipe.window + 1, None]


def _arch(name: str) -> Any:
    try:
        import importlib

        module = importlib.import_module(f"arch.data.{name}")
    except ImportError:
        raise RecipeError(f"data: {name} needs the package arch: pip install 'driftproof[data]'") from None
    return module.load()
