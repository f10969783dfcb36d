r"""The loss of a batch of pairs: two forward passes of the model, two of the reference, and a line of the numerics.

.. math:: u = \omega\,\big(|\hat y_{ref} - y|^2 - |\hat y - y|^2\big), \qquad L = L_0(u_w, u_l)

A tie is the mean of both orders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import array_api_compat.torch as xp
import torch
from torch import Tensor

from driftproof.backends.torch.pretrained.guidance import Condition, Predict
from driftproof.numerics.rich_po import (
    clamped_step_loss,
    denoising_ratio,
    dpo_loss,
    dpop_loss,
    hinge_loss,
    ipo_loss,
    noise_error_weight,
    robust_dpo_loss,
    sppo_loss,
)
from driftproof.numerics.samplers.parametrization import Parametrization, output_of

from .config import Objective
from .noising import Noising

__all__ = ["Compared", "PairBatch", "compare", "drawn", "pair_loss", "winner_reach"]


@final
@dataclass(frozen=True, slots=True, eq=False)
class PairBatch:
    """Pairs, and the noise that is put on them.

    Arguments:
        chosen, rejected: States, shape (n, *).
        wins: The probability that the chosen one wins: 1, or 1/2 for a tie, shape (n,).
        condition: Named tensors with n rows.
        times: Numbers of the noise times of both, shape (2, n).
        noise: The noise of both, shape (2, n, *).
    """

    chosen: Tensor
    rejected: Tensor
    wins: Tensor
    condition: Condition
    times: Tensor
    noise: Tensor

    def rows(self, part: slice) -> PairBatch:
        """Some of the pairs."""
        condition = {name: value[part] for name, value in self.condition.items()}
        return PairBatch(
            self.chosen[part],
            self.rejected[part],
            self.wins[part],
            condition,
            self.times[:, part],
            self.noise[:, part],
        )


@final
@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """The result of a batch.

    Arguments:
        losses: The loss of each pair, shape (n,).
        seen: Named numbers of each pair, without a gradient, shape (n,): mean squared errors of predictions now and before,
            ``winner reach``, the log-ratio that a perfect prediction of the winner would have, the margin, and whether it is right.
    """

    losses: Tensor
    seen: Mapping[str, Tensor]


def drawn(
    generator: torch.Generator,
    pairs: tuple[Tensor, Tensor, Tensor, Condition],
    noising: Noising,
    objective: Objective,
) -> PairBatch:
    """Pairs with times and noise: shared where the objective says so."""
    chosen, rejected, wins, condition = pairs
    where: dict[str, Any] = {"generator": generator, "device": generator.device, "dtype": chosen.dtype}
    times = torch.stack([noising.draw(generator, len(chosen)) for _ in range(2)])
    noise = torch.randn((2, *chosen.shape), **where)
    if objective.shared_time:
        times = times[:1].expand_as(times)
    if objective.shared_noise:
        noise = noise[:1].expand_as(noise)
    return PairBatch(chosen, rejected, wins, condition, times, noise)


def compare(
    predict: Predict,
    reference: Predict,
    batch: PairBatch,
    noising: Noising,
    objective: Objective,
    kind: Parametrization,
) -> Compared:
    """Losses of pairs, and both errors apart.

    Arguments:
        predict, reference: The model, and what it was; each is called once, on winners and losers together.
        batch: The pairs.
        noising: Their levels.
        objective: The loss.
        kind: The parametrization of the model.
    """
    data = torch.cat([batch.chosen, batch.rejected])
    condition = {name: torch.cat([value, value]) for name, value in batch.condition.items()}
    noise, times = batch.noise.flatten(0, 1), batch.times.flatten()
    inputs, target, weight = _noised(data, noise, times, condition, noising, objective, kind)
    prediction = predict(*inputs).to(data.dtype)
    was = reference(*inputs).to(data.dtype)
    ratios = denoising_ratio.kernel(xp, prediction, was, target, weight)
    dimension = data[0].numel()
    if objective.loss == "clamped":
        ratios = ratios / dimension
    won, lost = ratios.chunk(2)
    losses = pair_loss(objective, objective.summed(dimension), won, lost)
    if bool((batch.wins != 1.0).any()):
        turned = pair_loss(objective, objective.summed(dimension), lost, won)
        losses = batch.wins * losses + (1.0 - batch.wins) * turned
    with torch.no_grad():
        error, before = (_mean_square(y - target) for y in (prediction, was))
        margin = won - lost
        decided = batch.wins != 0.5
        seen = {
            "winner error": error.chunk(2)[0],
            "loser error": error.chunk(2)[1],
            "winner before": before.chunk(2)[0],
            "loser before": before.chunk(2)[1],
            "winner reach": (weight * dimension * before).chunk(2)[0],
            "margin": margin,
            "accuracy": torch.where(decided, 0.5 * (1.0 + torch.sign(margin)), torch.full_like(margin, 0.5)),
        }
        if objective.loss == "clamped":
            seen["outside"] = 0.5 * (_outside(won, objective.clip) + _outside(lost, objective.clip))
    return Compared(losses, seen)


@torch.no_grad()
def winner_reach(
    reference: Predict, batch: PairBatch, noising: Noising, objective: Objective, kind: Parametrization
) -> Tensor:
    """The log-ratio of a perfect prediction of each winner; only the reference is evaluated, at winners alone."""
    data = batch.chosen
    inputs, target, weight = _noised(
        data, batch.noise[0], batch.times[0], batch.condition, noising, objective, kind
    )
    return weight * data[0].numel() * _mean_square(reference(*inputs).to(data.dtype) - target)


def _noised(
    data: Tensor,
    noise: Tensor,
    times: Tensor,
    condition: Condition,
    noising: Noising,
    objective: Objective,
    kind: Parametrization,
) -> tuple[tuple[Tensor, Tensor, Condition], Tensor, float | Tensor]:
    """The inputs of a model at noised data, the output that it should give, and the weight of its squared error."""
    alpha, sigma = noising.levels(times, data)
    inputs = alpha * data + sigma * noise, noising.timesteps.to(data.device)[times], condition
    weight: float | Tensor = 1.0
    if objective.errors == "noise" and kind != "epsilon":
        weight = noise_error_weight.kernel(xp, alpha.flatten(), sigma.flatten(), kind)
    return inputs, output_of(data, noise, alpha, sigma, kind), weight


def pair_loss(objective: Objective, beta: float, won: Tensor, lost: Tensor) -> Tensor:
    """The loss of the numerics, of log-ratios of winners and losers."""
    o, u = objective, (won, lost)
    loss: Tensor
    match o.loss:
        case "dpo":
            loss = dpo_loss.kernel(xp, *u, beta, o.smoothing, o.sft)
        case "robust":
            loss = robust_dpo_loss.kernel(xp, *u, beta, o.smoothing, o.sft)
        case "ipo":
            loss = ipo_loss.kernel(xp, *u, beta, o.sft)
        case "hinge":
            loss = hinge_loss.kernel(xp, *u, beta, o.sft)
        case "dpop":
            loss = dpop_loss.kernel(xp, *u, beta, o.penalty, o.sft)
        case "sppo":
            loss = sppo_loss.kernel(xp, *u, beta, o.sft)
        case "clamped":
            loss = clamped_step_loss.kernel(xp, *u, beta, o.clip)
    return loss


def _mean_square(values: Tensor) -> Tensor:
    return values.square().flatten(1).mean(dim=1)


def _outside(ratios: Tensor, clip: float) -> Tensor:
    """1 where a ratio has left the clamp, and its gradient is 0."""
    ratio = ratios.exp()
    return ((ratio < 1.0 - clip) | (ratio > 1.0 + clip)).to(ratios.dtype)
