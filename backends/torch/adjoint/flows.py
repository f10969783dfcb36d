r"""What is trained: a flow whose control is the difference between two of its velocities.

.. math:: u(x, t) = v_{tuned}(x, t) - v_{base}(x, t)

The two share one network: the tuned velocity is the network with its adapters, the base velocity the
network without.  Adapters of PEFT begin at zero, and so does the control.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn

from ...._namespace import UnmetHypothesis
from ....theory.adjoint import GaussianFlow
from .velocities import Condition, Velocity

__all__ = ["AffineFlow", "FlowModel", "NetworkFlow"]


class FlowModel(Protocol):
    """A base velocity with the transpose of its Jacobian, a tuned one, and the weights between them.

    ``guided`` asks for the velocity with guidance.
    """

    def tuned(self, x: Tensor, t: float, condition: Condition, guided: bool = False) -> Tensor: ...

    def base(self, x: Tensor, t: float, condition: Condition, guided: bool = False) -> Tensor: ...

    def vjp(self, x: Tensor, t: float, a: Tensor, condition: Condition, guided: bool = False) -> Tensor: ...

    def trainable(self) -> list[nn.Parameter]: ...


@final
class NetworkFlow:
    """A network of diffusers with adapters of PEFT, or without: then every weight is trained.

    Arguments:
        velocity: The velocity without guidance.
        guided: The same network with guidance; None where there is none.
        checkpointing: Recompute activations in the backward passes, those of the adjoint included.

    Raises:
        UnmetHypothesis: Two different networks, or no weight to train.
    """

    def __init__(
        self, velocity: Velocity, guided: Velocity | None = None, *, checkpointing: bool = False
    ) -> None:
        network: Any = velocity.network
        if guided is not None and guided.network is not network:
            raise UnmetHypothesis("NetworkFlow", "both velocities share a network", "two networks")
        self.adapted = bool(getattr(network, "peft_config", None))
        if checkpointing:
            network.enable_gradient_checkpointing()
        self._velocities = (velocity, guided)
        self._frozen = None if self.adapted else tuple(_frozen(v) for v in self._velocities)
        if not self.trainable():
            raise UnmetHypothesis("NetworkFlow", "some weight requires a gradient", "none does")

    def tuned(self, x: Tensor, t: float, condition: Condition, guided: bool = False) -> Tensor:
        """Velocity with the adapters."""
        return self._pick(self._velocities, guided)(x, t, condition)

    def base(self, x: Tensor, t: float, condition: Condition, guided: bool = False) -> Tensor:
        """Velocity without them."""
        with torch.no_grad(), self._without_adapters() as velocities:
            return self._pick(velocities, guided)(x, t, condition)

    def vjp(self, x: Tensor, t: float, a: Tensor, condition: Condition, guided: bool = False) -> Tensor:
        """Transposed Jacobian of the base velocity at x, applied to a: one backward pass."""
        x = x.detach().requires_grad_()
        # The backward pass belongs inside: with checkpointing it runs the network once more.
        with torch.enable_grad(), self._without_adapters() as velocities:
            v = self._pick(velocities, guided)(x, t, condition)
            (pulled,) = torch.autograd.grad(v, x, a.to(v.dtype))
        return pulled.to(a.dtype)

    def trainable(self) -> list[nn.Parameter]:
        """The weights that require a gradient."""
        return [weight for weight in self._velocities[0].network.parameters() if weight.requires_grad]

    @contextlib.contextmanager
    def _without_adapters(self) -> Iterator[tuple[Velocity | None, ...]]:
        if self._frozen is not None:
            yield self._frozen
        else:
            with _disabled(self._velocities[0].network):
                yield self._velocities

    def _pick(self, velocities: tuple[Velocity | None, ...], guided: bool) -> Velocity:
        chosen = velocities[int(guided)]
        if chosen is None:
            raise UnmetHypothesis("NetworkFlow", "a guided velocity, for training with guidance", "none")
        return chosen


@final
class AffineFlow:
    """The closed-form Gaussian flow with an affine control at each step: the trainer's own oracle.

    Arguments:
        flow: The flow, with torch arrays.
        times: The grid; the control of its step k has gains (d, d) and offsets (d,).
    """

    def __init__(self, flow: GaussianFlow, times: list[float]) -> None:
        d, n = flow.mean.shape[0], len(times) - 1
        self.flow, self._index = flow, {t: k for k, t in enumerate(times[:-1])}
        where = {"dtype": flow.mean.dtype, "device": flow.mean.device}
        self.gains = nn.Parameter(torch.zeros(n, d, d, **where))
        self.offsets = nn.Parameter(torch.zeros(n, d, **where))

    def tuned(self, x: Tensor, t: float, condition: Condition, guided: bool = False) -> Tensor:
        """Velocity with the control of the step that begins at t."""
        if t not in self._index:
            known = f"t starts a step of its grid {list(self._index)[:4]}..."
            raise UnmetHypothesis("AffineFlow", known, f"t = {t!r}")
        k = self._index[t]
        return self.base(x, t, condition) + x @ self.gains[k].T + self.offsets[k]

    def base(self, x: Tensor, t: float, condition: Condition, guided: bool = False) -> Tensor:
        """Velocity of the flow."""
        velocity: Tensor = self.flow.velocity(x, t)
        return velocity

    def vjp(self, x: Tensor, t: float, a: Tensor, condition: Condition, guided: bool = False) -> Tensor:
        """Transposed Jacobian of the flow's velocity, in closed form."""
        pulled: Tensor = self.flow.vjp(x, t, a)
        return pulled

    def trainable(self) -> list[nn.Parameter]:
        """Gains and offsets."""
        return [self.gains, self.offsets]


def _frozen(velocity: Velocity | None) -> Velocity | None:
    if velocity is None:
        return None
    twin = copy.deepcopy(velocity)
    twin.network.requires_grad_(False)
    return twin


@contextlib.contextmanager
def _disabled(network: nn.Module) -> Iterator[None]:
    """Without adapters; for classes of diffusers that PEFT has no methods of, too."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers: list[Any] = [module for module in network.modules() if isinstance(module, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(enabled=False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(enabled=True)
