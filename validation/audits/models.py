r"""The exact model of Gaussian data, in every parametrisation that a sampler may ask for.

At :math:`x = \alpha x_0 + \sigma z` with :math:`x_0 \sim N(m, v)` and :math:`\Sigma = \alpha^2 v + \sigma^2`
the exact network is one of

.. math:: \hat x_0 = m + \frac{\alpha v}{\Sigma}(x - \alpha m) \quad\text{(a denoiser)}, \qquad
    \hat x_0 = m + \sqrt{v / \Sigma}\,(x - \alpha m) \quad\text{(a consistency function)},

with :math:`\hat z = (x - \alpha \hat x_0)/\sigma`.  What it returns is :math:`\hat z`, :math:`\hat x_0`,

.. math:: \hat v = \cos\varphi\,\hat z - \sin\varphi\,\hat x_0 / u, \quad \tan\varphi = \frac{\sigma}{\alpha u},
    \qquad\text{or}\qquad \hat u = \hat z - \hat x_0,

or the negative of one of these; u is the unit of the data.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

__all__ = ["PREDICTIONS", "Model", "Prediction", "models"]

Vector: TypeAlias = NDArray[np.float64]
Prediction: TypeAlias = Literal["epsilon", "sample", "v_prediction", "flow_prediction"]
PREDICTIONS: Final[tuple[Prediction, ...]] = ("epsilon", "v_prediction", "sample", "flow_prediction")


@final
@dataclass(frozen=True)
class Model:
    """An exact model.

    Arguments:
        prediction: What it returns, by the names of diffusers.
        sign: 1, or -1 where it returns the negative.
        unit: The unit of the data, > 0.
        consistency: It is the consistency function instead of the denoiser.

    Example:
        >>> import numpy as np
        >>> x = np.array([3.0])
        >>> Model("sample").output(x, 1.0, 1.0, 1.0, np.array([1.0])).tolist()
        [2.0]
        >>> str(Model("v_prediction", sign=-1, unit=0.5))
        '-v_prediction in units of 0.5'
    """

    prediction: Prediction = "epsilon"
    sign: Literal[1, -1] = 1
    unit: float = 1.0
    consistency: bool = False

    def __str__(self) -> str:
        unit = "" if self.unit == 1.0 else f" in units of {self.unit:g}"
        of = " of the consistency function" if self.consistency else ""
        return f"{'-' if self.sign < 0 else ''}{self.prediction}{unit}{of}"

    def output(self, x: Vector, alpha: float, sigma: float, mean: float, variance: Vector) -> Vector:
        """What the network returns at x, shape (K,), for data N(mean, variance)."""
        total = alpha**2 * variance + sigma**2
        known = total > 0.0  # without noise and without spread the data point is the mean
        safe = np.where(known, total, 1.0)
        gain = np.sqrt(variance / safe) if self.consistency else alpha * variance / safe
        x0 = mean + np.where(known, gain, 0.0) * (x - alpha * mean)
        if sigma == 0.0:
            return self.of(x0, np.zeros_like(x), alpha, sigma)
        # The denoiser's noise in the form that does not cancel at small sigma.
        z = (x - alpha * x0) / sigma if self.consistency else sigma * (x - alpha * mean) / safe
        return self.of(x0, z, alpha, sigma)

    def of(self, x0: Vector, z: Vector, alpha: float, sigma: float) -> Vector:
        """The parametrisation of a predicted data point and noise."""
        if self.prediction == "epsilon":
            return self.sign * z
        if self.prediction == "sample":
            return self.sign * x0
        if self.prediction == "flow_prediction":
            return self.sign * (z - x0)
        length = np.hypot(alpha * self.unit, sigma)
        return self.sign * (alpha * self.unit * z - sigma * x0 / self.unit) / length


def models(unit: float = 1.0) -> Iterator[Model]:
    """All exact models, the plain ones first."""
    for consistency in (False, True):
        for prediction in PREDICTIONS:
            yield Model(prediction, consistency=consistency)
        for prediction in ("v_prediction", "flow_prediction"):
            yield Model(prediction, sign=-1, consistency=consistency)
        if unit != 1.0:
            for sign in (1, -1):
                yield Model("v_prediction", sign=sign, unit=unit, consistency=consistency)
