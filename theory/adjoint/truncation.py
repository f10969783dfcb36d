r"""Three readings of a truncated adjoint, direction by direction.

The full control along a direction is :math:`u_t = -\psi_t\,c/\lambda` with :math:`\psi = \Phi`.  A truncated
adjoint puts another weight :math:`\psi` in its place; for a linear reward the endpoint moves by
:math:`\int \psi\,\Phi\,c/\lambda`, and the objective falls short of the optimum by
:math:`\int (\psi - \Phi)^2 c^2 / 2\lambda`:

==============  ====================================  ====================================
mode            weight at noise times t <= tau        weight before (t > tau)
==============  ====================================  ====================================
``train``       :math:`\Phi_t`                        0
``frozen``      :math:`\Phi_t`                        :math:`\Phi_\tau`
``identity``    1                                     0
==============  ====================================  ====================================

Derived here.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from driftproof._namespace import Array, Namespace, UnmetHypothesis

from .paths import stretch, stretch_integral, stretch_square_integral

__all__ = ["MODES", "Truncation", "gain_of", "gap_of"]

Truncation: TypeAlias = Literal["train", "frozen", "identity"]
MODES = ("train", "frozen", "identity")


def gain_of(xp: Namespace, sigma: Array, tau: float, path: str, mode: str) -> Array:
    """Kernel: the integral of psi Phi."""
    _check_mode("truncated_gain", mode)
    if mode == "identity":
        return stretch_integral(xp, sigma, tau, path)
    trained = stretch_square_integral(xp, sigma, tau, path)
    if mode == "train":
        return trained
    before = stretch_integral(xp, sigma, 1.0, path) - stretch_integral(xp, sigma, tau, path)
    return trained + stretch(xp, sigma, tau, path) * before


def gap_of(xp: Namespace, sigma: Array, tau: float, path: str, mode: str) -> Array:
    """Kernel: the integral of (psi - Phi)^2."""
    _check_mode("truncation_gap", mode)
    total, trained = (stretch_square_integral(xp, sigma, end, path) for end in (1.0, tau))
    if mode == "train":
        return total - trained
    if mode == "identity":
        return tau - 2.0 * stretch_integral(xp, sigma, tau, path) + total
    before = stretch_integral(xp, sigma, 1.0, path) - stretch_integral(xp, sigma, tau, path)
    held = stretch(xp, sigma, tau, path)
    return (1.0 - tau) * held**2 - 2.0 * held * before + total - trained


def _check_mode(subject: str, mode: str) -> None:
    if mode not in MODES:
        raise UnmetHypothesis(subject, f"mode is one of {', '.join(MODES)}", f"mode = {mode!r}")
