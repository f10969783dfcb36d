r"""Samplers drawn by a seed, right ones and ones with one planted fault each: the audit is audited with them.

The right step leads from :math:`(\alpha, \sigma)` to :math:`(\alpha', \sigma')` by

.. math:: x' = \alpha' \hat x_0 + \sqrt{\sigma'^2 - s^2}\,\hat z + s w, \qquad
    s^2 = \eta^2 \sigma'^2 \Big(1 - \frac{(\sigma'/\alpha')^2}{(\sigma/\alpha)^2}\Big),

or, without noise, by the second-order multistep rule in :math:`\lambda = \log(\alpha/\sigma)`.  Process, grid, method,
parametrisation and the size of the fault are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, cast, final

import numpy as np

from .models import Prediction

__all__ = ["FAULTS", "Drawn", "Recipe", "drawn"]

Process: TypeAlias = Literal["preserving", "exploding", "flow"]

# The faults, and the range that their size is drawn from.
FAULTS: Final = {
    "the step has one length, whatever the number of steps": (0.02, 0.08),
    "right at one step count only": (0.05, 0.2),
    "the sign of a term depends on the number of steps": (0.05, 0.2),
    "wrong where the number of steps is odd": (0.1, 0.3),
    "labels are shifted": (12.0, 60.0),
    "a part of the noise is lost": (0.03, 0.15),
    "the last level is repeated": (0.0, 0.0),
    "the variance of one step is wrong": (0.3, 0.8),
    "no number at one step count": (0.0, 0.0),
    "the step aims at another level than the grid's": (0.1, 0.3),
    "the forward process is not the table's": (0.1, 0.3),
    "an order is lost": (0.0, 0.0),
    "the mean is right in the limit only": (0.3, 1.0),
    "the run ends early": (0.03, 0.1),
    "the predicted data are scaled": (0.02, 0.1),
    "the output is read as another": (0.0, 0.0),
}
_PREDICTIONS: Final[tuple[Prediction, ...]] = ("epsilon", "sample", "v_prediction", "flow_prediction")
_TRAINED: Final = 1000
_LEAST: Final = 4  # the lowest label


@final
@dataclass(frozen=True)
class Recipe:
    """The random choices that make a sampler.

    Arguments:
        process: Its forward process.
        prediction: The output of its model.
        power: Its grid is a power of equal steps.
        eta: Its noise; 0 for none.
        order: 1, or 2 for the multistep rule.
        fault: One of ``FAULTS``; None for a right one.
        size, count, place: The size of the fault, the step count and the place in the run where it acts.
    """

    process: Process
    prediction: Prediction
    power: float
    eta: float
    order: int
    fault: str | None = None
    size: float = 0.0
    count: int = 0
    place: float = 0.5


def drawn(seed: int, right: int, planted: int) -> Iterator[Recipe]:
    """Recipes from a seed: the right ones first, then the faults in turn."""
    rng = np.random.default_rng(seed)
    for i in range(right + planted):
        fault = None if i < right else tuple(FAULTS)[(i - right) % len(FAULTS)]
        processes: tuple[Process, ...] = ("preserving", "exploding", "flow")
        eta = float(rng.choice([0.0, 0.5, 1.0]))
        order = int(rng.choice([1, 2])) if eta == 0.0 else 1
        size = float(rng.uniform(*FAULTS[fault])) if fault else 0.0
        counts = (10, 20, 40) if fault == tuple(FAULTS)[1] else (*range(2, 17), 999, 1000)
        yield Recipe(
            processes[int(rng.integers(3))], cast(Prediction, str(rng.choice(_PREDICTIONS))), float(rng.uniform(1.0, 1.8)),
            eta, order, fault, size, int(rng.choice(counts)), float(rng.uniform(0.2, 0.8)),
        )  # fmt: skip


class Drawn:
    """The sampler of a recipe, as diffusers shapes a scheduler."""

    def __init__(self, recipe: Recipe) -> None:
        import torch

        self.recipe = recipe
        self.prediction_type = recipe.prediction
        self.num_train_timesteps = _TRAINED
        self.order = 2 if recipe.fault == "an order is lost" else recipe.order
        self._table = torch.cumprod(1.0 - torch.linspace(1e-4, 0.02, _TRAINED, dtype=torch.float64), 0)
        self._logs = 0.5 * np.log((1.0 - self._table.numpy()) / self._table.numpy())
        if recipe.process != "flow":
            self.alphas_cumprod = self._table

    def set_timesteps(self, num_inference_steps: int) -> None:
        import torch

        recipe, self._steps = self.recipe, num_inference_steps
        ramp = np.linspace(1.0, 0.0, num_inference_steps) ** recipe.power
        labels = _LEAST + (_TRAINED - 1 - _LEAST) * ramp
        self._levels = [*(self._ratio(float(t)) for t in labels), 0.0]
        if recipe.fault == "the last level is repeated":
            self._levels[-1] = self._levels[-2]
        if recipe.fault == "the run ends early":
            self._levels[-1] = recipe.size
        shift = recipe.size if recipe.fault == "labels are shifted" else 0.0
        self.timesteps = torch.from_numpy(np.clip(labels + shift, 0.0, None))
        self._before: Any = None

    def add_noise(self, original_samples: Any, noise: Any, timesteps: Any) -> Any:
        alpha, sigma = self._level(self._levels[self._index(timesteps)])
        if self.recipe.fault == "the forward process is not the table's":
            sigma *= 1.0 + self.recipe.size
        return alpha * original_samples + sigma * noise

    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        import torch

        recipe, k = self.recipe, self._index(timestep)
        r, s = self._levels[k], self._levels[k + 1]
        (alpha, sigma), size, fault = self._level(r), recipe.size, recipe.fault
        x0, z = self._read(model_output, sample, alpha, sigma)
        if fault == "the step has one length, whatever the number of steps":
            s = r * (1.0 - size)
        if fault == "the step aims at another level than the grid's" and s > 0.0:
            s = (1.0 - size) * s + size * r
        if fault == "a part of the noise is lost":
            z = (1.0 - size) * z
        if fault == "the predicted data are scaled" or self._off(fault):
            x0 = (1.0 - size) * x0
        if fault == "the sign of a term depends on the number of steps":
            x0 = x0 + size * (-1.0) ** self._steps
        a, b = self._level(s)
        up = recipe.eta * b * math.sqrt(max(1.0 - (s / r) ** 2, 0.0))
        down, w = math.sqrt(b * b - up * up), torch.randn_like(sample) if recipe.eta else 0.0
        first = recipe.order == 1 or self._before is None or s == 0.0 or fault == "an order is lost"
        if not first:
            before, r_before = self._before
            h, h_before = math.log(r / s), math.log(r_before / r)
            x0_mid = x0 + 0.5 * h / h_before * (x0 - before)
            after = down / sigma * sample + (a - down * alpha / sigma) * x0_mid
        else:
            after = a * x0 + down * z + up * w
        if fault == "the variance of one step is wrong" and k == int(recipe.place * len(self.timesteps)):
            after = after + size * b * (w if recipe.eta else z)
        if fault == "the mean is right in the limit only":
            after = after + size * (1.0 / self._steps) ** 2
        if fault == "no number at one step count" and self._steps == recipe.count:
            after = (
                after * torch.tensor(-1.0).sqrt() if k == int(recipe.place * len(self.timesteps)) else after
            )
        self._before = (x0, r)
        return (after,)

    def _off(self, fault: str | None) -> bool:
        """Whether this number of steps is one of those at which the predicted data are scaled."""
        odd = fault == "wrong where the number of steps is odd" and self._steps % 2 == 1
        return odd or (fault == "right at one step count only" and self._steps != self.recipe.count)

    def _read(self, output: Any, x: Any, alpha: float, sigma: float) -> tuple[Any, Any]:
        """Data and noise that the model's output means."""
        prediction = self.recipe.prediction
        if self.recipe.fault == "the output is read as another":
            prediction = _PREDICTIONS[(_PREDICTIONS.index(prediction) + 1) % 4]
        if prediction == "epsilon":
            return (x - sigma * output) / alpha, output
        if prediction == "sample":
            return output, (x - alpha * output) / sigma
        if prediction == "flow_prediction":
            x0 = (x - sigma * output) / (alpha + sigma)
            return x0, x0 + output
        length = math.hypot(alpha, sigma)
        x0 = (alpha * x - sigma * length * output) / length**2
        return x0, (x - alpha * x0) / sigma

    def _ratio(self, label: float) -> float:
        """sigma / alpha of the training at a label."""
        if self.recipe.process == "flow":
            believed = label / _TRAINED
            return believed / (1.0 - believed)
        return float(np.exp(np.interp(label, np.arange(_TRAINED), self._logs)))

    def _level(self, ratio: float) -> tuple[float, float]:
        length = {"preserving": math.hypot(1.0, ratio), "exploding": 1.0, "flow": 1.0 + ratio}[
            self.recipe.process
        ]
        return 1.0 / length, ratio / length

    def _index(self, timestep: Any) -> int:
        return int(np.argmin(np.abs(self.timesteps.numpy() - float(timestep))))
