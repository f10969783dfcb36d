r"""What learns h and its gradient: the exact family for Gaussian data, small convolutions for latents.

Each is called with states (B, *) and timesteps (B,).  ``LogH`` gives :math:`\log h \le 0`: a probability of 1e-30 is
no number that a network should have to put out.  ``Field`` gives :math:`\sigma g`, guidance in units of the predicted
noise, or :math:`\sigma\nabla h`.
"""

from __future__ import annotations

import math
from typing import Literal, Protocol, TypeAlias, final

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, silu

from driftproof.backends.torch.rl.sampler import Sampler

from .models import columns

__all__ = ["LatentField", "LatentLogH", "Net", "Of", "ProbitField", "ProbitLogH"]

Of: TypeAlias = Literal["guidance", "gradient"]
FREQUENCIES = 8


class Net(Protocol):
    """A function of states and timesteps."""

    def __call__(self, x: Tensor, t: Tensor) -> Tensor: ...


class _Probit(nn.Module):
    r"""A margin :math:`\zeta_k = a_k \cdot x + b_k` for each step of a grid."""

    def __init__(self, sampler: Sampler, d: int, shift: float) -> None:
        super().__init__()
        n = sampler.n_steps
        self.slope = nn.Parameter(torch.zeros(n, d, dtype=torch.float64))
        self.shift = nn.Parameter(torch.full((n,), shift, dtype=torch.float64))
        self.timesteps: Tensor
        self.sigma: Tensor
        self.register_buffer("timesteps", sampler.timesteps.clone())
        self.register_buffer("sigma", columns(sampler, sampler.timesteps, self.slope)[1])

    def margin(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The margin, its slope and the noise level of each row."""
        k = (t[:, None] == self.timesteps).int().argmax(dim=1)
        slope = self.slope[k]
        return (slope * x).sum(dim=1) + self.shift[k], slope, self.sigma[k]


@final
class ProbitLogH(_Probit):
    r""":math:`\log\Phi(\zeta)`: of a half-space of Gaussian data it is the exact h of every step."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.special.log_ndtr(self.margin(x, t)[0])


@final
class ProbitField(_Probit):
    r""":math:`\sigma\,\nabla\Phi(\zeta)`, or :math:`\sigma\,(\nabla\log\Phi(\zeta) + B_k x + c_k)`.

    The affine part of a guidance is what the law of last states differs by from the data of the frozen score.
    """

    def __init__(self, sampler: Sampler, d: int, shift: float, of: Of) -> None:
        super().__init__(sampler, d, shift)
        n, self.of = sampler.n_steps, of
        nn.init.constant_(self.slope, 1e-2)  # the gradient of an h that is flat says nothing of its slope
        if of == "guidance":
            self.affine = nn.Parameter(torch.zeros(n, d, d, dtype=torch.float64))
            self.constant = nn.Parameter(torch.zeros(n, d, dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        margin, slope, sigma = self.margin(x, t)
        logs = -0.5 * margin**2 - 0.5 * math.log(2.0 * math.pi)
        if self.of == "gradient":
            return sigma * torch.exp(logs)[:, None] * slope
        pull = torch.exp(logs - torch.special.log_ndtr(margin))[:, None] * slope
        k = (t[:, None] == self.timesteps).int().argmax(dim=1)
        return sigma * (pull + torch.einsum("bij,bj->bi", self.affine[k], x) + self.constant[k])


class _Latent(nn.Module):
    """Three convolutions whose channels are scaled and shifted by the time."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.third = nn.Conv2d(width, width, 3, padding=1)
        self.time = nn.Sequential(nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, 4 * width))

    def features(self, x: Tensor, t: Tensor) -> Tensor:
        """Shape (B, width, H, W)."""
        angles = (
            (t.to(x.dtype) / 1000.0)[:, None] * math.pi * torch.arange(1, FREQUENCIES + 1, device=x.device)
        )
        embedded = self.time(torch.cat([angles.sin(), angles.cos()], dim=1))[:, :, None, None]
        scale, shift, scale2, shift2 = embedded.chunk(4, dim=1)
        y = silu(self.first(x) * (1.0 + scale) + shift)
        y = silu(self.second(y) * (1.0 + scale2) + shift2) + y
        found: Tensor = silu(self.third(y)) + y
        return found


@final
class LatentLogH(_Latent):
    """log h of latents.

    Arguments:
        channels: Channels of a state.
        width: Channels of the hidden layers.
        share: The share of trajectories in the event, which an untrained network says everywhere.
    """

    def __init__(self, channels: int, width: int, share: float) -> None:
        super().__init__(channels, width)
        self.head = nn.Linear(2 * width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.constant_(self.head.bias, math.log(share / (1.0 - share)))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        y = self.features(x, t)
        pooled = torch.cat([y.mean(dim=(2, 3)), y.amax(dim=(2, 3))], dim=1)
        return logsigmoid(self.head(pooled))[:, 0]


@final
class LatentField(_Latent):
    """A field of latents, 0 before it is trained."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width)
        self.head = nn.Conv2d(width, channels, 3, padding=1)
        for part in self.head.parameters():
            nn.init.zeros_(part)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        found: Tensor = self.head(self.features(x, t))
        return found
