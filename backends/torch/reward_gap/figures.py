"""Figures of the report: inline SVG, one function each."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from driftproof.backends.torch.kit.report import svg
from driftproof.backends.torch.rl.history import Log

from .experiment import GaussianOutcome, PipelineOutcome

__all__ = ["gaussian_figure", "pipeline_figure"]

INK, ODE, SDE = "#222222", "#c8452f", "#4c72b0"
POINTS = 60


def gaussian_figure(outcome: GaussianOutcome) -> str:
    """Exact rewards and gap along the first run, and the parameters of all, beside the optimum."""
    figure = Figure(figsize=(10.5, 3.2), layout="constrained")
    rewards, gap, parameters = figure.subplots(1, 3)
    exact, best, log = outcome.exact, outcome.optimum, outcome.logs[0]
    epochs = np.unique(np.linspace(1, log.epochs, min(POINTS, log.epochs)).astype(int))
    points = [(log.column("theta")[i - 1], log.column("kappa")[i - 1]) for i in epochs]
    ode, sde = (np.array([exact.reward(*p, eta_zero=zero) for p in points]) for zero in (True, False))
    for values, zero, colour, label in ((ode, True, ODE, "ODE"), (sde, False, SDE, "SDE")):
        rewards.plot(epochs, values, color=colour, lw=1.4, label=label)
        rewards.axhline(exact.reward(*best, eta_zero=zero), color=colour, lw=0.9, ls="--")
    _dots(rewards, log)
    rewards.set(title="expected reward", xlabel="epoch")
    rewards.legend(frameon=False)
    gap.plot(epochs, ode - sde, color=INK, lw=1.4)
    gap.axhline(exact.reward(*best, True) - exact.reward(*best, False), color=INK, lw=0.9, ls="--")
    _gap_dots(gap, log)
    gap.set(title="reward gap, ODE − SDE", xlabel="epoch")
    for one in outcome.logs:
        steps = np.arange(1, one.epochs + 1)
        parameters.plot(steps, one.column("theta"), color=ODE, lw=0.8, alpha=0.6)
        parameters.plot(steps, one.column("kappa"), color=SDE, lw=0.8, alpha=0.6)
    for value, colour, name in ((best[0], ODE, r"$\theta$"), (best[1], SDE, r"$\kappa$")):
        parameters.axhline(value, color=colour, lw=0.9, ls="--", label=name)
    parameters.set(title="parameters, every seed", xlabel="epoch")
    parameters.legend(frameon=False)
    return svg(figure)


def pipeline_figure(outcome: PipelineOutcome) -> str:
    """The reward of every rollout, and the measured gaps."""
    figure = Figure(figsize=(10.5, 3.0), layout="constrained")
    rewards, gap = figure.subplots(1, 2)
    log = outcome.log
    rewards.plot(
        np.arange(1, log.epochs + 1), log.column("reward"), color="#999999", lw=1.0, label="rollouts"
    )
    _dots(rewards, log)
    rewards.set(title="mean reward", xlabel="epoch")
    rewards.legend(frameon=False)
    gap.axhline(0.0, color="#bbbbbb", lw=0.8)
    _gap_dots(gap, log)
    gap.set(title="reward gap, ODE − SDE", xlabel="epoch")
    return svg(figure)


def _dots(axes: Axes, log: Log) -> None:
    epochs = [epoch for epoch, _ in log.gaps]
    axes.plot(epochs, [g.ode for _, g in log.gaps], "o", color=ODE, ms=3.5, label="ODE, paired seeds")
    axes.plot(epochs, [g.sde for _, g in log.gaps], "o", color=SDE, ms=3.5, label="SDE, paired seeds")


def _gap_dots(axes: Axes, log: Log) -> None:
    epochs, gaps = [epoch for epoch, _ in log.gaps], [gap for _, gap in log.gaps]
    middle = np.array([g.gap for g in gaps])
    bars = np.array([[g.gap - g.low for g in gaps], [g.high - g.gap for g in gaps]])
    axes.errorbar(epochs, middle, yerr=bars, fmt="o", color=INK, ms=3.5, lw=1.0)
