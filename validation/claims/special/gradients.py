r"""Autograd = score = finite differences, for every law, process, distance and matrix function of the inventory.

What a program differentiates is not the formula but the code that computes it, and that may lose a derivative where
the formula has one: in the root of a state that is 0, in the eigenvectors of a covariance with equal eigenvalues, in
the branch of a ``where`` that is not taken.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import SimpleNamespace
from typing import Any

import array_api_compat
import numpy as np

from driftproof.theory.laws.matrices import constant
from driftproof.validation import claim, exact
from driftproof.validation.evidence.base import Labelled
from driftproof.validation.inventory import of_kind

from .derivatives import Point, by_differences, in_single_precision
from .gradient_cases import LAWS, PROCESSES, assembled, coordinates, ends

__all__ = ["LawGradients", "ProcessGradients", "listed", "taking"]

Labels = Iterator[Labelled]
Things = Mapping[Any, Any]


def still_at_zero(value: Any) -> Any:
    """What the derivative is lost of at 0: as in the square root of a state, taken to have the derivative 0."""
    if not array_api_compat.is_torch_array(value):
        return value
    return (value * (value != 0)) if value.dtype.is_floating_point else value


def single(value: Any) -> Any:
    """The value as float32 knows it."""
    if array_api_compat.is_torch_array(value):
        return value.float().to(value.dtype)
    return value


def fixed(value: Any) -> Any:
    """The value without its gradient."""
    return value if isinstance(value, float) else constant(value)


def same(value: Any) -> Any:
    """The value itself."""
    return value


def taking(functions: Iterable[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Lets evidence take all of these by their names, as one mapping from each to what is tried in its place."""
    named = {function.__name__: function for function in functions}

    def decorate(evidence: Callable[..., Any]) -> Callable[..., Any]:
        def taken(**given: Any) -> Any:
            return evidence({named[name]: thing for name, thing in given.items()})

        taken.__name__, taken.__doc__ = evidence.__name__, evidence.__doc__
        parameters = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in named]
        taken.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # functions take attributes
        return taken

    return decorate


def listed(names: Sequence[Any], known: Sequence[Any]) -> Labels:
    """Whether every name of the inventory is in a table of cases, and the other way round."""
    for name in {*names, *known}:
        yield name.__name__, float(name in names and name in known), 1.0


# -- laws ---------------------------------------------------------------------------------------------


def answer(kind: Any, question: str, parameters: dict[str, Any]) -> Any:
    """``law.log_prob(x)``, ``law.score(x)``, ``law.mean`` or ``law.variance`` of a law made of its parameters."""
    parameters = dict(parameters)
    x = parameters.pop("x", None)
    law = kind(**parameters)
    return getattr(law, question)(x) if question in ("log_prob", "score") else getattr(law, question)


def law_points(laws: Things, questions: Sequence[str], every: int = 1) -> Iterator[Point]:
    for kind, cases in LAWS.items():
        for given in cases[::every]:
            for question in questions:
                if question == "log_prob" and "x" not in given:
                    continue  # the mass of a law on atoms is a step in x
                mine = (
                    {k: v for k, v in given.items() if k != "x"}
                    if question in ("mean", "variance")
                    else given
                )

                def function(theta: Any, kind: Any = kind, question: str = question, mine: Any = mine) -> Any:
                    return array_api_compat.array_namespace(theta).sum(
                        answer(laws[kind], question, assembled(mine, theta))
                    )

                label = f"{kind.__name__}.{question} at {given}"
                yield Point(label, function, coordinates(mine), ends(kind, mine))


class Mistaken:
    """A law that changes the points where it is asked, and multiplies its scores."""

    def __init__(self, law: Any, point: Callable[[Any], Any], slope: float) -> None:
        self.law, self.point, self.slope = law, point, slope

    def __getattr__(self, name: str) -> Any:
        return getattr(self.law, name)

    def log_prob(self, x: Any) -> Any:
        """The log-density elsewhere."""
        return self.law.log_prob(self.point(x))

    def score(self, x: Any) -> Any:
        """A multiple of the score elsewhere."""
        return self.slope * self.law.score(self.point(x))


