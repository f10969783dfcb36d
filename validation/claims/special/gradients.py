r"""Autograd = score = finite differences, for every law, process, distance and matrix function of the inventory.

What a program differentiates is not the formula but the code that computes it, and that may lose a derivative where
the formula has one: in the root of a state that is 0, in the eigenvectors of a covariance with equal eigenvalues, in
the branch of a ``where`` that is not taken.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import array_api_compat
import numpy as np

from driftproof.theory.laws.matrices import constant
from driftproof.validation import Thing, claim, exact
from driftproof.validation.evidence.base import Labelled
from driftproof.validation.inventory import of_kind

from .derivatives import Point, by_differences, in_single_precision
from .gradient_cases import LAWS, PROCESSES, assembled, coordinates, ends

__all__ = ["LawGradients", "ProcessGradients", "listed"]

Labels = Iterator[Labelled]


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


# -- laws ---------------------------------------------------------------------------------------------


def answer(kind: type, question: str, parameters: dict[str, Any]) -> Any:
    """``law.log_prob(x)``, ``law.score(x)``, ``law.mean`` or ``law.variance`` of a law made of its parameters."""
    parameters = dict(parameters)
    x = parameters.pop("x", None)
    law = kind(**parameters)
    return getattr(law, question)(x) if question in ("log_prob", "score") else getattr(law, question)


def law_points(thing: Thing, questions: Sequence[str]) -> Iterator[Point]:
    for kind, cases in LAWS.items():
        for given in cases:
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
                        thing(kind, question, assembled(mine, theta))
                    )

                label = f"{kind.__name__}.{question} at {given}"
                yield Point(label, function, coordinates(mine), ends(kind, mine))


def listed(names: Sequence[Any], known: Sequence[Any]) -> Labels:
    """Whether every name of the inventory is in a table of cases, and the other way round."""
    for name in {*names, *known}:
        yield name.__name__, float(name in names and name in known), 1.0


@claim(
    "GRADIENT-LAW-1",
    paper="special",
    title="Gradients of every law",
    statement=r"""\texttt{autograd}(\log p) = s = \text{differences of } \log p, \quad
        \text{in the point and every parameter, where } x, \lambda, w_k = 0 \text{ or eigenvalues repeat too}""",
    vouches=[entry.value for entry in of_kind("law")],
    hypotheses=[r"\log p \text{ is finite}", "at the end of a domain: from inside"],
)
class LawGradients:
    thing = answer

    @exact(tolerance=0.0)
    def every_law_is_listed(thing: Thing) -> Labels:
        yield from listed([entry.value for entry in of_kind("law")], list(LAWS))

    @exact(tolerance=1.0, requires="torch")
    def autograd_of_the_log_density_is_its_differences(thing: Thing) -> Labels:
        for point in law_points(thing, ("log_prob",)):
            yield from by_differences(point)

    @exact(tolerance=1.0, requires="torch")
    def autograd_of_the_moments_is_their_differences(thing: Thing) -> Labels:
        for point in law_points(thing, ("mean", "variance")):
            yield from by_differences(point)

    @exact(tolerance=1e-13, requires="torch")
    def autograd_of_the_log_density_is_the_score(thing: Thing) -> Labels:
        """Two formulas for one number, each good to a few dozen roundings of its largest term."""
        import torch

        for kind, cases in LAWS.items():
            for given in cases:
                theta = torch.tensor(coordinates(given), dtype=torch.float64)
                parameters = assembled(given, theta)
                if "x" not in parameters or kind.__name__ == "BesselCount":
                    continue
                x = parameters["x"].requires_grad_()
                (slope,) = torch.autograd.grad(thing(kind, "log_prob", parameters).sum(), x)
                size = 1.0 + 1.0 / x.detach().abs().clamp(min=1e-3)
                yield (
                    f"{kind.__name__} at {given}",
                    slope / size,
                    thing(kind, "score", parameters).detach() / size,
                )

    @exact(tolerance=1.0, requires="torch", effort="normal")
    def float32_is_float64_rounded(thing: Thing) -> Labels:
        for point in law_points(thing, ("log_prob", "mean", "variance")):
            yield from in_single_precision(point)

    mutants = {
        "derivative at 0 taken as 0": lambda kind, question, given: answer(
            kind, question, {k: still_at_zero(v) for k, v in given.items()}
        ),
        "parameters without a gradient": lambda kind, question, given: answer(
            kind,
            question,
            {k: v if k == "x" or isinstance(v, float) else constant(v) for k, v in given.items()},
        ),
        "score of twice the law": lambda kind, question, given: (
            answer(kind, question, given) * (2.0 if question == "score" else 1.0)
        ),
        "point in float32": lambda kind, question, given: (
            answer(kind, question, {**given, "x": single(given["x"])})
            if "x" in given
            else answer(kind, question, given)
        ),
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


def process_points(thing: Thing) -> Iterator[Point]:
    for cases in PROCESSES.values():
        for case in cases:
            process, (s, t) = case["process"], case["times"]
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
                    theta: Any, process: Any = process, q: str = question, data: Any = case["data"]
                ) -> Any:
                    return thing(process, q, like(data, theta), *(theta[k] for k in range(theta.shape[0])))

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


@claim(
    "GRADIENT-PROCESS-1",
    paper="special",
    title="Gradients of every process",
    statement=r"""\texttt{autograd} = \text{differences}: \; \log p(x_t | x_0), \; \log p(x_s | x_0, x_t), \; \log p_t,
        \text{ in states and times, where a state is 0 too}; \qquad \partial_x \log p_t = s""",
    vouches=[entry.value for entry in of_kind("process")],
    hypotheses=[r"\log p \text{ is finite}", "at a state 0: from above"],
)
class ProcessGradients:
    thing = ask

    @exact(tolerance=0.0)
    def every_process_is_listed(thing: Thing) -> Labels:
        yield from listed([entry.value for entry in of_kind("process")], list(PROCESSES))

    @exact(tolerance=1.0, requires="torch")
    def autograd_is_differences(thing: Thing) -> Labels:
        for point in process_points(thing):
            yield from by_differences(point)

    @exact(tolerance=1e-13, requires="torch")
    def autograd_of_the_marginal_is_the_score(thing: Thing) -> Labels:
        import torch

        for cases in PROCESSES.values():
            for case in cases:
                for at in case["x"]:
                    x = torch.tensor(at, dtype=torch.float64, requires_grad=True)
                    data, t = like(case["data"], x.detach()), case["times"][1]
                    (slope,) = torch.autograd.grad(thing(case["process"], "marginal", data, x, t), x)
                    score = thing(case["process"], "score", data, x.detach(), t)
                    yield f"{case['process']}, x = {at}", slope, score

    @exact(tolerance=1.0, requires="torch", effort="normal")
    def float32_is_float64_rounded(thing: Thing) -> Labels:
        for point in process_points(thing):
            yield from in_single_precision(point)

    mutants = {
        "derivative at 0 taken as 0": lambda process, question, data, *given: ask(
            process, question, data, *map(still_at_zero, given)
        ),
        "times without a gradient": lambda process, question, data, *given: ask(
            process, question, data, *given[:-1], constant(given[-1])
        ),
        "score with the other sign": lambda process, question, data, *given: (
            ask(process, question, data, *given) * (-1.0 if question == "score" else 1.0)
        ),
    }
