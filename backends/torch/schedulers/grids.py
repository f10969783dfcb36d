"""Grids of a run: default timesteps by spacing, default noise levels of a flow, and what a user may give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from scipy.stats import beta
from torch import Tensor

from driftproof._namespace import UnmetHypothesis

from .config import RESPACINGS
from .levels import Floats, FlowLevels, Levels, VPLevels

__all__ = ["Grid", "custom", "flow_sigmas", "respaced", "run_grid", "shifted", "spaced_timesteps"]


@final
@dataclass(frozen=True)
class Grid:
    """A run: the timesteps as a model sees them, and the N + 1 levels that its N steps go through."""

    timesteps: Tensor  # (N,), int64 or float32
    alpha: Floats  # (N + 1,)
    sigma: Floats
    sigmas: Tensor  # (N + 1,), float32, what diffusers calls so: sigma / alpha, or sigma of a flow


def run_grid(levels: Levels, config: Any, n: int | None, timesteps: Any, sigmas: Any, mu: Any) -> Grid:
    """The grid of ``n`` steps of a configuration, or a grid of one's own.

    Raises:
        UnmetHypothesis: Neither or two of them, or a grid that does not decrease or leaves its range.
    """
    most = int(config.num_train_timesteps)
    given = [name for name, value in (("timesteps", timesteps), ("sigmas", sigmas)) if value is not None]
    came = f"num_inference_steps = {n!r}, {' and '.join(given) or 'no grid'}"
    if len(given) > 1 or (not given and n is None):
        raise UnmetHypothesis("set_timesteps", "num_inference_steps, timesteps or sigmas is given", came)
    if not given and not 1 <= int(n or 0) <= most:
        raise UnmetHypothesis("set_timesteps", f"1 <= num_inference_steps <= {most}", came)
    if isinstance(levels, FlowLevels):
        return _flow(config, n, timesteps, sigmas, mu)
    return _vp(levels, config, n, timesteps, sigmas)


def _flow(config: Any, n: int | None, timesteps: Any, sigmas: Any, mu: float | None) -> Grid:
    most, dynamic = int(config.num_train_timesteps), bool(config.use_dynamic_shifting)
    shift = 1.0 if config.shift is None else float(config.shift)
    if timesteps is not None:  # a timestep names its level after the shift
        grid = custom("timesteps", timesteps, n, 0.0, most) / most
    else:
        if dynamic and mu is None:
            raise UnmetHypothesis("set_timesteps", "mu is given with use_dynamic_shifting", "mu = None")
        if sigmas is None:
            grid = flow_sigmas(int(n or 0), most, 1.0 if dynamic else shift)
        else:
            grid = custom("sigmas", sigmas, n, 0.0, 1.0)
        if dynamic and not (
            math.isfinite(mu or 0.0) and (config.time_shift_type != "linear" or (mu or 0.0) > 0.0)
        ):
            known = "mu is finite, and > 0 for a linear shift"
            raise UnmetHypothesis("set_timesteps", known, f"mu = {mu!r}")
        grid = respaced(shifted(grid, shift, mu if dynamic else None, config.time_shift_type), config)
    grid = _noisy(grid)
    named = torch.as_tensor(grid, dtype=torch.float32) * most
    sigma = np.append(named.double().numpy() / most, 0.0)  # as the timesteps name them
    return Grid(named, 1.0 - sigma, sigma, torch.as_tensor(sigma, dtype=torch.float32))


def _vp(levels: VPLevels, config: Any, n: int | None, timesteps: Any, sigmas: Any) -> Grid:
    most, end = int(config.num_train_timesteps), levels.end
    if sigmas is None and timesteps is None:
        timesteps = spaced_timesteps(config.timestep_spacing, int(n or 0), most, config.steps_offset)
        if any(config.get(name) for name in RESPACINGS):
            alpha, sigma = levels.at(custom("timesteps", timesteps, n, 0.0, most - 1.0))
            _require_signal(alpha)
            sigmas = respaced(sigma / alpha, config)
    if sigmas is not None:
        given = custom("sigmas", sigmas, n, 0.0, math.inf)
        ratio = _noisy(given)
        if ratio.size < given.size:
            end = (1.0, 0.0)
        times, (alpha, sigma) = levels.timesteps(ratio), levels.of_ratio(ratio)
    else:
        times = custom("timesteps", timesteps, n, 0.0, most - 1.0)
        alpha, sigma = levels.at(times)
    alpha, sigma = np.append(alpha, end[0]), np.append(sigma, end[1])
    if not (sigma[1:] * alpha[:-1] <= sigma[:-1] * alpha[1:]).all():
        got = f"last sigma / alpha = {sigma[-2] / alpha[-2]!r}, end {sigma[-1] / alpha[-1]!r}"
        raise UnmetHypothesis("set_timesteps", "the run ends with less noise than its last timestep", got)
    whole = bool((times == np.round(times)).all())
    named = torch.as_tensor(times, dtype=torch.int64 if whole else torch.float32)
    with np.errstate(divide="ignore"):
        return Grid(named, alpha, sigma, torch.as_tensor(sigma / alpha, dtype=torch.float32))


def _noisy(sigmas: Floats) -> Floats:
    """Without the 0 that may end it."""
    if sigmas.size > 1 and sigmas[-1] == 0.0:
        return sigmas[:-1]
    if sigmas[-1] == 0.0:
        raise UnmetHypothesis("set_timesteps", "sigmas > 0 but at the end", f"sigmas = {sigmas.tolist()}")
    return sigmas


def spaced_timesteps(spacing: str, n: int, steps: int, offset: int) -> Floats:
    """Integer timesteps of diffusers' spacings, decreasing.

    >>> spaced_timesteps("leading", 4, 1000, 1).tolist()
    [751.0, 501.0, 251.0, 1.0]
    >>> spaced_timesteps("trailing", 4, 1000, 1).tolist()
    [999.0, 749.0, 499.0, 249.0]
    """
    match spacing:
        case "linspace":
            return np.linspace(0.0, steps - 1.0, n).round()[::-1].copy()
        case "leading":
            return (np.arange(n) * (steps // n))[::-1].astype(np.float64) + offset
        case "trailing":
            return np.round(np.arange(steps, 0, -steps / n))[:n] - 1.0
    known = "leading, trailing or linspace"
    raise UnmetHypothesis("GDDIMScheduler", f"timestep_spacing is {known}", f"timestep_spacing = {spacing!r}")


def flow_sigmas(n: int, steps: int, shift: float) -> Floats:
    """Noise levels of a flow, from 1 down to its least one; their shift comes after.

    As in diffusers the least level is shifted here already, so that it is shifted twice: at shift 3 and 1,000 training
    steps a run ends at .0089, where the model has seen .0030 (https://github.com/huggingface/diffusers/issues/13243).
    """
    least = shift / steps / (1.0 + (shift - 1.0) / steps)
    return np.linspace(1.0, least, n)


def shifted(sigmas: Floats, shift: float, mu: float | None, kind: str) -> Floats:
    r"""Noise levels moved towards the noise, for larger images.

    .. math:: \sigma \mapsto \frac{c\,\sigma}{1 + (c - 1)\,\sigma}, \qquad
        c = \text{shift}, \ e^\mu \text{ or } \mu

    References:
        | Scaling rectified flow transformers for high-resolution image synthesis (Esser et al., 2024), eq. (23)
        | https://arxiv.org/abs/2403.03206
    """
    factor = shift if mu is None else math.exp(mu) if kind == "exponential" else mu
    return factor * sigmas / (1.0 + (factor - 1.0) * sigmas)


def respaced(sigmas: Floats, config: Any) -> Floats:
    r"""The same number of noise levels between the same ends, as a configuration of diffusers asks for.

    Those of Karras are equally spaced in :math:`\sigma^{1/7}`, the exponential ones in :math:`\log\sigma`, the
    others at quantiles of Beta(0.6, 0.6).

    References:
        | Elucidating the design space of diffusion-based generative models (Karras et al., 2022), eq. (5)
        | https://arxiv.org/abs/2206.00364
        | Beta sampling is all you need (Lee et al., 2024), https://arxiv.org/abs/2407.12173
    """
    most, least, part = sigmas[0], sigmas[-1], np.linspace(1.0, 0.0, sigmas.size)
    if config.get("use_karras_sigmas"):
        return (least ** (1 / 7) + part * (most ** (1 / 7) - least ** (1 / 7))) ** 7
    if config.get("use_exponential_sigmas"):
        return np.exp(math.log(least) + part * math.log(most / least))
    if config.get("use_beta_sigmas"):
        return least + np.asarray(beta.ppf(part, 0.6, 0.6)) * (most - least)
    return sigmas


def _require_signal(alpha: Floats) -> None:
    if not (alpha > 0.0).all():
        hypothesis = "alpha > 0, as pure noise has no finite noise ratio to space by"
        raise UnmetHypothesis("set_timesteps", hypothesis, "alpha = 0")


def custom(name: str, values: Sequence[float] | Any, n: int | None, low: float, high: float) -> Floats:
    """A grid that a user gave, as float64, decreasing and inside of its range.

    >>> custom("sigmas", [1.0, 0.5], None, 0.0, 1.0).tolist()
    [1.0, 0.5]
    """
    grid = np.asarray(values, dtype=np.float64)
    if grid.ndim != 1 or grid.size == 0:
        raise UnmetHypothesis("set_timesteps", f"{name} has shape (N,), N >= 1", f"shape {grid.shape}")
    if n is not None and n not in (grid.size, grid.size - (grid[-1] == 0.0)):
        raise UnmetHypothesis("set_timesteps", f"{name} has num_inference_steps = {n} values", f"{grid.size}")
    if not (np.isfinite(grid).all() and (np.diff(grid) < 0).all()):
        raise UnmetHypothesis("set_timesteps", f"{name} decreases strictly", f"{name} = {grid.tolist()}")
    if not (grid[-1] >= low and grid[0] <= high):
        got = f"from {grid[0]!r} to {grid[-1]!r}"
        raise UnmetHypothesis("set_timesteps", f"{low:g} <= {name} <= {high:g}", got)
    return grid
