r"""Truncated adjoints in three readings: how far they push, and what they lose."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from driftproof.numerics.adjoint import adjoints, rollout
from driftproof.theory.adjoint import GaussianFlow, uniform_times
from driftproof.theory.rewards import Linear, Quadratic
from driftproof.validation import Rate, claim, exact, figure, grid, rate, rows
from driftproof.validation.mutants import wrong

from .textbook import path_factor, path_integral

__all__ = ["Gains", "Gaps"]

MODES = ("train", "frozen", "identity")
SETTINGS = [
    (path, sigma, tau) for path in ("linear", "trigonometric") for sigma, tau in ((0.7, 0.4), (2.0, 0.75))
]


def _line(sigma: float, path: Any = "linear") -> GaussianFlow:
    return GaussianFlow([0.0], [[sigma**2]], path=path)


def _integral(path: str, sigma: float, tau: float, mode: str, f: Callable[[Any, Any], Any]) -> Any:
    """The integral of f(psi, Phi) over the whole path."""
    held = path_factor(sigma, tau, path) if mode == "frozen" else 0

    def inside(t: Any) -> Any:
        phi = path_factor(sigma, t, path)
        return f(1 if mode == "identity" else phi, phi)

    def before(t: Any) -> Any:
        return f(held, path_factor(sigma, t, path))

    return path_integral(inside, 0.0, tau, sigma) + path_integral(before, tau, 1.0, sigma)


@claim(
    "ADJOINT-TRUNCATION-1",
    "Three readings of a truncated adjoint, and how far each pushes",
    r"""G_\tau, \qquad G_\tau + \frac{\Phi_\tau}\lambda\int_\tau^1 \Phi, \qquad \frac1\lambda\int_0^\tau \Phi
        \qquad (\mathrm{train,\;frozen,\;identity})""",
    covers=[GaussianFlow.truncated_gain, adjoints],
    hypotheses=[r"\mathrm{linear\;reward}"],
)
class Gains:
    @exact(1e-12, over=grid(rows("path, sigma, tau", SETTINGS), mode=MODES))
    def quadrature(truncated_gain, path, sigma, tau, mode):
        want = _integral(path, sigma, tau, mode, lambda psi, phi: psi * phi)
        return truncated_gain(_line(sigma, path), tau, 0.8, mode)[0, 0], want / 0.8

    @rate(over=rows("mode", MODES))
    def the_trainers_adjoints_converge_to_them(truncated_gain, adjoints, mode):
        """Controls of the numerics on N Euler steps, the last 0.4 N of them exact: first order in 1/N."""
        gain = float(truncated_gain(_line(0.7), 0.4, 1.0, mode)[0, 0])
        errors = [_pushed(adjoints, n, mode) - gain for n in (80, 160, 320)]
        return Rate([float(np.log2(abs(a / b))) for a, b in pairwise(errors)], 1.0, 0.1)

    @exact(1e-13, over=rows("mode", MODES[:2]))
    def nothing_is_lost_at_tau_one(truncated_gain, mode):
        return truncated_gain(_line(0.7), 1.0, 0.8, mode), _line(0.7).gramian(1.0, 0.8)

    refuses = [
        (GaussianFlow.truncated_gain, _line(0.7), 1.5, 1.0, "train"),
        (GaussianFlow.truncated_gain, _line(0.7), 0.5, 1.0, "drop"),
    ]

    mutants = {
        "always train": wrong(GaussianFlow.truncated_gain, mode=lambda: "train"),
        "flow time": wrong(GaussianFlow.truncated_gain, tau=lambda tau: 1.0 - tau),
        "no weight": wrong(GaussianFlow.truncated_gain, lam=lambda: 1.0),
        "nothing is truncated": wrong(adjoints, last=lambda: None),
    }


def _pushed(adjoints: Any, steps: int, mode: Any) -> float:
    """Where the controls of the numerics take the state 0, for a unit gradient."""
    flow, times = _line(0.7), uniform_times(steps)
    path = rollout(flow.velocity, np.zeros((1, 1)), times)
    after = adjoints(path, np.ones((1, 1)), flow.vjp, last=2 * steps // 5, mode=mode)
    x = np.zeros((1, 1))
    for h, t, a in zip(path.steps, times, after, strict=False):
        x = x - h * (flow.velocity(x, t) + (0.0 if a is None else a))
    return float(x[0, 0])


@claim(
    "ADJOINT-TRUNCATION-2",
    "What a truncated adjoint loses: freezing loses far less than dropping",
    r"""J(u_\psi) - J^* = \frac1{2\lambda}\,c^\top \int_0^1 (\psi_t - \Phi_t)^2\,dt\; c""",
    covers=[GaussianFlow.truncation_gap],
    hypotheses=[r"\mathrm{linear\;reward}", r"u = -\psi c/\lambda"],
)
class Gaps:
    @exact(1e-11, over=grid(rows("path, sigma, tau", SETTINGS), mode=MODES))
    def quadrature(truncation_gap, path, sigma, tau, mode):
        want = _integral(path, sigma, tau, mode, lambda psi, phi: (psi - phi) ** 2)
        return truncation_gap(_line(sigma, path), Linear([1.3]), tau, 0.8, mode), want * 1.69 / 1.6

    @exact(1e-12, over=rows("sigma, tau", ((0.7, 0.4), (2.0, 0.75))))
    def objective_of_the_truncated_control(truncation_gap, sigma, tau):
        """Energy of psi less its push, from the gains alone (train: both are G_tau)."""
        flow = _line(sigma)
        kept, whole = (float(flow.gramian(t, 1.0)[0, 0]) for t in (tau, 1.0))
        lost = (0.5 * kept - kept) - (0.5 * whole - whole)
        return truncation_gap(flow, Linear([1.0]), tau, 1.0, "train"), lost

    @exact(2e-3, over=rows("mode, want", (("train", 0.516), ("frozen", 0.047))))
    def relative_losses_of_the_example(truncation_gap, mode, want):
        """sigma = 0.7, the last 0.4 of the path: dropping loses half of the gain, freezing a twentieth."""
        whole = 0.5 * float(_line(0.7).gramian(1.0, 1.0)[0, 0])
        return truncation_gap(_line(0.7), Linear([1.0]), 0.4, 1.0, mode) / whole, want

    refuses = [
        (GaussianFlow.truncation_gap, _line(0.7), Quadratic([1.0], [[1.0]]), 0.5, 1.0, "train"),
    ]

    @figure
    def losses(truncation_gap):
        """Share of the attainable gain that a truncated adjoint loses, when it is exact on noise times [0, τ]:
        control dropped before τ, frozen there, and without any Jacobian (σ = 0.7, linear reward)."""
        from matplotlib.figure import Figure

        drawn = Figure()
        axis = drawn.subplots()
        taus, flow = np.linspace(0.02, 1.0, 50), _line(0.7)
        whole = 0.5 * float(flow.gramian(1.0, 1.0)[0, 0])
        for mode in MODES:
            axis.plot(
                taus,
                [truncation_gap(flow, Linear([1.0]), float(t), 1.0, mode) / whole for t in taus],
                label=mode,
            )
        axis.set(xlabel="τ", ylabel="share lost", ylim=(0.0, 1.0))
        axis.legend(frameon=False)
        return drawn

    mutants = {
        "always train": wrong(GaussianFlow.truncation_gap, mode=lambda: "train"),
        "no half": wrong(GaussianFlow.truncation_gap, lambda value: 2.0 * value),
        "what is kept": wrong(
            GaussianFlow.truncation_gap,
            lambda self, reward, tau, lam: 0.5 * self.gramian(tau, lam)[0, 0] * reward.c[0] ** 2,
        ),
    }
