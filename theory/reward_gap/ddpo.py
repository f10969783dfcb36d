r"""Policy-gradient fine-tuning in closed form: tune on the SDE, deploy the ODE.

The model is the Gaussian score with a free mean and a free scale, :math:`s = -\kappa(y - \alpha_t\theta)/
\Sigma_t`.  DDPO with a KL penalty on the path climbs

.. math:: J_\eta(\theta, \kappa) = -E\,(Y_0^\eta - a)^2 - \beta\,KL_\eta(P_{\theta,\kappa} \| P)

of which every term is closed (:mod:`.moments`, :mod:`.paths`).  The optimum is what a perfect trainer
reaches; its reward is then read at eta = 0.  A caricature of the experiments of the paper, derived here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import numpy as np

from driftproof._namespace import UnmetHypothesis, checked

from .moments import GaussianProcess, require_model, terminal_moments
from .paths import path_kl

__all__ = ["DDPOToy", "Tuned"]


@final
@dataclass(frozen=True, slots=True)
@checked(kl="in [-inf, inf]")
class Tuned:
    """The optimum of a fine-tuning problem, and what it is worth.

    Attributes:
        theta, kappa: Mean and scale of the tuned score.
        trained: Expected reward on the SDE that it was tuned on.
        deployed: Expected reward on the ODE.
        kl: Path KL from the reference, nats.
    """

    theta: float
    kappa: float
    trained: float
    deployed: float
    kl: float

    @property
    def gap(self) -> float:
        """Reward gap: deployed less trained."""
        return self.deployed - self.trained


@final
@dataclass(frozen=True, slots=True)
@checked
class DDPOToy:
    r"""Fine-tuning of a Gaussian score for the reward :math:`-(x - a)^2` with a path-KL penalty.

    Arguments:
        process: VP or VE; for Flow, where alpha(T) = 0, the penalty on the scale is infinite.
        mean, variance: Moments of the data, one-dimensional; the variance > 0.
        target: The a of the reward.
        beta: Strength of the penalty, > 0.

    Raises:
        UnmetHypothesis: A process without signal at T, a number that is not finite, or one <= 0 that shall be > 0.

    Claims: REWARD-GAP-DDPO-1

    Example:
        >>> from driftproof.theory.processes import VP
        >>> toy = DDPOToy(VP(6.0, 6.0, 1.0), 0.0, 0.49, target=1.0, beta=0.3)
        >>> round(toy.reward(0.0, 1.0, 0.0), 4)  # untuned, on the ODE
        -1.4906
    """

    process: GaussianProcess
    mean: float
    variance: float
    target: float = 1.0
    beta: float = 0.3

    def __post_init__(self) -> None:
        require_model("DDPOToy", self.process, 0.0)
        if not float(self.process.alpha(self.process.T)) > 0.0:
            raise UnmetHypothesis("DDPOToy", "alpha(T) > 0", "alpha(T) = 0.0: the penalty is infinite")
        for name in ("mean", "target"):
            if not math.isfinite(getattr(self, name)):
                raise UnmetHypothesis("DDPOToy", f"{name} is finite", f"{name} = {getattr(self, name)!r}")
        for name in ("variance", "beta"):
            if not 0.0 < getattr(self, name) < math.inf:
                raise UnmetHypothesis("DDPOToy", f"{name} > 0", f"{name} = {getattr(self, name)!r}")

    def reward(self, theta: float, kappa: float, eta: float) -> float:
        """Expected reward of the samples of the model at eta."""
        shift = theta - self.mean
        m, v = terminal_moments(self.process, self.mean, self.variance, eta, kappa=kappa, shift=shift)
        return -float((m - self.target) ** 2 + v)

    def kl(self, theta: float, kappa: float, eta: float) -> float:
        """Path KL of the model at eta from the reference."""
        shift = theta - self.mean
        return float(path_kl(self.process, self.mean, self.variance, eta, kappa=kappa, shift=shift))

    def objective(self, theta: float, kappa: float, eta: float) -> float:
        """Reward less beta times path KL: what training on SDE(eta) climbs."""
        return self.reward(theta, kappa, eta) - self.beta * self.kl(theta, kappa, eta)

    def best_mean(self, kappa: float, eta: float) -> float:
        """The optimal theta for a given scale: in theta the objective is a parabola."""
        low, middle, high = (self.objective(self.mean + h, kappa, eta) for h in (-1.0, 0.0, 1.0))
        return self.mean + 0.5 * (high - low) / (2.0 * middle - low - high)

    def tuned(self, eta: float) -> Tuned:
        """The optimum of training on SDE(eta), eta > 0.

        Raises:
            UnmetHypothesis: eta <= 0, or an optimal scale outside of the range that is searched.
        """
        from scipy.optimize import minimize_scalar

        def loss(log_kappa: float) -> float:
            kappa = math.exp(log_kappa)
            return -self.objective(self.best_mean(kappa, eta), kappa, eta)

        # A scan first: the objective need not be concave in the scale.
        scan = np.linspace(-1.5, 3.0, 19)
        start = int(np.argmin([loss(float(u)) for u in scan]))
        if start in (0, len(scan) - 1):
            got = f"at the end {math.exp(scan[start]):.3g}"
            raise UnmetHypothesis("DDPOToy", "the optimal scale lies in [0.22, 20]", got)
        found = minimize_scalar(
            loss, bounds=(scan[start - 1], scan[start + 1]), method="bounded", options={"xatol": 1e-10}
        )
        kappa = math.exp(float(found.x))
        theta = self.best_mean(kappa, eta)
        return Tuned(
            theta,
            kappa,
            trained=self.reward(theta, kappa, eta),
            deployed=self.reward(theta, kappa, 0.0),
            kl=self.kl(theta, kappa, eta),
        )
