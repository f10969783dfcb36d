r"""What is trained: a flow whose control is the difference between two of its velocities.

.. math:: u(x, t) = v_{tuned}(x, t) - v_{base}(x, t)

Where adapters of PEFT are all that is trained, the two share one network: the tuned velocity is the network
with its adapters, the base velocity the network without.  Adapters begin at zero, and so does the control.
Otherwise the base velocity is that of a copy of the network as it was.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any, Protocol, final

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.pretrained.denoisers import Velocity
from driftproof.backends.torch.pretrained.guidance import Condition
from driftproof.backends.torch.pretrained.lora import adapters_alone, without_adapters
from driftproof.theory.adjoint import GaussianFlow

__all__ = ["AffineFlow", "FlowModel", "NetworkFlow"]


class FlowModel(Protocol):
    """A base velocity with the transpose of its Jacobian, a tuned one, and the weights between them.

    ``guided`` selects the velocity with guidance.  The Jacobian comes with the velocity, which a loss at the same
    state needs: the network is not evaluated twice.
    """

    def tuned(self, x: Tensor, t: float, condition: Condition, guided: bool = False) -> Tensor: ...

    def base(self, x: Tensor, t: float, condition: Condition, guided: bool = False) -> Tensor: ...

    def vjp(
        self, x: Tensor, t: float, a: Tensor, condition: Condition, guided: bool = False
    ) -> tuple[Tensor, Tensor]: ...

    def trainable(self) -> list[nn.Parameter]: ...


@final
class NetworkFlow:
    """A network of diffusers; what of it requires a gradient is trained: adapters of PEFT, or any weights.

    Arguments:
        velocity: The velocity without guidance.
        guided: The same network with guidance; None where there is none.
        at_once: Rows that the network is given at a time, >= 1; None for all.  The numbers stay those of the
            whole batch; with fewer rows than that, what a backward pass needs is recomputed, part by part.
        sampled_at_once: The same where nothing is kept for a backward pass; None for ``at_once``.

    Raises:
        UnmetHypothesis: Two different networks, no weight to train, or at_once < 1.
    """

    def __init__(
        self,
        velocity: Velocity,
        guided: Velocity | None = None,
        *,
        at_once: int | None = None,
        sampled_at_once: int | None = None,
    ) -> None:
        network: Any = velocity.network
        if guided is not None and guided.network is not network:
            raise UnmetHypothesis("NetworkFlow", "both velocities share a network", "two networks")
        for name, rows in (("at_once", at_once), ("sampled_at_once", sampled_at_once)):
            if rows is not None and rows < 1:
                raise UnmetHypothesis("NetworkFlow", f"{name} >= 1", f"{name} = {rows!r}")
        self.adapted, self.at_once = adapters_alone(network), at_once
        self.sampled_at_once = sampled_at_once or at_once
        self._velocities = (velocity, guided)
        self._frozen = None if self.adapted else tuple(_frozen(v) for v in self._velocities)
        if not self.trainable():
            raise UnmetHypothesis("NetworkFlow", "some weight requires a gradient", "none does")

    def tuned(self, x: Tensor, t: float, condition: Condition, guided: bool = False) -> Tensor:
        """Velocity with the adapters."""
        velocity = self._pick(self._velocities, guided)
        if not torch.is_grad_enabled() or len(self._parts(x)) == 1:
            return self._by_parts(velocity, x, t, condition)
        return torch.cat(
            [
                checkpoint(velocity, x[part], t, _rows_of(condition, part), use_reentrant=False)
                for part in self._parts(x)
            ]
        )

    def base(self, x: Tensor, t: float, condition: Condition, guided: bool = False) -> Tensor:
        """Velocity without them."""
        with torch.no_grad(), self._without_adapters() as velocities:
            return self._by_parts(self._pick(velocities, guided), x, t, condition)

    def vjp(
        self, x: Tensor, t: float, a: Tensor, condition: Condition, guided: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The base velocity at x, and its transposed Jacobian applied to a: one pass forward, one back."""
        values, pulled = [], []
        # The backward pass belongs inside: with checkpointing it runs the network once more.
        with torch.enable_grad(), self._without_adapters() as velocities:
            velocity = self._pick(velocities, guided)
            for part in self._parts(x):
                y = x[part].detach().requires_grad_()
                v = velocity(y, t, _rows_of(condition, part))
                pulled.append(torch.autograd.grad(v, y, a[part].to(v.dtype))[0].to(a.dtype))
                values.append(v.detach())
        return torch.cat(values), torch.cat(pulled)

    def trainable(self) -> list[nn.Parameter]:
        """The weights that require a gradient."""
        return [weight for weight in self._velocities[0].network.parameters() if weight.requires_grad]

    def _parts(self, x: Tensor) -> list[slice]:
        size = (self.at_once if torch.is_grad_enabled() else self.sampled_at_once) or len(x)
        return [slice(start, start + size) for start in range(0, len(x), size)]

    def _by_parts(self, velocity: Velocity, x: Tensor, t: float, condition: Condition) -> Tensor:
        return torch.cat([velocity(x[part], t, _rows_of(condition, part)) for part in self._parts(x)])

    @contextlib.contextmanager
    def _without_adapters(self) -> Iterator[tuple[Velocity | None, ...]]:
        if self._frozen is not None:
            yield self._frozen
        else:
            with without_adapters(self._velocities[0].network):
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

    def vjp(
        self, x: Tensor, t: float, a: Tensor, condition: Condition, guided: bool = False
    ) -> tuple[Tensor, Tensor]:
        """The flow's velocity and its transposed Jacobian applied to a, in closed form."""
        return self.base(x, t, condition), self.flow.vjp(x, t, a)

    def trainable(self) -> list[nn.Parameter]:
        """Gains and offsets."""
        return [self.gains, self.offsets]


def _rows_of(condition: Condition, part: slice) -> Condition:
    return {name: value[part] for name, value in condition.items()}


def _frozen(velocity: Velocity | None) -> Velocity | None:
    if velocity is None:
        return None
    twin = copy.deepcopy(velocity)
    twin.network.requires_grad_(False)
    return twin
