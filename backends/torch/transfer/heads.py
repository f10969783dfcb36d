r"""Linear heads on features: ridge regression of one-hot labels, towards nothing or towards a source head.

The penalty is chosen by the leave-one-out error, which is exact for ridge regression:
:math:`e_i/(1 - h_{ii})` with the residuals e and the hat matrix h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof.numerics.transfer import ridge_towards

__all__ = ["Standardizer", "adapted", "class_shares", "one_hot", "penalised", "predicted", "with_constant"]

PENALTIES = tuple(10.0 ** (0.5 * k) for k in range(-6, 7))


@final
@dataclass(frozen=True, eq=False)
class Standardizer:
    """Mean and deviation of the source features; those without variance keep deviation 1."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Standardizer:
        """The standardizer of a sample, shape (n, k)."""
        deviation = features.std(dim=0)
        return cls(features.mean(dim=0), torch.where(deviation > 1e-9, deviation, 1.0))

    def __call__(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.deviation

    def undo(self, features: Tensor) -> Tensor:
        """The features before."""
        return features * self.deviation + self.mean


def class_shares(probabilities: Tensor, prior: Tensor, *, smoothing: float = 0.1, steps: int = 100) -> Tensor:
    r"""Shares of the classes in a sample without labels, from the probabilities of a model with other shares.

    .. math:: \pi_c \leftarrow \frac1m \sum_i \frac{p_c(x_i)\,\pi_c/\pi^S_c}{\sum_b p_b(x_i)\,\pi_b/\pi^S_b}

    Arguments:
        probabilities: Those of the source model, shape (m, classes).
        prior: Shares of the source :math:`\pi^S`, shape (classes,), > 0.
        smoothing: Rows of every class that are added, > 0: no share becomes 0.
        steps: Steps of expectation and maximisation.

    Returns:
        Shares, shape (classes,), with sum 1.

    Raises:
        UnmetHypothesis: A class without a share in the source, smoothing <= 0, or shapes that do not match.

    References:
        | Adjusting the outputs of a classifier to new a priori probabilities (Saerens, Latinne & Decaestecker, 2002)

    Example:
        >>> sure = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> class_shares(sure, torch.tensor([0.5, 0.5]), smoothing=1.0)
        tensor([0.6000, 0.4000])
    """
    if probabilities.ndim != 2 or tuple(prior.shape) != tuple(probabilities.shape[1:]):
        got = f"shapes {tuple(probabilities.shape)} and {tuple(prior.shape)}"
        raise UnmetHypothesis("class_shares", "probabilities (m, classes) and prior (classes,)", got)
    if not (float(prior.min()) > 0.0 and smoothing > 0.0):
        got = f"least share = {float(prior.min()):.3g}, smoothing = {smoothing!r}"
        raise UnmetHypothesis("class_shares", "prior > 0 and smoothing > 0", got)
    m, classes = probabilities.shape
    shares = prior
    for _ in range(steps):
        posterior = probabilities * (shares / prior)
        posterior = posterior / posterior.sum(dim=1, keepdim=True)
        shares = (posterior.sum(dim=0) + smoothing) / (m + smoothing * classes)
    return shares


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """Labels as rows that sum to 0: 1 - 1/K for the class, -1/K elsewhere."""
    return torch.nn.functional.one_hot(labels, classes).double() - 1.0 / classes


def with_constant(features: Tensor) -> Tensor:
    """A column of ones beside the features."""
    return torch.cat([features, torch.ones_like(features[:, :1])], dim=1)


def penalised(x: Tensor, y: Tensor, penalty: float, towards: Tensor | None = None) -> Tensor:
    """The head of shape (k + 1, outputs) with one penalty; features without their constant."""
    source = x.new_zeros(x.shape[1] + 1, y.shape[1]) if towards is None else towards
    head: Tensor = ridge_towards(with_constant(x), y, source, penalty)
    return head


def adapted(x: Tensor, y: Tensor, towards: Tensor | None = None) -> tuple[Tensor, float]:
    """The head with the penalty of least leave-one-out error, and that penalty."""
    source = x.new_zeros(x.shape[1] + 1, y.shape[1]) if towards is None else towards
    design, m = with_constant(x), float(x.shape[0])
    values, vectors = torch.linalg.eigh(design @ design.T / m)
    coordinates = vectors.T @ (y - design @ source)
    best, chosen = float("inf"), PENALTIES[-1]
    for penalty in PENALTIES:
        kept = penalty / (values.clamp_min(0.0) + penalty)  # of the residual, in each direction
        residual = vectors @ (kept[:, None] * coordinates)
        left = torch.sum(vectors**2 * kept, dim=1)  # 1 - h
        error = float(torch.mean((residual / left[:, None]) ** 2))
        if error < best:
            best, chosen = error, penalty
    return penalised(x, y, chosen, source), chosen


def predicted(x: Tensor, head: Tensor) -> Tensor:
    """Outputs of a head, shape (m, outputs)."""
    return with_constant(x) @ head
