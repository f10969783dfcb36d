r"""Two answers to the same question: a network, and the exact one for finitely many data.

Both are callables ``(x, t) -> outputs`` with x of shape (B, d), t of shape (B, 1), and outputs of shape
(B, heads, d), the first of them in the parametrisation of the diffusion.  For data that are rows :math:`x_0^{(i)}`, each
with weight 1/N,

.. math:: \text{output}(x, t) = \sum_i w_i\,\text{target}(x_0^{(i)}, x, t), \qquad
    w_i \propto p_t(x \mid x_0^{(i)}) = \prod_k p_t(x_k \mid x_{0,k}^{(i)}),

and this is what denoising score matching on those rows tends to.  So the error of a trained network
is measured, not estimated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias, final

import array_api_compat.torch as xp
import torch
from torch import Tensor, nn

from .diffusions import AbstractDiffusion

__all__ = ["EmpiricalOracle", "Outputs", "ScoreNetwork"]

Outputs: TypeAlias = Callable[[Tensor, Tensor], Tensor]


@final
class ScoreNetwork(nn.Module):
    """A backbone between the features and the head of a diffusion.

    Mixed precision ends at the backbone: features, powers of rho, logarithms and the head are computed
    in the dtype of the state.

    Arguments:
        backbone: From features (B, d) and clock positions (B,) to raw outputs (B, heads, d).
        diffusion: The diffusion.
    """

    def __init__(self, backbone: nn.Module, diffusion: AbstractDiffusion) -> None:
        super().__init__()
        self.backbone = backbone
        self.diffusion = diffusion

    def forward(self, x: Tensor, t: Tensor) -> Tensor:  # (B, d), (B, 1) -> (B, heads, d)
        """The outputs at x and t."""
        with torch.autocast(x.device.type, enabled=False):
            u, c = self.diffusion.features(x, t), self.diffusion.position(t)[:, 0]
        raw = self.backbone(u, c)
        with torch.autocast(x.device.type, enabled=False):
            return self.diffusion.head(raw.to(x.dtype), x, t)


@final
class EmpiricalOracle:
    """The exact output (one head) when the data are the rows given, equally likely.

    Arguments:
        diffusion: The diffusion.
        rows: Data in its coordinates, with shape (N, d).
        budget: Numbers that an intermediate array may hold: rows of x are taken in portions.
    """

    def __init__(self, diffusion: AbstractDiffusion, rows: Tensor, budget: int = 4_000_000) -> None:
        self.diffusion, self.rows = diffusion, rows
        self.portion = max(1, budget // rows.numel())

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        parts = zip(torch.split(x, self.portion), torch.split(t, self.portion), strict=True)
        return torch.cat([self._outputs(*part) for part in parts])

    def weights(self, x: Tensor, t: Tensor) -> Tensor:
        """Posterior probabilities (B, N) of the rows."""
        process = self.diffusion.process
        parameters = process.transition_parameters(xp, self.rows[None], t[:, None])
        log_density = process.family.log_density(xp, x[:, None], *parameters).sum(-1)
        return torch.softmax(log_density, dim=1)

    def _outputs(self, x: Tensor, t: Tensor) -> Tensor:
        target = self.diffusion.target(self.rows[None], x[:, None], t[:, None])
        return torch.einsum("bn,bnd->bd", self.weights(x, t), target)[:, None]
