"""Whole samplers of installed libraries, each in a few lines that anybody can run again.

What is audited is what the reproduction says: its lines are executed, nothing else is known of a library.  Samplers
are found where a library gives all of them one shape (``k_diffusion.sampling.sample_*``, the classes of ``azula``); the
levels are written down here, as the documentation has them, and not asked of the library.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeAlias, final

from driftproof.validation.missing import lacking

from .interface import parameters
from .rows import Row
from .severity import Severity

__all__ = ["LIBRARIES", "Entry", "entries", "names", "rows"]

Tell: TypeAlias = Callable[[Row], None]

_START: Final = "from driftproof.validation import audit"
_PATH: Final = "levels=lambda t: (t, 1 - 0.999 * t), prediction='sample'"
_SHOWN: Final = "print(row.verdict, row.steps, row.mean_error, row.std_error)"


@final
@dataclass(frozen=True)
class Entry:
    """One setting of one sampler.

    Arguments:
        name: The object, by its import path.
        lines: What defines ``run``, at most three lines.
        arguments: Those of the audit behind ``run``.
        options: What is not at its default.
    """

    name: str
    lines: tuple[str, ...]
    arguments: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reproduction(self) -> str:
        """At most five lines."""
        return "\n".join((*self.lines, f"row = audit(run, {self.arguments})", _SHOWN))

    def row(self, fast: bool = False) -> Row:
        """What the audit says; where it says nothing, why."""
        known: dict[str, Any] = {}
        try:
            exec("\n".join(self.lines), known)  # noqa: S102  # the reproduction is what is audited
            options = eval(f"dict({self.arguments})", known)
            found = known["audit"](known["run"], fast=fast, name=self.name, **options)
        except Exception as error:  # noqa: BLE001  # whatever another library raises is why
            why = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            found = Row(
                self.name, {}, f"not supported, because {why}", why, "", severity=Severity.UNSUPPORTED
            )
        made = {**self.options, **{k: v for k, v in found.options.items() if k not in self.options}}
        return replace(found, options=made, reproduction=self.reproduction)


def _k_diffusion() -> Iterator[Entry]:
    """Every ``sample_*`` of its sampling, on the noise levels of Karras et al."""
    sampling = importlib.import_module("k_diffusion.sampling")
    imports = (
        f"from k_diffusion import sampling; {_START}",
        "from driftproof.validation.audits.levels import exploding",
    )
    orders = {"heun": 2, "dpm_2": 2, "dpmpp_2m": 2, "lms": 4, "dpm_fast": 3}
    for name, function in inspect.getmembers(sampling, inspect.isfunction):
        takes = parameters(function) if name.startswith("sample_") else {}
        if "sigmas" in takes:
            grid = "sampling.get_sigmas_karras(n, 0.002, 80.0).double()"
        elif "n" in takes:
            grid = "0.002, 80.0, n"
        elif "rtol" in takes:  # adaptive: more steps are a smaller tolerance
            grid = "0.002, 80.0, rtol=0.5 / n**2, atol=0.1 / n**2"
        else:
            continue
        order = orders.get(name.removeprefix("sample_"), 1)
        for options in _settings(takes, {"s_churn": 10.0, "solver_type": "heun"}):
            said = "".join(f", {key}={value!r}" for key, value in options.items())
            run = f"run = lambda model, x, n: sampling.{name}(model, x, {grid}, disable=True{said})"
            start = ", start=(1.0, 80.0)" if "s_churn" in options else ""
            arguments = f"levels=exploding, prediction='sample', order={options.get('order', order)}{start}"
            yield Entry(f"k_diffusion.sampling.{name}", (*imports, run), arguments, options)


def _azula() -> Iterator[Entry]:
    """Every sampler of its ``sample``, on two of its schedules."""
    sample = importlib.import_module("azula.sample")
    schedules = {
        "VPSchedule": "lambda t: (1e-3 ** t**2, math.sqrt(1 - 1e-6 ** t**2 + 1e-6))",
        "RectifiedSchedule": "lambda t: (1e-3 * t + 1 - t, t + 1e-3 * (1 - t))",
    }
    for name in sample.__all__:
        takes = parameters(getattr(sample, name).__init__)
        if name == "Sampler":
            continue
        for schedule, levels in schedules.items():
            for options in _settings(takes, {"temperature": None, "corrections": None, "delta": None}):
                said = "".join(f", {key}={value!r}" for key, value in options.items())
                lines = (
                    f"import math, torch; from types import SimpleNamespace as N; from azula import noise, sample; {_START}",
                    (
                        "exact = lambda model: type('Exact', (), {'schedule': noise."
                        f"{schedule}(), '__call__': lambda self, x, t: N(mean=model(x, t))}})()"
                    ),
                    (
                        f"run = lambda model, x, n: sample.{name}(exact(model), steps=n, silent=True, dtype=torch.float64"
                        f"{said})(x)"
                    ),
                )
                default = takes["order"].default if "order" in takes else 2 if "Heun" in name else 1
                arguments = f"levels={levels}, prediction='sample', order={options.get('order', default)}"
                yield Entry(f"azula.sample.{name}", lines, arguments, {"schedule": schedule, **options})


def _torchdiffeq() -> Iterator[Entry]:
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
                f"import torch; from torchdiffeq import odeint; {_START}",
                "flow = lambda model: lambda t, x: (model(x, t) - 0.999 * x) / (1 - 0.999 * t)",
                (
                    f"run = lambda model, x, n: odeint(flow(model), x, torch.linspace(0, 1, {'n + 1' if fixed else '2'}, "
                    f"dtype=torch.float64), method={method!r}{'' if fixed else held})[-1]"
                ),
            ),
            f"{_PATH}, order={solver.order if fixed else 1}",
            {"method": method},
        )


def _flow_matching() -> Iterator[Entry]:
    """Its solver with a step size, and what its paths make of the prediction of a network."""
    for method, order in (("euler", 1), ("midpoint", 2), ("heun3", 3), ("rk4", 4)):
        yield Entry(
            "flow_matching.solver.ODESolver",
            (
                f"import torch; from flow_matching.solver import ODESolver; {_START}",
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
                    f"import math, torch; from flow_matching.path import AffineProbPath, scheduler; {_START}",
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


def _torchcfm() -> Iterator[Entry]:
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
                    f"from torchdiffeq import odeint; {_START}; levels = {clock}"
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


LIBRARIES: Final[Mapping[str, Callable[[], Iterator[Entry]]]] = {
    "k_diffusion": _k_diffusion,
    "azula": _azula,
    "torchdiffeq": _torchdiffeq,
    "flow_matching": _flow_matching,
    "torchcfm": _torchcfm,
}


def entries(library: str) -> tuple[Entry, ...]:
    """All settings of the samplers of an installed library.

    Raises:
        ValueError: It is not installed.
    """
    try:
        return tuple(LIBRARIES[library]())
    except ModuleNotFoundError as error:
        raise ValueError(f"audit: {lacking(error.name or library)}") from error


def names(library: str) -> tuple[str, ...]:
    """The samplers of an installed library, without what stands before the last dot."""
    return tuple(dict.fromkeys(entry.name.rpartition(".")[2] for entry in entries(library)))


def rows(library: str, name: str, fast: bool = False, tell: Tell | None = None) -> tuple[Row, ...]:
    """All settings of one sampler: the task of a process.

    Arguments:
        library: One of ``LIBRARIES``.
        name: One of :func:`names`.
        fast: Leave out what confirms a verdict.
        tell: Is told each row as it comes.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # tensors of some hundred numbers
    found = []
    try:
        for entry in entries(library):
            if entry.name.rpartition(".")[2] == name:
                found.append(entry.row(fast))
                if tell is not None:
                    tell(found[-1])
    finally:
        torch.set_num_threads(threads)
    return tuple(found)


def _settings(takes: Mapping[str, inspect.Parameter], values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The defaults, and what differs from them in one option: orders, noise on or off, and these values."""
    yield {}
    for name, each in takes.items():
        tried: Sequence[Any] = ()
        if name in values:
            tried = () if values[name] is None else (values[name],)
        elif name == "order":
            tried = [order for order in (1, 2, 3) if order != each.default]
        elif name == "eta":
            tried = (0.0 if each.default else 1.0,)
        yield from ({name: value} for value in tried)
