r"""The optimum of the control problem for Gaussian data and their mixtures.

With :math:`r(x) = c \cdot x - \tfrac12 x^\top Q x` and the posterior :math:`\sum_k \gamma_k N(M_k, C_k)` of
the data behind x,

.. math::
    V^*(x, t) &= \beta \log E\big[e^{r(X_0)/\beta} \mid X_t = x\big]
        = \beta \log \sum_k \gamma_k\,e^{V_k/\beta} \\
    V_k &= r(M_k) + \tfrac1{2\beta}\,w_k^\top G_k C_k\,w_k - \tfrac\beta2 \log\det(I + C_k Q/\beta), \qquad
        w_k = c - Q M_k, \quad G_k = (I + C_k Q/\beta)^{-1} \\
    a^*(x, t) &= s_{pre} + \nabla V^*/\beta

No full text of the paper was available: derived here, by completing the square.

Symbols:
    process: VP, VE or Flow.
    reward: Linear or Quadratic.
    beta: Strength of the KL penalty, > 0.
    x: State, shape (..., d).
    t: Noise time in [0, T], shape () or that of x without its last axis.

References:
    | Score as action: fine-tuning diffusion generative models by continuous-time reinforcement learning
      (Zhao, Chen, Zhang, Yao, Tang, 2025), https://arxiv.org/abs/2502.01819
"""

from __future__ import annotations

from typing import Any

from array_api_compat import device

from driftproof._capabilities import arrays
from driftproof._namespace import Array, Namespace, UnmetHypothesis, holds
from driftproof.theory.laws import Gaussian, GaussianMixture
from driftproof.theory.laws.gaussian import require_single
from driftproof.theory.rewards import Reward, tilted
from driftproof.theory.special.elementary import log_mean_exp, shares

from .posterior import Data, Posterior, Problem, Process, matvec, posterior, prior, problem, require_beta

__all__ = ["conditional_law", "optimal_action", "terminal_law", "value", "value_function_bias"]


@arrays()
def value(process: Process, data: Data, reward: Reward, beta: float, x: Array, t: Array) -> Array:
    r"""The optimal value function.

    .. math:: V^*(x, t) = \beta \log E\big[e^{r(X_0)/\beta} \mid X_t = x\big]

    Arguments:
        process, reward, beta, x, t: Symbols of the module.
        data: Gaussian or GaussianMixture, what the pre-trained model samples; on planes (singular
            covariances) at t > 0.

    Returns:
        Array of shape (...).

    Raises:
        UnmetHypothesis: beta <= 0, a singular covariance, t outside of [0, T], or a convex reward that
            outgrows the posterior: :math:`I + CQ/\beta` has an eigenvalue <= 0.

    Claims: SCORE-ACTION-OPT-1, SCORE-ACTION-MIX-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> from driftproof.theory.rewards import Linear
        >>> float(value(Flow(), Gaussian([0.0], [[1.0]]), Linear([2.0]), 1.0, [0.0], 0.5))
        1.0
    """
    law = problem("value", process, data, reward, x=x, t=t)
    _, exponents = _optimum("value", process, law, beta)
    return law.down.wide(beta * log_mean_exp(law.xp, law.weights, exponents))


@arrays()
def optimal_action(process: Process, data: Data, reward: Reward, beta: float, x: Array, t: Array) -> Array:
    r"""The optimal action: the score that the fine-tuned model should have.

    .. math:: a^* = s_{pre} + \frac{\nabla V^*}\beta
        = \sum_k \pi_k \Big[s_k + \frac{K_k (I + Q C_k/\beta)^{-1}(c - Q M_k)}\beta\Big], \qquad
        \pi_k \propto \gamma_k\,e^{V_k/\beta}

    Arguments:
        process, data, reward, beta, x, t: As for :func:`value`.

    Returns:
        Array of shape (..., d).

    Raises:
        UnmetHypothesis: As for :func:`value`; also t = 0, for data without a density there.

    Claims: SCORE-ACTION-OPT-1, SCORE-ACTION-MIX-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> from driftproof.theory.rewards import Linear
        >>> optimal_action(Flow(), Gaussian([0.0], [[1.0]]), Linear([2.0]), 1.0, [0.0], 0.5).tolist()
        [2.0]
    """
    law = problem("optimal_action", process, data, reward, x=x, t=t)
    xp = law.xp
    post, exponents = _optimum("optimal_action", process, law, beta)
    pull = matvec(xp, xp.matrix_transpose(_shrink(xp, law, post.covs, beta)), _slope(xp, law, post.means))
    actions = post.scores + matvec(xp, post.gains, pull) / beta
    return law.down(xp.sum(shares(xp, law.weights, exponents)[..., None] * actions, axis=-2))


