"""What is learned from target labels alone, and what is carried over from a source."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, final

import numpy as np

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, checked
from driftproof.numerics._samples import as_rows

__all__ = ["BASELINES", "Composed", "Predictor", "direct"]


class Predictor(Protocol):
    """Anything with scikit-learn's ``predict``."""

    def predict(self, x: Any) -> Any: ...


def _nearest(m: int) -> Any:
    from sklearn.neighbors import KNeighborsRegressor

    return KNeighborsRegressor(n_neighbors=max(1, round(math.sqrt(m))))


def _kernel_ridge(m: int) -> Any:
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.model_selection import GridSearchCV

    grid = {"alpha": [1e-3, 1e-1, 10.0], "gamma": [0.03, 0.3, 3.0]}
    return GridSearchCV(KernelRidge(kernel="rbf"), grid, cv=min(5, m), scoring="neg_mean_squared_error")


def _linear(m: int) -> Any:
    from sklearn.linear_model import RidgeCV

    return RidgeCV(alphas=(1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0))


def _network(m: int) -> Any:
    from sklearn.neural_network import MLPRegressor

    return MLPRegressor(hidden_layer_sizes=(32,), solver="lbfgs", alpha=1.0 / m, max_iter=500, random_state=0)


# What to fit to m labelled samples of the target, knowing nothing of the source.
BASELINES: Mapping[str, Callable[[int], Any]] = {
    "nearest neighbours": _nearest,
    "kernel ridge": _kernel_ridge,
    "linear": _linear,
    "network": _network,
}


@arrays(results="numpy")
def direct(name: str, x: Array, y: Array) -> Predictor:
    """Fit one of :data:`BASELINES` to m labelled target samples.

    Arguments:
        name: A key of :data:`BASELINES`.
        x: Features, shape (m, d), m >= 2.
        y: Labels, shape (m,).

    Returns:
        The fitted estimator of scikit-learn, behind a standardisation of the features.

    Raises:
        LookupError: There is no such baseline.
        UnmetHypothesis: A feature without variance, or shapes that do not match.

    Claims: TRANSFER-BASELINE-1

    Example:
        >>> model = direct("linear", [[0.0], [1.0], [2.0], [3.0]], [1.0, 3.0, 5.0, 7.0])
        >>> bool(abs(model.predict([[4.0]])[0] - 9.0) < 0.05)
        True
    """
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if name not in BASELINES:
        raise LookupError(f"direct: there is no baseline {name!r}; there are {', '.join(BASELINES)}")
    (features,) = as_rows("direct", least=2, x=x)
    (labels,) = as_rows("direct", least=2, y=np.reshape(y, (-1, 1)))
    if labels.shape[0] != features.shape[0]:
        raise UnmetHypothesis("direct", "one label a row", f"{labels.shape[0]} labels of {features.shape[0]}")
    still = np.flatnonzero(np.ptp(features, axis=0) == 0.0)
    if still.size:
        got = f"{still.size} of {features.shape[1]} do not, the first is feature {still[0]}"
        raise UnmetHypothesis("direct", "every feature varies", got)
    fitted: Predictor = make_pipeline(StandardScaler(), BASELINES[name](len(features))).fit(
        features, labels[:, 0]
    )
    return fitted


@final
@dataclass(frozen=True, slots=True)
@checked
class Composed:
    """Transfer: the source model behind the transport of the target to the source.

    Arguments:
        transport: From target features to source features.
        model: The model learned on the source.
    """

    transport: Callable[[Any], Any]
    model: Predictor

    def predict(self, x: Any) -> Any:
        """Predictions for target features, shape (m, d)."""
        return self.model.predict(self.transport(np.asarray(x, dtype=np.float64)))
