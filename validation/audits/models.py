r"""The exact model of Gaussian data, in every parametrisation that a sampler may ask for.

At :math:`x = \alpha x_0 + \sigma z` with :math:`x_0 \sim N(m, v)` and :math:`\Sigma = \alpha^2 v + \sigma^2`
the exact network is one of

.. math:: \hat x_0 = m + \frac{\alpha v}{\Sigma}(x - \alpha m) \quad\text{(a denoiser)}, \qquad
    \hat x_0 = m + \sqrt{v / \Sigma}\,(x - \alpha m) \quad\text{(a consistency function)},

with :math:`\hat z = (x - \alpha \hat x_0)/\sigma`.  For a jump to :math:`(\alpha', \sigma')` the flow itself
is :math:`x' = \alpha' m + \sqrt{\Sigma'/\Sigma}\,(x - \alpha m)`, and the trajectory function has the
:math:`\hat x_0, \hat z` with :math:`\alpha \hat x_0 + \sigma \hat z = x` and
:math:`\alpha' \hat x_0 + \sigma' \hat z = x'`; at :math:`\sigma' = 0` it is the consistency function.
What the network returns is :math:`\hat z`, :math:`\hat x_0`,

.. math:: \hat v = \cos\varphi\,\hat z - \sin\varphi\,\hat x_0 / u, \quad \tan\varphi = \frac{\sigma}{\alpha u},
    \qquad\text{or}\qquad \hat u = \hat z - \hat x_0,

or the negative of one of these; u is the unit of the data.  Where nothing is said of it, a network F
inside of a step to :math:`c_\text{skip} x + c_\text{out} F`, to which noise is added, returns

.. math:: F = (x' - c_\text{skip}\,x) / c_\text{out},

with the flow x' down to the level that this noise leads up from.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, final

import numpy as np
from numpy.typing import NDArray

from driftproof.numerics.samplers.parametrization import DIFFUSERS, Parametrization, output_of

__all__ = ["Model", "Prediction", "models"]

Vector: TypeAlias = NDArray[np.float64]
Function: TypeAlias = Literal["denoiser", "consistency", "trajectory"]
# What a network returns inside of others' scalings has no name in a sampler's own words.
Prediction: TypeAlias = Literal["epsilon", "sample", "v_prediction", "flow_prediction", "network"]


@final
@dataclass(frozen=True)
class Model:
    """An exact model.

    Arguments:
        prediction: Its output, by the names of diffusers.
        sign: 1, or -1 where it returns the negative.
        unit: The unit of the data, > 0.
        function: The denoiser, the consistency function, or the trajectory function.
        scalings: (c_skip, c_out) at a call, for ``"network"``.

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
    function: Function = "denoiser"
    scalings: tuple[float, float] = (math.nan, math.nan)

    def __str__(self) -> str:
        if self.prediction == "network":
            return "F in the c_skip x + c_out F of its step"
        unit = "" if self.unit == 1.0 else f" in units of {self.unit:g}"
        of = "" if self.function == "denoiser" else f" of the {self.function} function"
        return f"{'-' if self.sign < 0 else ''}{self.prediction}{unit}{of}"

    def output(
        self,
        x: Vector,
        alpha: float,
        sigma: float,
        mean: float | Vector,
        variance: Vector,
        aim: tuple[float, float] = (1.0, 0.0),
    ) -> Vector:
        """The output of the network at x, shape (K,), for data N(mean, variance), and a jump to the level ``aim``."""
        if self.prediction == "network":
            skip, out = self.scalings
            after = self._flow(x, alpha, sigma, mean, variance, *aim)
            return np.zeros_like(x) if out == 0.0 else (after - skip * x) / out
        if self.function == "trajectory" and alpha * aim[1] != sigma * aim[0]:
            return self._jump(x, alpha, sigma, mean, variance, *aim)
        consistency = self.function != "denoiser"
        total = alpha**2 * variance + sigma**2
        known = total > 0.0  # without noise and without spread the data point is the mean
        safe = np.where(known, total, 1.0)
        gain = np.sqrt(variance / safe) if consistency else alpha * variance / safe
        x0 = mean + np.where(known, gain, 0.0) * (x - alpha * mean)
        if sigma == 0.0:
            return self.of(x0, np.zeros_like(x), alpha, sigma)
        # The denoiser's noise in the form that does not cancel at small sigma.
        z = (x - alpha * x0) / sigma if consistency else sigma * (x - alpha * mean) / safe
        return self.of(x0, z, alpha, sigma)

    def _jump(
        self,
        x: Vector,
        alpha: float,
        sigma: float,
        mean: float | Vector,
        variance: Vector,
        a: float,
        b: float,
    ) -> Vector:
        y = self._flow(x, alpha, sigma, mean, variance, a, b)
        crossed = alpha * b - sigma * a
        return self.of((b * x - sigma * y) / crossed, (alpha * y - a * x) / crossed, alpha, sigma)

    @staticmethod
    def _flow(
        x: Vector, alpha: float, sigma: float, mean: float | Vector, variance: Vector, a: float, b: float
    ) -> Vector:
        """Where the flow leads x from one level to another."""
        total, after = alpha**2 * variance + sigma**2, a**2 * variance + b**2
        return a * mean + np.sqrt(after / np.where(total > 0.0, total, 1.0)) * (x - alpha * mean)

    def of(self, x0: Vector, z: Vector, alpha: float, sigma: float) -> Vector:
        """The output that means this data point and this noise; v is of data in its unit, at a level of length 1."""
        kind = cast(Parametrization, self.prediction)
        if kind == "v_prediction":
            length = np.hypot(alpha * self.unit, sigma)
            x0, alpha, sigma = x0 / self.unit, alpha * self.unit / length, sigma / length
        made: Vector = self.sign * output_of(x0, z, alpha, sigma, kind)
        return made


def models(unit: float = 1.0) -> Iterator[Model]:
    """All exact models of a noise level alone, the plain ones first."""
    functions: tuple[Function, ...] = ("denoiser", "consistency")
    for function in functions:
        for prediction in DIFFUSERS:
            yield Model(prediction, function=function)
        for prediction in ("v_prediction", "flow_prediction"):
            yield Model(prediction, sign=-1, function=function)
        if unit != 1.0:
            for sign in (1, -1):
                yield Model("v_prediction", sign=sign, unit=unit, function=function)
