"""Truncated adjoints beside the full one and beside memoryless adjoint matching, on one small transformer.

What is timed is a training step from end to end: the rollout of the tuned flow, the adjoints of the last K steps,
and forward and backward pass of the matching loss over the same steps.  The rollout costs the same for every K, so
that the step does not fall in proportion; its share is in the notes.  What K costs in reward is
the gap that the theory predicts on the Gaussian flow, measured beside it by a round of matching.

The peer "memoryless" is adjoint matching as first published: a diffusion with noise 2t/(1-t) in place of the flow
and its lean adjoint over all steps; its loss is taken over half of the steps, which is enough for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, final

import numpy as np

from driftproof.theory.adjoint.truncation import Truncation

from . import Row
from ._memory import peak_bytes
from ._timing import one_thread, row, seconds

if TYPE_CHECKING:
    from torch import Tensor

    from driftproof.numerics.adjoint import Trajectory

__all__ = ["run"]

STEPS, KEPT = 20, (1, 3, 10, 20)
_MIB = 2.0**20


def run() -> list[Row]:
    """One row for each K and peer."""
    from diffusers import DiTTransformer2DModel  # noqa: F401  # the transformer that is timed

    with one_thread():
        return list(_rows(_bench()))


@final
@dataclass(frozen=True)
class _Bench:
    """A flow model, where its runs start, and the gradient of the reward at their end."""

    flow: Any
    noise: Tensor
    gradient: Tensor
    condition: Any

    @property
    def cuda(self) -> bool:
        return self.gradient.is_cuda

    def path(self) -> Trajectory:
        """A run of the tuned flow."""
        import torch

        from driftproof.numerics.adjoint import rollout
        from driftproof.theory.adjoint import uniform_times

        with torch.no_grad():
            return rollout(
                lambda x, t: self.flow.tuned(x, t, self.condition), self.noise, uniform_times(STEPS)
            )


def _bench() -> _Bench:
    import torch
    from diffusers import DiTTransformer2DModel

    from driftproof.backends.torch.adjoint import NetworkFlow, SiTDenoiser, Velocity
    from driftproof.backends.torch.pretrained.sit import SIT_XL_2

    cuda = torch.cuda.is_available()
    device = "cuda" if cuda else "cpu"
    sizes: dict[str, Any] = (
        {"num_layers": 12, "num_attention_heads": 12, "attention_head_dim": 64}
        if cuda
        else {"num_layers": 4, "num_attention_heads": 4, "attention_head_dim": 32, "sample_size": 16}
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = DiTTransformer2DModel(**{**SIT_XL_2, **sizes}).to(device)
        side = int(network.config.sample_size)
        noise = torch.randn(4, 4, side, side).to(device)
    flow, condition = NetworkFlow(Velocity(SiTDenoiser(network))), {"label": torch.arange(4, device=device)}
    return _Bench(flow, noise, torch.ones_like(noise), condition)


def _rows(bench: _Bench) -> Iterator[Row]:
    calls: dict[str, Callable[[], Any]] = {f"{k}": partial(_truncated, bench, k) for k in KEPT}
    calls |= {"memoryless": partial(_memoryless, bench), "rollout": bench.path}
    peaks = {name: peak_bytes(call, bench.cuda) for name, call in calls.items()}
    spent = seconds(calls, cuda=bench.cuda, repeats=3)
    for k in KEPT:
        lost = "; ".join(
            f"{label} loses {100 * measured:.1f} % of the gain on the Gaussian flow ({100 * predicted:.1f} % predicted)"
            for label, (measured, predicted) in (
                ("dropped", _lost(k, "train")),
                ("frozen", _lost(k, "frozen")),
            )
        )
        for label, peer in (("full adjoint", f"{STEPS}"), ("memoryless, as published", "memoryless")):
            if f"{k}" == peer:
                continue
            memory = f"peak {peaks[f'{k}'] / _MIB:.0f} MiB beside {peaks[peer] / _MIB:.0f} MiB"
            share = f"{spent['rollout'] / spent[f'{k}']:.0%} of ours is the rollout"
            yield row(
                f"adjoint matching, last {k} of {STEPS} steps",
                spent[f"{k}"],
                label,
                spent[peer],
                f"{share}; {memory}; {lost}; {_text(bench)}",
                ours_bytes=peaks[f"{k}"],
                peer_bytes=peaks[peer],
            )


def _truncated(bench: _Bench, last: int) -> None:
    """A rollout, adjoints of its last steps, then the loss over them."""
    from driftproof.numerics.adjoint import adjoints

    path = bench.path()
    after = adjoints(path, bench.gradient, _vjp(bench), last=last)
    _match(bench, path, {k: a for k, a in enumerate(after) if a is not None})


def _memoryless(bench: _Bench) -> None:
    """A rollout, the lean adjoint of the diffusion with drift -2v - x/(1-t), and the loss over half of the steps.

    The rollout is the flow's: the diffusion's takes as many networks, and noise besides.
    """
    path = bench.path()
    vjp, a, after = _vjp(bench), -bench.gradient, {}
    for k in reversed(range(STEPS)):
        if k % 2:
            after[k] = a
        t = min(path.times[k], 1.0 - 1.0 / STEPS)  # at t = 1 its coefficients are infinite
        if k:
            pulled = 2.0 * vjp(path.states[k], t, a) + a / (1.0 - t)
            a = a - path.steps[k] * pulled
    _match(bench, path, after)


def _vjp(bench: _Bench) -> Callable[[Tensor, float, Tensor], Tensor]:
    def vjp(x: Tensor, t: float, a: Tensor) -> Tensor:
        pulled: Tensor = bench.flow.vjp(x, t, a, bench.condition)[1]
        return pulled

    return vjp


def _match(bench: _Bench, path: Trajectory, after: dict[int, Tensor]) -> None:
    from driftproof.numerics.adjoint import control_target, sample_losses

    loss = 0.0
    for k, a in after.items():
        x, t = path.states[k], path.times[k]
        u = bench.flow.tuned(x, t, bench.condition) - bench.flow.base(x, t, bench.condition)
        loss = loss + path.steps[k] * sample_losses(u, control_target(a, 1.0)).mean()
    loss.backward()  # type: ignore[attr-defined]  # a tensor by now
    for weight in bench.flow.trainable():
        weight.grad = None


def _lost(last: int, mode: Truncation) -> tuple[float, float]:
    """Share of the attainable gain that a truncated round of matching loses: measured, and predicted."""
    from driftproof.numerics.adjoint import (
        matching_round,
        policy_rollout,
        rollout,
        trajectory_costs,
        uncontrolled,
    )
    from driftproof.theory.adjoint import DiscreteFlow, GaussianFlow, uniform_times
    from driftproof.theory.rewards import Linear

    flow, reward, times = GaussianFlow([0.0], [[0.49]]), Linear([1.0]), uniform_times(STEPS)
    grid, noise = DiscreteFlow(flow, times), np.asarray([[-1.0], [1.0]])
    policy = matching_round(flow, uncontrolled(flow, STEPS), reward, 1.0, noise, times, last=last, mode=mode)
    path, controls = policy_rollout(flow, policy, noise, times)
    costs = trajectory_costs(path, controls, reward.value(path.end), 1.0)
    before = -reward.value(rollout(flow.velocity, noise, times).end)
    whole = float(grid.gramian(1.0)[0, 0])
    measured = 1.0 - float(np.mean(before - costs)) / (0.5 * whole)
    exact = np.asarray([float(grid.transition(k)[0, 0]) for k in range(STEPS)])
    held = exact[STEPS - last] if mode == "frozen" else 0.0
    used = np.where(np.arange(STEPS) < STEPS - last, held, exact)
    predicted = float(np.asarray(grid.steps) @ (used - exact) ** 2) / whole
    return max(measured, 0.0), predicted  # rounding may leave -1e-16


def _text(bench: _Bench) -> str:
    network = bench.flow.trainable()
    weights = sum(weight.numel() for weight in network) / 1e6
    where = "cuda" if bench.cuda else "CPU seconds, one thread"
    return f"DiT of {weights:.1f} M weights, {tuple(bench.gradient.shape)}, {where}"