@arrays()
def conditional_law(
    process: Process, data: Data, reward: Reward, beta: float, x: Array, t: Array
) -> Gaussian | GaussianMixture:
    r"""The law that the optimum samples from each state: the posterior, tilted by the reward.

    .. math:: P^*(dx_0 \mid x) \propto p(dx_0 \mid x)\,e^{r(x_0)/\beta}
        = \sum_k \pi_k\,N\big(G_k (M_k + C_k c/\beta),\; G_k C_k\big)

    Arguments:
        process, data, reward, beta: As for :func:`value`.
        x, t: Symbols of the module.

    Returns:
        A law of the kind of the data, with a row for each state: its batch shape is (...).

    Raises:
        UnmetHypothesis: As for :func:`value`.

    Claims: SCORE-ACTION-MIX-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> from driftproof.theory.rewards import Linear
        >>> law = conditional_law(Flow(), Gaussian([0.0], [[1.0]]), Linear([2.0]), 1.0, [1.0], 0.5)
        >>> law.mean.tolist(), law.cov.tolist()
        ([2.0], [[0.5]])
    """
    law = problem("conditional_law", process, data, reward, x=x, t=t)
    xp = law.xp
    post, exponents = _optimum("conditional_law", process, law, beta)
    shrink = _shrink(xp, law, post.covs, beta)
    means = matvec(xp, shrink, post.means + matvec(xp, post.covs, law.c) / beta)
    covs = shrink @ post.covs
    covs = 0.5 * (covs + xp.matrix_transpose(covs))
    if isinstance(data, Gaussian):
        return law.down(Gaussian(means[..., 0, :], covs[..., 0, :, :]))
    weights = shares(xp, law.weights, exponents)
    return law.down(GaussianMixture(weights, means, covs))


@arrays()
def terminal_law(
    process: Process,
    data: Gaussian,
    reward: Reward,
    beta: float,
    start: Gaussian | None = None,
) -> Gaussian:
    r"""The law of the samples at the optimum, from a Gaussian law at time T.

    .. math:: X_0 \sim N\big(G(M_0 + C_0 c/\beta),\; G C_0 + G K_0 V_0 K_0 G^\top\big), \qquad
        M_0 = m + K_0(\mu_0 - \alpha_T m), \quad G = (I + C_0 Q/\beta)^{-1}

    Index 0 is the start of sampling, at noise time T.  This is the tilt of the data only where the start
    knows nothing of them (:math:`\alpha_T = 0`); see :func:`value_function_bias`.

    Arguments:
        process, reward, beta: Symbols of the module.
        data: Gaussian data; a singular covariance is legal.
        start: Law at time T; by default the prior, N(0, I) for VP and N(0, sigma_T^2 I) else.

    Returns:
        A Gaussian law.

    Raises:
        UnmetHypothesis: As for :func:`value`; data that are a mixture have :func:`conditional_law`.

    Claims: SCORE-ACTION-TERMINAL-1, SCORE-ACTION-BIAS-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> from driftproof.theory.rewards import Quadratic
        >>> law = terminal_law(Flow(), Gaussian([0.0], [[1.0]]), Quadratic([2.0], [[1.0]]), 1.0)
        >>> law.mean.tolist(), law.cov.tolist()
        ([1.0], [[0.5]])
    """
    if not isinstance(data, Gaussian):
        got = f"data law {type(data).__name__}: ask for conditional_law"
        raise UnmetHypothesis("terminal_law", "the data law is Gaussian", got)
    start = prior(process, data) if start is None else start
    if not isinstance(start, Gaussian):
        raise UnmetHypothesis("terminal_law", "the start is Gaussian", f"start {type(start).__name__}")
    require_single("terminal_law", start)
    law = problem("terminal_law", process, data, reward, x=start.mean, t=process.T, cov0=start.cov)
    xp, cov0 = law.xp, law.points[2]
    post, _ = _optimum("terminal_law", process, law, beta)
    shrink, cov = _shrink(xp, law, post.covs, beta)[0, :, :], post.covs[0, :, :]
    mean = matvec(xp, shrink, post.means[0, :] + matvec(xp, cov, law.c) / beta)
    carried = shrink @ post.gains[0, :, :]
    spread = shrink @ cov + carried @ cov0 @ xp.matrix_transpose(carried)
    return law.down(Gaussian(mean, 0.5 * (spread + xp.matrix_transpose(spread))))


