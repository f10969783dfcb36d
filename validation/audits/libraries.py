"""Whole samplers of installed libraries, each in a few lines that anybody can run again.

What is audited is what the reproduction says: its lines are executed, nothing else is known of a library.  Samplers
are found where a library gives all of them one shape (``k_diffusion.sampling.sample_*``, the classes of ``azula``); the
levels are written down here, as the documentation has them, and not asked of the library.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias

from driftproof.validation.missing import lacking

from . import ode_libraries
from .interface import parameters
from .library_entries import START, Entry
from .rows import Row

__all__ = ["LIBRARIES", "Entry", "entries", "names", "rows"]

Tell: TypeAlias = Callable[[Row], None]


def _k_diffusion() -> Iterator[Entry]:
    """Every ``sample_*`` of its sampling, on the noise levels of Karras et al."""
    sampling = importlib.import_module("k_diffusion.sampling")
    imports = (
        f"from k_diffusion import sampling; {START}",
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
                    f"import math, torch; from types import SimpleNamespace as N; from azula import noise, sample; {START}",
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


def _deepinv() -> Iterator[Entry]:
    """Its diffusions with both of its solvers, as a flow and with the noise of Anderson's reversal."""
    sampling = importlib.import_module("deepinv.sampling")
    # The network sees x / scale, at the level (1, sigma); the run starts at (scale, scale sigma).
    diffusions = {
        "VarianceExplodingDiffusion": ("1, 0, n + 1", "(1.0, 80.0)"),
        "VariancePreservingDiffusion": (
            "1, 0.001, n + 1",
            "(math.exp(-5.025), math.sqrt(-math.expm1(-10.05)))",
        ),
    }
    for name, (times, start) in diffusions.items():
        for solver, order in (("EulerSolver", 1), ("HeunSolver", 2)):
            for alpha in (0.0, 1.0):
                getattr(sampling, solver)
                yield Entry(
                    f"deepinv.sampling.{name}",
                    (
                        f"import math, torch; from deepinv import sampling; {START}",
                        (
                            f"solver = lambda n: sampling.{solver}(torch.linspace({times}, dtype=torch.float64)); "
                            f"options = dict(alpha={alpha}, minus_one_one=False)"
                        ),
                        (
                            f"run = lambda model, x, n: sampling.{name}(model, "
                            "solver=solver(n), **options).sample(x)"
                        ),
                    ),
                    f"levels=lambda sigma: (1.0, float(sigma)), prediction='sample', start={start}, "
                    f"order={order if not alpha else 1}",
                    {"solver": solver, "alpha": alpha},
                )


LIBRARIES: Final[Mapping[str, Callable[[], Iterator[Entry]]]] = {
    "k_diffusion": _k_diffusion,
    "azula": _azula,
    "deepinv": _deepinv,
    "torchdiffeq": ode_libraries.torchdiffeq,
    "diffrax": ode_libraries.diffrax,
    "flow_matching": ode_libraries.flow_matching,
    "torchcfm": ode_libraries.torchcfm,
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
        tell: Called with each row as it comes.
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
