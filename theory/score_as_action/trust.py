r"""The trust region of policy steps: how far the surrogate that TRPO and PPO climb may be from the objective.

Steps are taken on what the *old* policy has sampled, with the advantage rate q of the old policy:

.. math:: L_\theta(\theta') = J(\theta) + E^\theta \int q^\theta(X_t, t, s_{\theta'})\,dt, \qquad
    J(\theta') = J(\theta) + E^{\theta'} \int q^\theta(X_t, t, s_{\theta'})\,dt

For constant shifts on Gaussian data, with :math:`\delta = \theta' - \theta` and the response R, the difference is

.. math:: J(\theta') - L_\theta(\theta') = -\tfrac12 (R\delta)^\top Q\,(R\delta), \qquad
    |J(\theta') - L_\theta(\theta')| \le \kappa\,\mathrm{KL}(P^{\theta'} \| P^\theta), \quad
    \kappa = \|C^{1/2} Q\,C^{1/2}\|,

C the covariance of the samples: of second order in the root of the divergence.  A step that gains more than
:math:`\kappa\,\mathrm{KL}` on the surrogate is an improvement.  Derived here.

References:
    | Score as action: fine-tuning diffusion generative models by continuous-time reinforcement learning
      (Zhao, Chen, Zhang, Yao, Tang, 2025), https://arxiv.org/abs/2502.01819 (derived here)
"""

from __future__ import annotations

from driftproof._capabilities import arrays
from driftproof._namespace import Array, UnmetHypothesis, boundary
from driftproof.theory.laws.matrices import sqrt_psd
from driftproof.theory.rewards import Quadratic

from .shifts import ShiftedScore

__all__ = ["surrogate", "surrogate_error_bound"]


@arrays()
def surrogate(policy: ShiftedScore, shift: Array) -> float:
    r"""A surrogate for the objective of another shift, from the samples of a policy.

    .. math:: L_\theta(\theta') = J(\theta) + \nabla J(\theta) \cdot \delta - \tfrac\beta2\,B_T\,|\delta|^2

    Arguments:
        policy: The policy that has sampled, with shift theta.
        shift: The new constant theta', shape (d,).

    Returns:
        A number: the objective of the new policy, but for the states that it visits.

    Raises:
        UnmetHypothesis: A shift of another shape.

    Claims: SCORE-ACTION-TRUST-1

    Example:
        >>> from driftproof.theory.laws import Gaussian
        >>> from driftproof.theory.processes import VP
        >>> from driftproof.theory.rewards import Linear
        >>> old = ShiftedScore(VP(2.0, 2.0, 1.0), Gaussian([0.0], [[1.0]]), Linear([1.0]), 0.5, [0.0])
        >>> new = ShiftedScore(old.process, old.data, old.reward, old.beta, [0.3])
        >>> abs(surrogate(old, [0.3]) - new.objective()) < 1e-14  # a linear reward: the same
        True
    """
    change, other = _change("surrogate", policy, shift)
    xp, _, (slope,) = boundary("surrogate", slope=policy.policy_gradient())
    gained = float(xp.sum(slope * change))
    return policy.objective() + gained - policy.beta * other.path_kl()


@arrays()
def surrogate_error_bound(policy: ShiftedScore, shift: Array) -> float:
    r"""How far the objective of another shift may be from the surrogate.

    .. math:: |J(\theta') - L_\theta(\theta')| \le \|C^{1/2} Q\,C^{1/2}\|\;\tfrac12 B_T\,|\theta' - \theta|^2

    Arguments:
        policy, shift: As for :func:`surrogate`.

    Returns:
        A number >= 0, and 0 for linear rewards.

    Raises:
        UnmetHypothesis: As for :func:`surrogate`.

    Claims: SCORE-ACTION-TRUST-1

    Example:
        >>> from driftproof.theory.laws import Gaussian
        >>> from driftproof.theory.processes import VP
        >>> process, data = VP(2.0, 2.0, 1.0), Gaussian([0.0], [[1.0]])  # B = 2, and samples of variance 1
        >>> policy = ShiftedScore(process, data, Quadratic([1.0], [[3.0]]), 0.5, [0.0])
        >>> round(surrogate_error_bound(policy, [0.5]), 12)
        0.75
    """
    _, other = _change("surrogate_error_bound", policy, shift)
    if not isinstance(policy.reward, Quadratic):
        return 0.0
    cov = policy.terminal_law().cov
    xp, _, (cov, q) = boundary("surrogate_error_bound", cov=cov, q=policy.reward.Q)
    root = sqrt_psd(xp, cov)
    steepest = float(xp.max(xp.abs(xp.linalg.eigvalsh(root @ q @ root))))
    return steepest * other.path_kl()


def _change(subject: str, policy: ShiftedScore, shift: Array) -> tuple[Array, ShiftedScore]:
    """theta' - theta, and the policy with that shift: its divergence from the pre-trained one is that of the two."""
    _, _, (new, old) = boundary(subject, shift=shift, old=policy.shift)
    if new.shape != old.shape:
        got = f"shapes {tuple(new.shape)}, {tuple(old.shape)}"
        raise UnmetHypothesis(subject, "shift (d,) like that of the policy", got)
    change = new - old
    return change, ShiftedScore(policy.process, policy.data, policy.reward, policy.beta, change, policy.start)