@arrays()
def value_function_bias(
    process: Process,
    data: Gaussian,
    reward: Reward,
    beta: float,
    start: Gaussian | None = None,
) -> tuple[Array, Array]:
    r"""How far the optimum stays from the tilt of the data, because the start is not tilted.

    .. math:: E_{tilt} X - E X_0 = \alpha_T^2\,\mathrm{Cov}_{tilt}\,E_{tilt}X + O(\alpha_T^4), \qquad
        \mathrm{Cov}_{tilt} - \mathrm{Cov}\,X_0 = O(\alpha_T^4) \quad \text{from } N(0, I)

    The control cannot reach the law at time T, which the tilted law would have noised to.

    Arguments:
        process, data, reward, beta, start: As for :func:`terminal_law`.

    Returns:
        The difference of means, shape (d,), and of covariances, shape (d, d).

    Raises:
        UnmetHypothesis: As for :func:`terminal_law`.

    Claims: SCORE-ACTION-BIAS-1

    Example:
        >>> from driftproof.theory.processes import Flow
        >>> from driftproof.theory.rewards import Linear
        >>> value_function_bias(Flow(), Gaussian([0.0], [[1.0]]), Linear([2.0]), 1.0)[0].tolist()
        [0.0]
    """
    sampled, target = terminal_law(process, data, reward, beta, start), tilted(data, reward, beta)
    return target.mean - sampled.mean, target.cov - sampled.cov


def _optimum(subject: str, process: Any, law: Problem, beta: float) -> tuple[Posterior, Array]:
    """The posterior, and the exponents of its components under the tilt, that of the posterior and V_k / beta."""
    xp = law.xp
    x, t, *_ = law.points
    require_beta(subject, beta)
    post = posterior(xp, process, law, x, t)
    _require_bounded(xp, subject, law, post.covs, beta)
    slope = _slope(xp, law, post.means)
    shrink = _shrink(xp, law, post.covs, beta)
    _, log_det = xp.linalg.slogdet(_stiff(xp, law, post.covs, beta))
    spread = xp.sum(slope * matvec(xp, shrink @ post.covs, slope), axis=-1)
    bent = xp.sum(post.means * matvec(xp, law.curvature, post.means), axis=-1)
    plug_in = xp.sum(law.c * post.means, axis=-1) - 0.5 * bent
    values = plug_in + 0.5 / beta * spread - 0.5 * beta * log_det
    tilts = values / beta
    if not holds(xp.all(xp.isfinite(tilts))):
        raise UnmetHypothesis(subject, "beta so large that results are finite", f"beta = {beta!r}")
    return post, post.exponents + tilts


def _slope(xp: Namespace, law: Problem, means: Array) -> Array:
    """w = c - Q M."""
    return law.c - matvec(xp, law.curvature, means)


def _stiff(xp: Namespace, law: Problem, covs: Array, beta: float) -> Array:
    """I + C Q / beta."""
    eye = xp.eye(covs.shape[-1], dtype=covs.dtype, device=device(covs))
    return eye + covs @ law.curvature / beta


def _shrink(xp: Namespace, law: Problem, covs: Array, beta: float) -> Array:
    """G = (I + C Q / beta)^-1."""
    return xp.linalg.inv(_stiff(xp, law, covs, beta))


def _require_bounded(xp: Namespace, subject: str, law: Problem, covs: Array, beta: float) -> None:
    """The eigenvalues of I + sqrt(C) Q sqrt(C) / beta are positive: the exponential moment is finite."""
    values, vectors = xp.linalg.eigh(covs)
    root = vectors * xp.sqrt(xp.where(values > 0, values, xp.zeros_like(values)))[..., None, :]
    inner = xp.linalg.eigvalsh(xp.matrix_transpose(root) @ law.curvature @ root)
    least = 1.0 + float(xp.min(inner)) / beta
    if not least > 0.0:
        raise UnmetHypothesis(subject, "I + C Q / beta is positive definite", f"least eigenvalue {least:.3g}")
