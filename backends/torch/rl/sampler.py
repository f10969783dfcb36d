r"""The sampler as a policy: mean and standard deviation of every step, and which steps are stochastic.

========= ========================================================== =============================
sampler   step                                                       stochasticity
========= ========================================================== =============================
gddim     :class:`~driftproof.backends.torch.schedulers.GDDIMScheduler` eta, any model
flow_sde  Flow-GRPO's Euler step                                     a = sqrt(2) eta, flows only
========= ========================================================== =============================

A deterministic step is gDDIM's at eta = 0 (for a flow: Euler on the velocity) in both.  The steps of the
scheduler are affine in state and output; their coefficients are read off once, so that steps of many
different times make one batch without a question to the scheduler.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, final

import array_api_compat.torch as xp
import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.memory import real
from driftproof.backends.torch.kit.schema import validated
from driftproof.numerics.samplers import Parametrization, flow_sde_moments, step_log_prob

__all__ = ["Kind", "Sampler", "Sampling", "log_prob"]

Kind: TypeAlias = Literal["sde", "ode"]


@final
@validated(frozen=True, slots=True)
class Sampling:
    """The sampler of training.

    Arguments:
        steps: Steps of a trajectory.
        eta: Its stochasticity; training needs eta > 0.
        kind: ``gddim``, or ``flow_sde`` (Flow-GRPO's step, with a = sqrt(2) eta).
    """

    steps: PositiveInt
    eta: NonNegativeFloat = 1.0
    kind: Literal["gddim", "flow_sde"] = "gddim"


@final
class Sampler:
    """The steps of one grid.

    Arguments:
        scheduler: A :class:`GDDIMScheduler` whose timesteps are set; it is copied.
        eta: The stochasticity of training, >= 0.
        kind: ``gddim`` or ``flow_sde``.

    Raises:
        UnmetHypothesis: eta < 0, an unknown kind, no timesteps, or ``flow_sde`` without a flow.
    """

    def __init__(self, scheduler: Any, eta: float, kind: Literal["gddim", "flow_sde"] = "gddim") -> None:
        if not 0.0 <= eta < math.inf:
            raise UnmetHypothesis("Sampler", "eta >= 0", f"eta = {eta!r}")
        if kind not in ("gddim", "flow_sde"):
            raise UnmetHypothesis("Sampler", "kind is gddim or flow_sde", repr(kind))
        # Its own: a pipeline that shares the scheduler sets other timesteps on it.
        self.scheduler, self.eta, self.kind = copy.deepcopy(scheduler), eta, kind
        self.prediction: Parametrization = scheduler.config.prediction_type
        if kind == "flow_sde" and self.prediction != "flow_prediction":
            raise UnmetHypothesis("Sampler", "flow_prediction, for flow_sde", repr(self.prediction))
        if scheduler.num_inference_steps is None:
            raise UnmetHypothesis("Sampler", "set_timesteps was called", "num_inference_steps = None")
        if scheduler.config.clip_sample:
            got = "clip_sample = True: a clipped step is not the one that was differentiated"
            raise UnmetHypothesis("Sampler", "clip_sample is not set", got)
        self._tables: dict[float, Tensor] = {}
        self.timesteps: Tensor = scheduler.timesteps.cpu()

    @property
    def n_steps(self) -> int:
        return len(self.timesteps)

    def description(self) -> dict[str, object]:
        """The identity of this sampler, as JSON."""
        known = ("eta", "kind", "prediction")
        return {**{name: getattr(self, name) for name in known}, "timesteps": self.timesteps.tolist()}

    def times(self, steps: Tensor) -> Tensor:
        """The timesteps of step numbers, on their device."""
        return self.timesteps.to(steps.device)[steps]

    def moments(self, output: Tensor, steps: Tensor, x: Tensor, eta: float) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of a step of each row.

        Both are in float32 at least.

        Arguments:
            output: The prediction of the model, with the shape of x.
            steps: Numbers of the steps, with shape (B,).
            x: The states, with shape (B, *).
            eta: The stochasticity of these steps.
        """
        working = torch.promote_types(x.dtype, torch.float32)
        if self.kind == "flow_sde" and eta > 0.0:
            sigmas = self.scheduler.sigmas.to(device=x.device, dtype=working)
            shape = (-1, *(1,) * (x.ndim - 1))
            t, s = sigmas[steps].reshape(shape), sigmas[steps + 1].reshape(shape)
            given = (x.to(working), output.to(working))
            return flow_sde_moments.kernel(xp, *given, t, s, math.sqrt(2.0) * eta)
        rows = self._table(eta).to(device=x.device, dtype=working)[:, steps]
        state, noise, std = (row.reshape(-1, *(1,) * (x.ndim - 1)) for row in rows)
        return state * x + noise * output.to(working), std

    def _table(self, eta: float) -> Tensor:
        """Coefficients of state and output, and the standard deviation, of every step: shape (3, N)."""
        if eta not in self._tables:
            with real():
                one = torch.ones(self.n_steps, 1, dtype=torch.float64)
                zero = torch.zeros_like(one)
                state, std = self.scheduler.moments(zero, self.timesteps, one, eta)
                output, _ = self.scheduler.moments(one, self.timesteps, zero, eta)
                self._tables[eta] = torch.cat([state, output, std.expand_as(state)], dim=1).T
        return self._tables[eta]

    def stds(self, eta: float) -> list[float]:
        """The standard deviation of every step."""
        with real():
            x, steps = torch.zeros(self.n_steps, 1, dtype=torch.float64), torch.arange(self.n_steps)
            std = self.moments(x, steps, x, eta)[1]
            return [float(value) for value in std.expand(self.n_steps, 1)[:, 0]]

    @property
    def deterministic(self) -> tuple[Kind, ...]:
        """The tags of the probability flow: no step is stochastic."""
        tag: Kind = "ode"
        return (tag,) * self.n_steps

    def kinds(self, window: Sequence[int], subject: str = "Sampler") -> tuple[Kind, ...]:
        """The tag of every step: ``sde`` in the window where there is noise, ``ode`` elsewhere.

        Raises:
            UnmetHypothesis: No step is stochastic, so that there is no log-probability to learn from.
        """
        noisy = {i for i, std in enumerate(self.stds(self.eta)) if std > 0.0}
        if not noisy & set(window):
            hypothesis = "eta > 0, as a deterministic step has no log-probability"
            if self.eta > 0.0:
                hypothesis = "some step of the window has noise (the last one, to the data, has none)"
            got = f"eta = {self.eta!r}, steps {list(window)} of {self.n_steps}"
            raise UnmetHypothesis(subject, hypothesis, got)
        return tuple("sde" if i in noisy and i in window else "ode" for i in range(self.n_steps))

    def eta_of(self, kind: Kind) -> float:
        """The stochasticity of a step with this tag."""
        return self.eta if kind == "sde" else 0.0


def log_prob(x_next: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """The log-density of steps, summed over coordinates, in float32 at least."""
    x_next = x_next.to(mean.dtype)
    return step_log_prob.kernel(xp, x_next, mean, std)
