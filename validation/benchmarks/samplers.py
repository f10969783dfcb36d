"""Exact draws beside numpy's, and Euler paths beside torchsde's and beside a loop, on one thread.

torchsde is given a Brownian interval of the step size, its fastest noise here; the loop is what a user would write
in NumPy instead of either.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from driftproof.numerics.samplers import euler_paths
from driftproof.numerics.tweedie import sample_transition
from driftproof.theory.processes import BESQ, CIR, GBM

from . import Row
from ._timing import compare, one_thread, row

__all__ = ["run"]


def run() -> list[Row]:
    """Draws of noncentral chi-square laws, then Euler paths of CIR and GBM in three batch sizes."""
    with one_thread():
        rows = [_draws(delta, n) for delta in (3.0, 0.8) for n in (1_000, 200_000)]
        for batch, steps in ((1, 1000), (1024, 1000), (16384, 100)):
            rows += [made for name in ("CIR", "GBM") for made in _paths(name, batch, steps)]
        return rows


def _draws(delta: float, n: int) -> Row:
    rng, peer_rng = np.random.default_rng(0), np.random.default_rng(0)
    x0 = np.random.default_rng(1).gamma(1.5, 2.0, size=n)
    process = BESQ(delta)
    return compare(
        f"{n} draws, delta = {delta:g}",
        lambda: sample_transition(process, x0, 0.5, rng),
        "numpy noncentral_chisquare",
        lambda: 0.5 * peer_rng.noncentral_chisquare(delta, x0 / 0.5),
        "same law",
    )


def _paths(name: str, batch: int, steps: int) -> list[Row]:
    process = CIR(1.0, 1.0, 1.0) if name == "CIR" else GBM(0.1, 0.5)
    x0 = np.ones((batch, 1))
    title = f"{name} Euler, {batch} paths x {steps} steps"

    def ours() -> Any:
        return euler_paths(process, x0, steps, 1.0, 0)

    made = compare(title, ours, "a loop in NumPy", _loop(name, x0, steps), "float64, one thread")
    per_second = batch * steps / made["ours_seconds"]
    try:
        peer = _torchsde(name, batch, steps)
    except ImportError:
        theirs = row(title, made["ours_seconds"], "torchsde", None, "torchsde is not installed")
    else:
        theirs = compare(title, ours, "torchsde", peer, f"float64, one thread; {per_second:.1e} path-steps/s")
    return [made, theirs]


def _loop(name: str, x0: Any, steps: int) -> Callable[[], Any]:
    h = 1.0 / steps

    def peer() -> Any:
        rng = np.random.default_rng(0)
        path = np.empty((steps + 1, *x0.shape))
        path[0] = x = x0
        for k in range(steps):
            noise = rng.standard_normal(x.shape)
            if name == "CIR":
                seen = np.maximum(x, 0.0)
                x = x + h * (1.0 - seen) + np.sqrt(h * seen) * noise
            else:
                x = x + h * 0.1 * x + np.sqrt(h) * 0.5 * x * noise
            path[k + 1] = x
        return path

    return peer


def _torchsde(name: str, batch: int, steps: int) -> Callable[[], Any]:
    import torch
    import torchsde

    class Equation(torch.nn.Module):
        noise_type, sde_type = "diagonal", "ito"

        def f(self, t: Any, y: Any) -> Any:
            return 1.0 - y if name == "CIR" else 0.1 * y

        def g(self, t: Any, y: Any) -> Any:
            return torch.sqrt(torch.clamp(y, min=0.0)) if name == "CIR" else 0.5 * y

    equation = Equation()
    start = torch.ones(batch, 1, dtype=torch.float64)
    times = torch.linspace(0.0, 1.0, steps + 1, dtype=torch.float64)

    def peer() -> Any:
        noise = torchsde.BrownianInterval(0.0, 1.0, size=start.shape, dtype=start.dtype, dt=1.0 / steps)
        with torch.no_grad():
            return torchsde.sdeint(equation, start, times, bm=noise, method="euler", dt=1.0 / steps)

    return peer
