r"""Gradients of distances between laws and of functions of matrices, at repeated and zero eigenvalues too."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from functools import partial
from typing import Any

import array_api_compat
import numpy as np

from driftproof._namespace import Array, UnmetHypothesis
from driftproof.theory.laws import AbstractLaw, Gaussian, Normal, kl, matrices, wasserstein2
from driftproof.theory.laws.matrices import constant, polar_factor, sqrt_psd
from driftproof.validation import Thing, claim, exact
from driftproof.validation.inventory import inventory, of_kind

from .derivatives import Point, by_differences, in_single_precision
from .gradient_cases import DISTANCES, LAWS, MATRICES, TURNED, assembled, coordinates
from .gradients import Labels, listed

__all__ = ["DistanceGradients", "MatrixGradients"]


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

    @exact(tolerance=1.0, requires="torch")
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

    @exact(tolerance=1.0, requires="torch", effort="normal")
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

    @exact(tolerance=1.0, requires="torch")
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

    @exact(tolerance=1.0, requires="torch", effort="normal")
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
