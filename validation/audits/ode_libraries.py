"""Solvers of ordinary differential equations, and paths of flow matching, of installed libraries."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from typing import Final

from .library_entries import START, Entry

__all__ = ["diffrax", "flow_matching", "torchcfm", "torchdiffeq"]

_PATH: Final = "levels=lambda t: (t, 1 - 0.999 * t), prediction='sample'"


def torchdiffeq() -> Iterator[Entry]:
    """Every solver of its ``odeint``, on the path t x_0 + (1 - 0.999 t) z, whose velocity is (x_0 - 0.999 x) / (1 - 0.999 t)."""
    solvers = importlib.import_module("torchdiffeq._impl.odeint").SOLVERS
    for method, solver in solvers.items():
        fixed = "step_size" in inspect.signature(solver.__init__).parameters or any(
            "step_size" in inspect.signature(each.__init__).parameters for each in solver.__mro__[:-1]
        )
        if method == "scipy_solver":  # needs a solver of scipy by name
            continue
        # Adaptive ones look past the end of the interval, where the path has no level, unless a step must end there.
        held = ", rtol=0.1 / n**2, atol=0.1 / n**2, options={'step_t': torch.ones(1, dtype=torch.float64)}"
        yield Entry(
            "torchdiffeq.odeint",
            (
                f"import torch; from torchdiffeq import odeint; {START}",
                "flow = lambda model: lambda t, x: (model(x, t) - 0.999 * x) / (1 - 0.999 * t)",
                (
                    f"run = lambda model, x, n: odeint(flow(model), x, torch.linspace(0, 1, {'n + 1' if fixed else '2'}, "
                    f"dtype=torch.float64), method={method!r}{'' if fixed else held})[-1]"
                ),
            ),
            f"{_PATH}, order={solver.order if fixed else 1}",
            {"method": method},
        )


def flow_matching() -> Iterator[Entry]:
    """Its solver with a step size, and what its paths make of the prediction of a network."""
    for method, order in (("euler", 1), ("midpoint", 2), ("heun3", 3), ("rk4", 4)):
        yield Entry(
            "flow_matching.solver.ODESolver",
            (
                f"import torch; from flow_matching.solver import ODESolver; {START}",
                "flow = lambda model: lambda x, t: (model(x, t) - 0.999 * x) / (1 - 0.999 * t)",
                (
                    "run = lambda model, x, n: ODESolver(flow(model)).sample(x, step_size=1 / n, "
                    f"method='{method}', time_grid=torch.tensor([0.0, 1.0], dtype=torch.float64))"
                ),
            ),
            f"{_PATH}, order={order}",
            {"method": method},
        )
    levels = {
        "CondOTScheduler()": "lambda t: (t, 1 - t)",
        "PolynomialConvexScheduler(2)": "lambda t: (t**2, 1 - t**2)",
        "CosineScheduler()": "lambda t: (math.sin(math.pi / 2 * t), math.cos(math.pi / 2 * t))",
        "LinearVPScheduler()": "lambda t: (t, math.sqrt(1 - t**2))",
        "VPScheduler()": "lambda t: (math.exp(-((1 - t)**2 * 19.9 / 4 + (1 - t) * 0.05)), "
        "math.sqrt(-math.expm1(-((1 - t)**2 * 19.9 / 2 + (1 - t) * 0.1))))",
    }
    for scheduler, clock in levels.items():
        # The noise tells nothing of the data at the start of a path, and the method does not look at its end.
        for method, prediction, first in (
            ("target_to_velocity", "sample", 0),
            ("epsilon_to_velocity", "epsilon", 0.001),
        ):
            yield Entry(
                f"flow_matching.path.AffineProbPath.{method}",
                (
                    f"import math, torch; from flow_matching.path import AffineProbPath, scheduler; {START}",
                    (
                        "from torchdiffeq import odeint; "
                        f"path = AffineProbPath(scheduler.{scheduler}); times = torch.linspace"
                    ),
                    (
                        f"run = lambda model, x, n: odeint(lambda t, x: path.{method}(model(x, t), x, t), x, "
                        f"times({first}, 1, n + 1, dtype=torch.float64), method='midpoint')[-1]"
                    ),
                ),
                f"levels={clock}, prediction='{prediction}', order=2",
                {"scheduler": scheduler, "solver": "midpoint"},
            )


def torchcfm() -> Iterator[Entry]:
    """Its paths: the flow that a network is regressed on, at what the exact model knows of noise and data."""
    half = "math.pi / 2"
    levels = {
        "ConditionalFlowMatcher(0.0)": "lambda t: (t, 1 - t)",
        "TargetConditionalFlowMatcher(1e-3)": "lambda t: (t, 1 - (1 - 1e-3) * t)",
        "VariancePreservingConditionalFlowMatcher(0.0)": f"lambda t: (math.sin({half} * t), math.cos({half} * t))",
    }
    for matcher, clock in levels.items():
        yield Entry(
            f"torchcfm.conditional_flow_matching.{matcher.partition('(')[0]}",
            (
                (
                    "import math, torch; from torchcfm import conditional_flow_matching as cfm; "
                    f"from torchdiffeq import odeint; {START}; levels = {clock}"
                ),
                (
                    f"path = cfm.{matcher}; guess = lambda x, t, x1: (x - levels(float(t))[0] * x1) / levels(float(t))[1]; "
                    "flow = lambda x, t, x1: path.compute_conditional_flow(guess(x, t, x1), x1, t, x)"
                ),
                (
                    "run = lambda model, x, n: odeint(lambda t, x: flow(x, t, model(x, t)), x, "
                    "torch.linspace(0, 1, n + 1, dtype=torch.float64), method='midpoint')[-1]"
                ),
            ),
            "levels=levels, prediction='sample', order=2",
            {"matcher": matcher, "solver": "midpoint"},
        )


def diffrax() -> Iterator[Entry]:
    """Its explicit Runge-Kutta solvers with steps of one size, on the same path; jax without its compiler, to stop at calls."""
    solvers = importlib.import_module("diffrax")
    for name in ("Euler", "Midpoint", "Heun", "Ralston", "Bosh3", "Tsit5", "Dopri5", "Dopri8"):
        order = int(getattr(solvers, name)().order(None) or 1)
        yield Entry(
            "diffrax.diffeqsolve",
            (
                (
                    f"import diffrax, jax, torch; from jax import numpy as np; {START}; "
                    "jax.config.update('jax_enable_x64', True); jax.config.update('jax_disable_jit', True)"
                ),
                (
                    "to = lambda x: torch.tensor(x.tolist(), dtype=torch.float64); "
                    "flow = lambda model: lambda t, x, _: x if isinstance(x, jax.core.Tracer) else "
                    "(np.asarray(model(to(x), to(t)).tolist()) - 0.999 * x) / (1 - 0.999 * t)"
                ),
                (
                    "run = lambda model, x, n: to(diffrax.diffeqsolve(diffrax.ODETerm(flow(model)), "
                    f"diffrax.{name}(), 0.0, 1.0, 1 / n, np.asarray(x.tolist()), max_steps=None, "
                    "adjoint=diffrax.ForwardMode()).ys[-1])"
                ),
            ),
            f"{_PATH}, order={order}",
            {"solver": name},
        )
