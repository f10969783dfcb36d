"""Whole samplers with one thing right or wrong each: functions that call the model by themselves.

The model is a denoiser, told sigma, of a state x_0 + sigma z, unless it is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

torch = pytest.importorskip("torch")

TOP, BOTTOM = 40.0, 2e-3


def sigmas(n: int) -> list[float]:
    """Those of Karras et al., down to 0."""
    ramp = torch.linspace(TOP ** (1 / 7), BOTTOM ** (1 / 7), n, dtype=torch.float64)
    return [*(float(root) ** 7 for root in ramp), 0.0]


def euler(model: Any, x: Any, n: int) -> Any:
    for a, b in pairwise(sigmas(n)):
        x = x + (b - a) / a * (x - model(x, a))
    return x


def heun(model: Any, x: Any, n: int) -> Any:
    """Two calls in each step but the last."""
    for a, b in pairwise(sigmas(n)):
        slope = (x - model(x, a)) / a
        if b > 0.0:
            y = x + (b - a) * slope
            slope = 0.5 * (slope + (y - model(y, b)) / b)
        x = x + (b - a) * slope
    return x


def ancestral(noise: Callable[[Any], Any]) -> Callable[..., Any]:
    def run(model: Any, x: Any, n: int) -> Any:
        for a, b in pairwise(sigmas(n)):
            up = min(b, math.sqrt(b**2 * (a**2 - b**2) / a**2))
            x = x + (math.sqrt(b**2 - up**2) - a) / a * (x - model(x, a)) + up * noise(x)
        return x

    return run


def churned(model: Any, x: Any, n: int) -> Any:
    """The state is made noisier before each call, the first one too."""
    for a, b in pairwise(sigmas(n)):
        higher = a * (1.0 + min(10.0 / n, math.sqrt(2.0) - 1.0))
        x = x + math.sqrt(higher**2 - a**2) * torch.randn_like(x)
        x = x + (b - higher) / higher * (x - model(x, higher))
    return x


def rk4(model: Any, x: Any, n: int) -> Any:
    """The classical method on a flow whose time 0 is the data; the model returns the velocity z - x_0."""
    h = -1.0 / n
    for i in range(n, 0, -1):
        t, s = i / n, (i - 1) / n
        k1 = model(x, t)
        k2 = model(x + h / 2 * k1, (t + s) / 2)
        k3 = model(x + h / 2 * k2, (t + s) / 2)
        k4 = model(x + h * k3, s)
        x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x


# Right ones, by name: the run, the arguments of the audit, and the order.
RIGHT: dict[str, tuple[Callable[..., Any], dict[str, Any], int]] = {
    "euler": (euler, {}, 1),
    "heun": (heun, {}, 2),
    "ancestral": (ancestral(torch.randn_like), {}, 1),
    "churned": (churned, {"start": (1.0, TOP)}, 1),
}


def fixed(model: Any, x: Any, n: int) -> Any:
    """The step has one length, whatever the number of steps."""
    sigma = TOP
    for _ in range(n):
        x = x - 0.1 * (x - model(x, sigma))
        sigma *= 0.9
    return x


def silenced(model: Any, x: Any, n: int) -> Any:
    """The noise of an ancestral step is dropped."""
    return ancestral(lambda x: 0.0)(model, x, n)


def halved(model: Any, x: Any, n: int) -> Any:
    """The last step goes half of the way, from a level that is not small."""
    for a, b in pairwise([*(max(sigma, 0.1) for sigma in sigmas(n)[:-1]), 0.0]):
        x = x + (b - a) / a * (x - model(x, a)) * (0.5 if b == 0.0 else 1.0)
    return x


def misled(model: Any, x: Any, n: int) -> Any:
    """The model is given another sigma than its state has."""
    for a, b in pairwise(sigmas(n)):
        x = x + (b - a) / a * (x - model(x, 1.3 * a))
    return x


def louder(model: Any, x: Any, n: int) -> Any:
    """The state is scaled before the first call."""
    return euler(model, 1.1 * x, n)


def broken(model: Any, x: Any, n: int) -> Any:
    """Not a number at one count."""
    return euler(model, x, n) * (math.nan if n == 7 else 1.0)


def noisy_end(model: Any, x: Any, n: int) -> Any:
    """Noise is added after the last step."""
    return euler(model, x, n) + 0.05 * torch.randn_like(x)


# Planted ones: the run, the arguments of the audit, and the severities that say so.
PLANTED: dict[str, tuple[Callable[..., Any], dict[str, Any], set[str]]] = {
    "fixed": (fixed, {"fast": False}, {"diverges", "floor"}),
    "silenced": (silenced, {}, {"mismatch"}),
    "halved": (halved, {}, {"floor"}),
    "misled": (misled, {"start": (1.0, TOP)}, {"mismatch"}),
    "louder": (louder, {"start": (1.0, TOP)}, {"mismatch", "diverges"}),
    "broken": (broken, {}, {"nan"}),
    "noisy_end": (noisy_end, {}, {"floor", "mismatch", "diverges"}),
}
