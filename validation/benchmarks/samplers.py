"""Exact draws beside numpy's, and Euler paths beside torchsde's: path-steps per second on one process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ...numerics.samplers import euler_paths
from ...numerics.tweedie import sample_transition
from ...theory.processes import BESQ, CIR, GBM
from . import Row

__all__ = ["run"]


def run() -> list[Row]:
    """Draws of noncentral chi-square laws, then Euler paths of CIR and GBM in three batch sizes."""
    rows = [_draws(delta) for delta in (3.0, 0.8)]
    for batch, steps in ((1, 1000), (1024, 1000), (16384, 100)):
        rows += [_paths(name, batch, steps) for name in ("CIR", "GBM")]
    return rows


def _draws(delta: float, n: int = 200_000) -> Row:
    rng, peer_rng = np.random.default_rng(0), np.random.default_rng(0)
    x0 = np.random.default_rng(1).gamma(1.5, 2.0, size=n)
    process = BESQ(delta)
    ours, peer = _interleaved(
        lambda: sample_transition(process, x0, 0.5, rng),
        lambda: 0.5 * peer_rng.noncentral_chisquare(delta, x0 / 0.5),
    )
    return _row(f"{n} draws, delta = {delta:g}", ours, "numpy noncentral_chisquare", peer, "same law")


def _paths(name: str, batch: int, steps: int) -> Row:
    process = CIR(1.0, 1.0, 1.0) if name == "CIR" else GBM(0.1, 0.5)
    x0 = np.ones((batch, 1))
    title = f"{name} Euler, {batch} paths x {steps} steps"
    try:
        peer = _torchsde(name, batch, steps)
    except ImportError:
        ours, _ = _interleaved(lambda: euler_paths(process, x0, steps, 1.0, 0), lambda: None)
        return _row(title, ours, "torchsde", None, "torchsde is not installed")
    ours, theirs = _interleaved(lambda: euler_paths(process, x0, steps, 1.0, 0), peer, repeats=3)
    return _row(
        title, ours, "torchsde", theirs, f"float64, one thread; {batch * steps / ours:.1e} path-steps/s"
    )


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
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # numpy's ufuncs run on one thread too
        try:
            with torch.no_grad():
                return torchsde.sdeint(equation, start, times, method="euler", dt=1.0 / steps)
        finally:
            torch.set_num_threads(threads)

    return peer


def _interleaved(ours: Callable[[], Any], peer: Callable[[], Any], repeats: int = 7) -> tuple[float, float]:
    """Median seconds of two calls, taken in turn so that a busy machine slows both."""
    ours(), peer()
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for call, kept in zip((ours, peer), seconds, strict=True):
            start = time.perf_counter()
            call()
            kept.append(time.perf_counter() - start)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def _row(name: str, ours: float, peer: str, theirs: float | None, note: str) -> Row:
    ratio = None if theirs is None else theirs / ours
    return Row(name=name, ours_seconds=ours, peer=peer, peer_seconds=theirs, ratio=ratio, note=note)