def mistaken_laws(
    parameter: Callable[[Any], Any] = same, point: Callable[[Any], Any] = same, slope: float = 1.0
) -> Things:
    """For every law one that changes its parameters, or is a :class:`Mistaken` one."""

    def of(kind: Any) -> Any:
        return lambda **given: Mistaken(kind(**{k: parameter(v) for k, v in given.items()}), point, slope)

    return {kind: of(kind) for kind in LAWS}


@claim(
    "GRADIENT-LAW-1",
    "Gradients of every law",
    r"""\texttt{autograd}(\log p) = s = \text{differences of } \log p, \quad
        \text{in the point and every parameter, where } x, \lambda, w_k = 0 \text{ or eigenvalues repeat too}""",
    covers=list(LAWS),
    hypotheses=[r"\log p \text{ is finite}", "at the end of a domain: from inside"],
)
class LawGradients:
    @exact(0.0)
    @taking(LAWS)
    def every_law_is_listed(laws):
        yield from listed([entry.value for entry in of_kind("law")], list(laws))

    @exact(1e-13, requires="torch")
    @taking(LAWS)
    def autograd_of_the_log_density_is_the_score(laws):
        """Two formulas for one number, each good to a few dozen roundings of its largest term."""
        import torch

        for kind, cases in LAWS.items():
            for given in cases:
                theta = torch.tensor(coordinates(given), dtype=torch.float64)
                parameters = assembled(given, theta)
                if "x" not in parameters or kind.__name__ == "BesselCount":
                    continue
                x = parameters["x"].requires_grad_()
                (slope,) = torch.autograd.grad(answer(laws[kind], "log_prob", parameters).sum(), x)
                size = 1.0 + 1.0 / x.detach().abs().clamp(min=1e-3)
                score = answer(laws[kind], "score", parameters).detach()
                yield f"{kind.__name__} at {given}", slope / size, score / size

    @exact(1.0, requires="torch")
    @taking(LAWS)
    def autograd_is_differences_at_a_third_of_the_cases(laws):
        for point in law_points(laws, ("log_prob", "mean", "variance"), every=3):
            yield from by_differences(point)

    @exact(1.0, requires="torch", effort="normal")
    @taking(LAWS)
    def autograd_of_the_log_density_is_its_differences(laws):
        for point in law_points(laws, ("log_prob",)):
            yield from by_differences(point)

    @exact(1.0, requires="torch", effort="normal")
    @taking(LAWS)
    def autograd_of_the_moments_is_their_differences(laws):
        for point in law_points(laws, ("mean", "variance")):
            yield from by_differences(point)

    @exact(1.0, requires="torch", effort="normal")
    @taking(LAWS)
    def float32_is_float64_rounded(laws):
        for point in law_points(laws, ("log_prob", "mean", "variance")):
            yield from in_single_precision(point)

    mutants = {
        "derivative at 0 taken as 0": mistaken_laws(still_at_zero, still_at_zero),
        "parameters without a gradient": mistaken_laws(fixed),
        "score of twice the law": mistaken_laws(slope=2.0),
        "point in float32": mistaken_laws(point=single),
    }


# -- processes ----------------------------------------------------------------------------------------


def ask(process: Any, question: str, data: Any, *given: Any) -> Any:
    """A number of a process: log-densities and scores of its laws, or the slope of its coefficients."""
    match question:
        case "transition":
            x, x0, t = given
            return process.transition(x0, t).log_prob(x)
        case "bridge":
            x, x0, xt, s, t = given
            return process.bridge(x0, xt, s, t).log_prob(x)
        case "marginal":
            x, t = given
            return process.marginal(data, t).log_prob(x)
        case "score":
            x, t = given
            return process.marginal(data, t).score(x)
    x, t = given
    return getattr(process, question)(x, t)


