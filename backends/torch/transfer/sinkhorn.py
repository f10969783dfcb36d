r"""Minibatch transport on the device: Sinkhorn in the log domain, float32 whatever the network computes in.

The potentials are found without a graph; the gradient of the regularised cost in the features is that of
:math:`\sum_{ij} P_{ij} |x_i - y_j|^2` at the optimal plan, by the envelope theorem.  Probabilities are never
formed before their logarithms have been balanced: no :math:`\varepsilon` underflows.
"""

from __future__ import annotations

import math

import array_api_compat.torch as torch_namespace
import torch
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof.numerics.transport import half_step

__all__ = ["sinkhorn_loss", "sinkhorn_plan", "squared_distances"]

_CHECK_EVERY = 10


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """Squared distances of rows, shape (n, m), without the cancellation of the expanded square.

    Raises:
        UnmetHypothesis: The rows have not one width, or there are none.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or 0 in (*x.shape, *y.shape):
        got = f"shapes {tuple(x.shape)} and {tuple(y.shape)}"
        raise UnmetHypothesis("squared_distances", "rows (n, d) and (m, d)", got)
    return torch.sum((x[:, None, :] - y[None, :, :]) ** 2, dim=-1)


@torch.no_grad()
def sinkhorn_plan(cost: Tensor, epsilon: float, *, iterations: int = 2000, tolerance: float = 1e-3) -> Tensor:
    """The entropic plan between two uniform minibatches.

    Arguments:
        cost: Squared distances, shape (n, m), finite.
        epsilon: Regularisation, > 0, in the units of the cost.
        iterations: Cap.
        tolerance: Largest sum of absolute errors of a marginal.

    Returns:
        The plan, shape (n, m), float32, with sum 1.

    Raises:
        UnmetHypothesis: epsilon <= 0; a cost that is not finite; the marginal error at the cap.

    Example:
        >>> sinkhorn_plan(torch.tensor([[0.0, 9.0], [9.0, 0.0]]), 0.05).tolist()
        [[0.5, 0.0], [0.0, 0.5]]
    """
    if not (epsilon > 0.0 and math.isfinite(epsilon)):
        raise UnmetHypothesis("sinkhorn_plan", "epsilon > 0 and finite", f"epsilon = {epsilon!r}")
    if cost.ndim != 2 or 0 in cost.shape:
        raise UnmetHypothesis("sinkhorn_plan", "cost (n, m), not empty", f"shape {tuple(cost.shape)}")
    cost = cost.detach().float()
    mean = float(cost.mean())
    if not math.isfinite(mean):
        raise UnmetHypothesis("sinkhorn_plan", "every cost is finite", f"the mean cost is {mean}")
    rows = torch.full((cost.shape[0],), -math.log(cost.shape[0]), device=cost.device)
    columns = torch.full((cost.shape[1],), -math.log(cost.shape[1]), device=cost.device)
    u, v, error = torch.zeros_like(rows), torch.zeros_like(columns), math.inf
    for step in range(1, iterations + 1):
        v = half_step.kernel(torch_namespace, cost.T, u, columns, epsilon)
        u = half_step.kernel(torch_namespace, cost, v, rows, epsilon)
        if step % _CHECK_EVERY == 0 or step == iterations:
            plan = torch.exp(u[:, None] + v[None, :] - cost / epsilon)
            error = float((plan.sum(0) - columns.exp()).abs().sum())
            if error < tolerance:
                return plan
    hypothesis = f"the marginal error falls below {tolerance:g} within {iterations} iterations"
    raise UnmetHypothesis(
        "sinkhorn_plan", hypothesis, f"marginal error = {error:.3g} at epsilon = {epsilon:g}"
    )


def sinkhorn_loss(x: Tensor, y: Tensor, epsilon: float = 0.1, *, tolerance: float = 1e-2) -> Tensor:
    r"""How far two minibatches of features are apart: the transport cost, less those of each onto itself.

    .. math:: \langle P_{xy}, C_{xy} \rangle - \tfrac12 \langle P_{xx}, C_{xx} \rangle
        - \tfrac12 \langle P_{yy}, C_{yy} \rangle

    Arguments:
        x, y: Features, shapes (n, d) and (m, d), any floating dtype; gradients flow to both.
        epsilon: Regularisation as a share of the mean cost between x and y, > 0.
        tolerance: The tolerance of the marginals.

    Returns:
        A 0-D float32 tensor, 0 for equal minibatches.

    Raises:
        UnmetHypothesis: As for :func:`sinkhorn_plan`.

    References:
        | Learning generative models with Sinkhorn divergences (Genevay, Peyré & Cuturi, 2018)

    Example:
        >>> x = torch.tensor([[0.0], [1.0]])
        >>> round(float(sinkhorn_loss(x, x + 3.0)), 4)
        9.0
    """
    with torch.autocast(x.device.type, enabled=False):
        x, y = x.float(), y.float()
        both, first, second = (squared_distances(a, b) for a, b in ((x, y), (x, x), (y, y)))
        mean = float(both.detach().mean())
        scaled = epsilon * mean if mean > 0.0 else epsilon  # one for all three: what it blurs cancels
        plans = [sinkhorn_plan(cost, scaled, tolerance=tolerance) for cost in (both, first, second)]
        costs = [torch.sum(plan * cost) for plan, cost in zip(plans, (both, first, second), strict=True)]
        return costs[0] - 0.5 * costs[1] - 0.5 * costs[2]
