r"""Autograd = score = finite differences, for every law, process, distance and matrix function of the inventory.

What a program differentiates is not the formula but the code that computes it, and that may lose a derivative where
the formula has one: in the root of a state that is 0, in the eigenvectors of a covariance with equal eigenvalues, in
the branch of a ``where`` that is not taken.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import array_api_compat
import numpy as np

from ...._namespace import Array, UnmetHypothesis
from ....theory.laws import AbstractLaw, Gaussian, Normal, kl, matrices, wasserstein2
from ....theory.laws.matrices import constant, polar_factor, sqrt_psd
from ... import Thing, claim, exact
from ...evidence.base import Labelled
from ...inventory import inventory, of_kind
from .derivatives import DIFFERENCES, SINGLE, Point, by_differences, in_single_precision
from .gradient_cases import DISTANCES, LAWS, MATRICES, PROCESSES, TURNED, assembled, coordinates, ends

__all__ = ["DistanceGradients", "LawGradients", "MatrixGradients", "ProcessGradients"]

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

    @exact(tolerance=DIFFERENCES, requires="torch")
    def autograd_of_the_log_density_is_its_differences(thing: Thing) -> Labels:
        for point in law_points(thing, ("log_prob",)):
            yield from by_differences(point)

    @exact(tolerance=DIFFERENCES, requires="torch")
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

    @exact(tolerance=SINGLE, requires="torch", effort="normal")
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

    @exact(tolerance=DIFFERENCES, requires="torch")
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

    @exact(tolerance=SINGLE, requires="torch", effort="normal")
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


# -- distances ----------------------------------------------------------------------------------------


def between(distance: Any, p: AbstractLaw, q: AbstractLaw) -> Any:
    """The distance of two laws."""
    return distance(p, q)


def distance_points(thing: Thing) -> Iterator[Point]:
    for distance, families in DISTANCES.items():
        for kind, pairs in families.items():
            for p, q in pairs:
                cut = len(coordinates(p))

                def function(
                    theta: Any, d: Any = distance, kind: Any = kind, p: Any = p, q: Any = q, cut: int = cut
                ) -> Any:
                    pair = (kind(**assembled(p, theta[:cut])), kind(**assembled(q, theta[cut:])))
                    return array_api_compat.array_namespace(theta).sum(thing(d, *pair))

                yield Point(
                    f"{distance.__name__} of {kind.__name__} {p}, {q}",
                    function,
                    (*coordinates(p), *coordinates(q)),
                )


def _plates(thing: Thing, wide: float, theta: Any) -> Any:
    """A plate in the plane, scaled and turned, against an ellipse or, with wide = 0, another plate."""
    xp = array_api_compat.array_namespace(theta)
    other = xp.asarray([[1.0, 0.0], [0.0, wide]], dtype=theta.dtype)
    zero = xp.zeros(2, dtype=theta.dtype)
    return thing(wasserstein2, Gaussian(zero, _turned(theta, (1.0, 0.0))), Gaussian(zero, other))


def _plates_by_hand(wide: float, theta: Any) -> Any:
    xp = array_api_compat.array_namespace(theta)
    scale, c, s = theta[0], xp.cos(theta[1]), xp.sin(theta[1])
    return xp.sqrt(scale + 1.0 + wide - 2.0 * xp.sqrt(scale * (c * c + wide * s * s)))


def _turned(theta: Any, values: tuple[float, float]) -> Any:
    """A matrix with these eigenvalues times theta_0, turned by theta_1."""
    xp = array_api_compat.array_namespace(theta)
    c, s = xp.cos(theta[1]), xp.sin(theta[1])
    turn = xp.stack([xp.stack([c, -s]), xp.stack([s, c])])
    return theta[0] * (turn * xp.asarray(values, dtype=theta.dtype)) @ xp.matrix_transpose(turn)


def as_by_hand(label: str, function: Any, by_hand: Any, at: tuple[float, float], condition: float) -> Labels:
    """Autograd of a function against that of its closed form, both precisions, each over its 64 condition eps."""
    import torch

    want = torch.func.grad(by_hand)(torch.tensor(at, dtype=torch.float64))
    for dtype in (torch.float64, torch.float32):
        eps = torch.finfo(dtype).eps
        allowed = 64.0 * (eps**0.5 if condition == np.inf else eps * condition)
        theta = torch.tensor(at, dtype=dtype, requires_grad=True)
        (slope,) = torch.autograd.grad(function(theta), theta)
        yield f"{label}, {dtype}", (slope.double() - want) / allowed, torch.zeros_like(want)


def distances() -> list[Any]:
    """The functions of the inventory that make an array of two laws."""
    found = []
    for entry in inventory():
        if entry.kind == "function":
            hints = typing.get_type_hints(entry.value, include_extras=True)
            firsts = [hints.get(name) for name in entry.arguments[:2]]
            laws = all(inspect.isclass(h) and issubclass(h, AbstractLaw) for h in firsts)
            if len(firsts) == 2 and laws and hints.get("return") == Array:
                found.append(entry.value)
    return found


def _small(kind: type) -> AbstractLaw:
    given = {name: value for name, value in LAWS[kind][0].items() if name != "x"}
    law: AbstractLaw = kind(**assembled(given, np.asarray(coordinates(given))))
    return law


@claim(
    "GRADIENT-DISTANCE-1",
    paper="special",
    title="Gradients of every distance of laws",
    statement=r"""\texttt{autograd} = \text{differences}: \; W_2(p, q), \; KL(p \| q), \text{ in all parameters of both laws, at
        the identity, at repeated and zero eigenvalues, at } p = q \text{ for } KL""",
    vouches=[wasserstein2, kl],
    hypotheses=[r"W_2(p, q) > 0", "singular covariances: along what keeps their null space null"],
)
class DistanceGradients:
    thing = between

    @exact(tolerance=0.0)
    def every_distance_of_every_family_is_listed_or_refused(thing: Thing) -> Labels:
        yield from listed(distances(), list(DISTANCES))
        for distance, families in DISTANCES.items():
            for entry in of_kind("law"):
                if entry.value not in families:
                    law = _small(entry.value)
                    try:
                        distance(law, law)
                        refused = False
                    except UnmetHypothesis:
                        refused = True
                    yield f"{distance.__name__} of {entry.name}", float(refused), 1.0

    @exact(tolerance=DIFFERENCES, requires="torch")
    def autograd_is_differences(thing: Thing) -> Labels:
        for point in distance_points(thing):
            yield from by_differences(point)

    @exact(tolerance=1.0, requires="torch")
    def singular_laws_turned_and_scaled(thing: Thing) -> Labels:
        """Relative to 64 roots of eps: a null eigenvalue is known to eps, and its root to the root of that."""
        for wide, angle in ((0.0, 0.3), (0.5, 0.3), (2.0, 1.0)):
            functions = partial(_plates, thing, wide), partial(_plates_by_hand, wide)
            yield from as_by_hand(f"{wide}, {angle}", *functions, (2.0, angle), np.inf)

    @exact(tolerance=0.0, requires="torch")
    def equal_laws_are_at_distance_0_with_derivative_0(thing: Thing) -> Labels:
        import torch

        for kind, given in (
            (Normal, {"loc": [0.5], "scale": [2.0]}),
            (Gaussian, {"mean": [0.0, 1.0], "cov": [[2.0, 0.0], [0.0, 2.0]]}),
        ):
            theta = torch.tensor(coordinates(given), dtype=torch.float64, requires_grad=True)
            value = thing(
                wasserstein2, kind(**assembled(given, theta)), kind(**assembled(given, theta.detach()))
            ).sum()
            yield (
                kind.__name__,
                [value.detach(), *torch.autograd.grad(value, theta)[0]],
                [0.0] * (1 + theta.shape[0]),
            )

    @exact(tolerance=SINGLE, requires="torch", effort="normal")
    def float32_is_float64_rounded(thing: Thing) -> Labels:
        for point in distance_points(thing):
            yield from in_single_precision(point)

    mutants = {
        "derivatives of eigenvectors": lambda distance, p, q: (
            _by_eigenvectors(p, q) if distance is wasserstein2 and isinstance(p, Gaussian) else distance(p, q)
        ),
        "second law without a gradient": lambda distance, p, q: distance(
            p, type(q)(**{name: constant(value) for name, value in q.parameters.items()})
        ),
        "square root of the divergence": lambda distance, p, q: (
            distance(p, q) ** (0.5 if distance is kl else 1.0)
        ),
    }


def _by_eigenvectors(p: Gaussian, q: Gaussian) -> Any:
    """The textbook formula, differentiated through eigh."""
    xp = array_api_compat.array_namespace(p.cov)
    root = _eigen_root(xp, p.cov)
    cross = _eigen_root(xp, root @ q.cov @ root)
    return xp.sqrt(xp.sum((p.mean - q.mean) ** 2) + xp.linalg.trace(p.cov + q.cov - 2.0 * cross))


def _eigen_root(xp: Any, matrix: Any) -> Any:
    values, vectors = xp.linalg.eigh(matrix)
    values = xp.where(values > 0, values, xp.zeros_like(values))
    return (vectors * xp.sqrt(values)) @ xp.matrix_transpose(vectors)


# -- matrices -----------------------------------------------------------------------------------------


def matrix_points(thing: Thing) -> Iterator[Point]:
    for cases in MATRICES.values():
        for given in cases:
            yield Point(f"{given}", partial(_weighted, thing), tuple(np.asarray(given).reshape(-1).tolist()))


def _weighted(thing: Thing, theta: Any) -> Any:
    """A sum of the elements, each with its own weight, of the root of a symmetric matrix."""
    xp = array_api_compat.array_namespace(theta)
    matrix = xp.reshape(theta, (2, 2))
    return xp.sum(thing(xp, 0.5 * (matrix + xp.matrix_transpose(matrix))) * _weights(theta))


def _weights(theta: Any) -> Any:
    return array_api_compat.array_namespace(theta).asarray([[1.0, -0.3], [0.7, 2.0]], dtype=theta.dtype)


@claim(
    "GRADIENT-MATRIX-1",
    paper="special",
    title="Gradients of matrix functions",
    statement=r"""S = C^{1/2}, \quad S\,dS + dS\,S = dC: \qquad
        \texttt{autograd} = \text{differences, twice, at repeated eigenvalues; at zero ones where the null space stays null}""",
    vouches=[sqrt_psd],
)
class MatrixGradients:
    @exact(tolerance=0.0)
    def every_matrix_function_is_listed_or_constant(thing: Thing) -> Labels:
        known = [getattr(matrices, name) for name in matrices.__all__]
        yield from listed(known, [*MATRICES, polar_factor, constant])

    @exact(tolerance=DIFFERENCES, requires="torch")
    def autograd_is_differences(thing: Thing) -> Labels:
        for point in matrix_points(thing):
            yield from by_differences(point)

    @exact(tolerance=1.0, requires="torch")
    def turned_matrices_have_turned_roots(thing: Thing) -> Labels:
        """The root of scale R D R^T is sqrt(scale) R sqrt(D) R^T: singular D too, whose null space stays null."""
        for values in TURNED:
            roots = tuple(np.sqrt(values))

            def function(theta: Any, values: Any = values) -> Any:
                xp = array_api_compat.array_namespace(theta)
                return xp.sum(thing(xp, _turned(theta, values)) * _weights(theta))

            def by_hand(theta: Any, roots: Any = roots) -> Any:
                root = _turned(theta, roots) / theta[0] ** 0.5
                return array_api_compat.array_namespace(theta).sum(root * _weights(theta))

            condition = roots[0] / roots[1] if roots[1] else np.inf
            yield from as_by_hand(f"{values}", function, by_hand, (1.3, 0.4), condition)

    @exact(tolerance=1e-13, requires="torch")
    def second_derivatives_at_the_identity(thing: Thing) -> Labels:
        """S = I + D/2 - D^2/8 + ..., so that tr(W S) has the derivatives tr(W D)/2 and -tr(W D D)/4 along D."""
        import array_api_compat.torch as xp
        import torch

        weight = torch.tensor([[1.0, -0.3], [-0.3, 2.0]], dtype=torch.float64)
        for direction in ([[1.0, 0.0], [0.0, 0.0]], [[0.3, 1.0], [1.0, -0.5]]):
            d = torch.tensor(direction, dtype=torch.float64)
            step = torch.zeros((), dtype=torch.float64, requires_grad=True)
            value = (weight * thing(xp, torch.eye(2, dtype=torch.float64) + step * d)).sum()
            (first,) = torch.autograd.grad(value, step, create_graph=True)
            (second,) = torch.autograd.grad(first, step)
            yield f"{direction}, first", first, torch.trace(weight @ d) / 2.0
            yield f"{direction}, second", second, -torch.trace(weight @ d @ d) / 4.0

    @exact(tolerance=0.0, requires="torch")
    def constants_have_no_gradient(thing: Thing) -> Labels:
        import array_api_compat.torch as xp
        import torch

        matrix = torch.tensor([[2.0, 0.5], [0.1, 1.0]], dtype=torch.float64, requires_grad=True)
        for function in (partial(polar_factor, xp), constant):
            yield "no gradient", float(function(matrix).requires_grad), 0.0

    @exact(tolerance=SINGLE, requires="torch", effort="normal")
    def float32_is_float64_rounded(thing: Thing) -> Labels:
        for point in matrix_points(thing):
            yield from in_single_precision(point)

    mutants = {
        "derivatives of eigenvectors": _eigen_root,
        "one step of Newton's, from its own square": lambda xp, cov: (
            sqrt_psd(xp, constant(cov)) + 0.5 * (cov - constant(cov))
        ),
        "without a gradient": lambda xp, cov: sqrt_psd(xp, constant(cov)) + 0.0 * cov,
    }