def process_points(processes: Things) -> Iterator[Point]:
    for kind, cases in PROCESSES.items():
        for case in cases:
            process, (s, t) = kind(*case["parameters"]), case["times"]
            tried = processes[kind](*case["parameters"])
            closed = process.support == ">= 0"
            places: list[tuple[str, tuple[float, ...]]] = [("drift", (0.7, t)), ("diffusion", (0.7, t))]
            for x in case["x"]:
                places.append(("marginal", (x, t)))
                for x0, xt in zip(case["x0"], reversed(case["x0"]), strict=True):
                    places += [("transition", (x, x0, t)), ("bridge", (x, x0, xt, s, t))]
            places.append(("bridge", (case["x"][1], case["x0"][0], case["x0"][0], s, t)))
            for question, at in places:
                states = {"transition": 2, "bridge": 3}.get(question, 1)
                ending = frozenset(k for k in range(states) if at[k] == 0.0 and closed)

                def function(
                    theta: Any, process: Any = tried, q: str = question, data: Any = case["data"]
                ) -> Any:
                    return ask(process, q, like(data, theta), *(theta[k] for k in range(theta.shape[0])))

                yield Point(f"{process}, {question} at {at}", function, at, ending)


def like(data: Any, theta: Any) -> Any:
    """The data law with its arrays in the namespace and dtype of the coordinates."""
    xp = array_api_compat.array_namespace(theta)
    return type(data)(
        **{
            name: value if name == "shape" else xp.asarray(np.asarray(value), dtype=theta.dtype)
            for name, value in ((f, getattr(data, f)) for f in inspect.signature(type(data)).parameters)
        }
    )


def mistaken_processes(
    states: Callable[[Any], Any] = same, time: Callable[[Any], Any] = same, slope: float = 1.0
) -> Things:
    """For every process one that changes states and its last time, and multiplies the scores of its laws."""

    def asked(method: Any) -> Any:
        def call(*given: Any) -> Any:
            *before, last = given
            found = method(*map(states, before), time(last))
            return Mistaken(found, states, slope) if hasattr(found, "log_prob") else found

        return call

    def of(kind: Any) -> Any:
        names = ("transition", "bridge", "marginal", "drift", "diffusion")
        return lambda *given: SimpleNamespace(**{name: asked(getattr(kind(*given), name)) for name in names})

    return {kind: of(kind) for kind in PROCESSES}


@claim(
    "GRADIENT-PROCESS-1",
    "Gradients of every process",
    r"""\texttt{autograd} = \text{differences}: \; \log p(x_t | x_0), \; \log p(x_s | x_0, x_t), \; \log p_t,
        \text{ in states and times, where a state is 0 too}; \qquad \partial_x \log p_t = s""",
    covers=list(PROCESSES),
    hypotheses=[r"\log p \text{ is finite}", "at a state 0: from above"],
)
class ProcessGradients:
    @exact(0.0)
    @taking(PROCESSES)
    def every_process_is_listed(processes):
        yield from listed([entry.value for entry in of_kind("process")], list(processes))

    @exact(1e-13, requires="torch")
    @taking(PROCESSES)
    def autograd_of_the_marginal_is_the_score(processes):
        import torch

        for kind, cases in PROCESSES.items():
            for case in cases:
                process = processes[kind](*case["parameters"])
                for at in case["x"]:
                    x = torch.tensor(at, dtype=torch.float64, requires_grad=True)
                    data, t = like(case["data"], x.detach()), case["times"][1]
                    (slope,) = torch.autograd.grad(ask(process, "marginal", data, x, t), x)
                    yield (
                        f"{kind(*case['parameters'])}, x = {at}",
                        slope,
                        ask(process, "score", data, x.detach(), t),
                    )

    @exact(1.0, requires="torch")
    @taking(PROCESSES)
    def autograd_is_differences_at_a_quarter_of_the_points(processes):
        for point in islice(process_points(processes), 0, None, 4):
            yield from by_differences(point)

    @exact(1.0, requires="torch", effort="normal")
    @taking(PROCESSES)
    def autograd_is_differences(processes):
        for point in process_points(processes):
            yield from by_differences(point)

    @exact(1.0, requires="torch", effort="normal")
    @taking(PROCESSES)
    def float32_is_float64_rounded(processes):
        for point in process_points(processes):
            yield from in_single_precision(point)

    mutants = {
        "derivative at 0 taken as 0": mistaken_processes(still_at_zero, still_at_zero),
        "times without a gradient": mistaken_processes(time=fixed),
        "score with the other sign": mistaken_processes(slope=-1.0),
    }
