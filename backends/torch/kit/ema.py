r"""An exponential moving average of a module's parameters and buffers.

.. math::
    \bar\theta_k = \gamma_k \bar\theta_{k-1} + (1 - \gamma_k)\,\theta_k,
    \qquad \gamma_k = \min\Bigl(\gamma, \frac{1 + k}{10 + k}\Bigr),

so that the first steps are forgotten soon.  Averages are float32 at least: in bfloat16 the last step of one stands
still long before it arrives.  Integer buffers are copied.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TypeVar, final

import torch
from torch import Tensor, nn

from driftproof._namespace import UnmetHypothesis

__all__ = ["EMA"]

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@final
class EMA:
    """The running average of the state of ``module``.

    Arguments:
        module: The module that is trained.
        decay: The limit :math:`\\gamma` in [0, 1).

    Example:
        >>> layer = nn.Linear(1, 1)
        >>> ema = EMA(layer, decay=0.5)
        >>> ema.update(layer, step=1000)
        >>> bool((ema.state["weight"] == layer.weight).all())
        True
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not 0.0 <= decay < 1.0:
            raise UnmetHypothesis("EMA", "0 <= decay < 1", f"decay = {decay!r}")
        self.decay = decay
        self.state: dict[str, Tensor] = {k: _wide(v.detach().clone()) for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the state of ``module`` after step number ``step`` (0, 1, ...)."""
        keep = min(self.decay, (1.0 + step) / (10.0 + step))
        means, values = [], []
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                means.append(self.state[name])
                values.append(_wide(value))
            else:
                self.state[name].copy_(value)
        if means:
            torch._foreach_lerp_(means, values, 1.0 - keep)  # one launch for all of them

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Replace the averages, on the device where they live."""
        if set(state) != set(self.state):
            different = sorted(set(state) ^ set(self.state))
            raise ValueError(f"EMA: the names differ: {different}")
        for name, value in state.items():
            self.state[name].copy_(value)

    def averaged(self, module: ModuleT) -> ModuleT:
        """A copy of ``module``, in its precision and in evaluation mode, that holds the averages."""
        twin = copy.deepcopy(module)
        twin.load_state_dict(self.state)
        return twin.eval().requires_grad_(False)


def _wide(value: Tensor) -> Tensor:
    return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value
