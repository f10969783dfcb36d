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
from driftproof.validation import claim, exact, raises, rows
from driftproof.validation.inventory import inventory, of_kind
from driftproof.validation.mutants import wrong

from .derivatives import Point, by_differences, in_single_precision
from .gradient_cases import DISTANCES, LAWS, MATRICES, TURNED, assembled, coordinates
from .gradients import Labels, Things, listed, taking

__all__ = ["DistanceGradients", "MatrixGradients"]


# -- distances ----------------------------------------------------------------------------------------


def distance_points(tried: Things, every: int = 1) -> Iterator[Point]:
    for distance, families in DISTANCES.items():
        for kind, pairs in families.items():
            for p, q in pairs[::every]:
                cut = len(coordinates(p))

                def function(
                    theta: Any,
                    d: Any = tried[distance],
                    kind: Any = kind,
                    p: Any = p,
                    q: Any = q,
                    cut: int = cut,
                ) -> Any:
                    pair = (kind(**assembled(p, theta[:cut])), kind(**assembled(q, theta[cut:])))
                    return array_api_compat.array_namespace(theta).sum(d(*pair))

                yield Point(
                    f"{distance.__name__} of {kind.__name__} {p}, {q}",
                    function,
                    (*coordinates(p), *coordinates(q)),
                )


def _plates(wasserstein2: Any, wide: float, theta: Any) -> Any:
    """A plate in the plane, scaled and turned, against an ellipse or, with wide = 0, another plate."""
    xp = array_api_compat.array_namespace(theta)
    other = xp.asarray([[1.0, 0.0], [0.0, wide]], dtype=theta.dtype)
    zero = xp.zeros(2, dtype=theta.dtype)
    return wasserstein2(Gaussian(zero, _turned(theta, (1.0, 0.0))), Gaussian(zero, other))


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


EQUAL = (
    (Normal, {"loc": [0.5], "scale": [2.0]}),
    (Gaussian, {"mean": [0.0, 1.0], "cov": [[2.0, 0.0], [0.0, 2.0]]}),
)


@claim(
    "GRADIENT-DISTANCE-1",
    "Gradients of every distance of laws",
    r"""\texttt{autograd} = \text{differences}: \; W_2(p, q), \; KL(p \| q), \text{ in all parameters of both laws, at
        the identity, at repeated and zero eigenvalues, at } p = q \text{ for } KL""",
    covers=[wasserstein2, kl],
    hypotheses=[r"W_2(p, q) > 0", "singular covariances: along what keeps their null space null"],
)
class DistanceGradients:
    @exact(0.0)
    @taking(DISTANCES)
    def every_distance_of_every_family_is_listed_or_refused(tried):
        yield from listed(distances(), list(tried))
        for distance, families in DISTANCES.items():
            for entry in of_kind("law"):
                if entry.value not in families:
                    law = _small(entry.value)
                    refused = raises(UnmetHypothesis, tried[distance], law, law).ok
                    yield f"{distance.__name__} of {entry.name}", float(refused), 1.0

    @exact(1.0, requires="torch", over=rows("wide, angle", ((0.0, 0.3), (0.5, 0.3), (2.0, 1.0))))
    def singular_laws_turned_and_scaled(wasserstein2, wide, angle):
        """Relative to 64 roots of eps: a null eigenvalue is known to eps, and its root to the root of that."""
        functions = partial(_plates, wasserstein2, wide), partial(_plates_by_hand, wide)
        yield from as_by_hand("slope", *functions, (2.0, angle), np.inf)

    @exact(0.0, requires="torch", over=rows("kind, given", EQUAL))
    def equal_laws_are_at_distance_0_with_derivative_0(wasserstein2, kind, given):
        import torch

        theta = torch.tensor(coordinates(given), dtype=torch.float64, requires_grad=True)
        pair = kind(**assembled(given, theta)), kind(**assembled(given, theta.detach()))
        value = wasserstein2(*pair).sum()
        slope = torch.autograd.grad(value, theta)[0]
        yield kind.__name__, [value.detach(), *slope], [0.0] * (1 + theta.shape[0])

    @exact(1.0, requires="torch")
    @taking(DISTANCES)
    def autograd_is_differences_for_a_third_of_the_pairs(tried):
        for point in distance_points(tried, every=3):
            yield from by_differences(point)

    @exact(1.0, requires="torch", effort="normal")
    @taking(DISTANCES)
    def autograd_is_differences(tried):
        for point in distance_points(tried):
            yield from by_differences(point)

    @exact(1.0, requires="torch", effort="normal")
    @taking(DISTANCES)
    def float32_is_float64_rounded(tried):
        for point in distance_points(tried):
            yield from in_single_precision(point)

    mutants = {
        "derivatives of eigenvectors": wrong(
            wasserstein2, lambda value, p, q: _by_eigenvectors(p, q) if isinstance(p, Gaussian) else value
        ),
        "second law without a gradient": {
            distance: wrong(distance, q=lambda q: _without_gradient(q)) for distance in DISTANCES
        },
        "square root of the divergence": wrong(kl, lambda value: value**0.5),
    }


def _without_gradient(law: AbstractLaw) -> AbstractLaw:
    return type(law)(**{name: constant(value) for name, value in law.parameters.items()})


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


def matrix_points(sqrt_psd: Any) -> Iterator[Point]:
    for cases in MATRICES.values():
        for given in cases:
            at = tuple(np.asarray(given).reshape(-1).tolist())
            yield Point(f"{given}", partial(_weighted, sqrt_psd), at)


def _weighted(sqrt_psd: Any, theta: Any) -> Any:
    """A sum of the elements, each with its own weight, of the root of a symmetric matrix."""
    xp = array_api_compat.array_namespace(theta)
    matrix = xp.reshape(theta, (2, 2))
    return xp.sum(sqrt_psd(xp, 0.5 * (matrix + xp.matrix_transpose(matrix))) * _weights(theta))


def _weights(theta: Any) -> Any:
    return array_api_compat.array_namespace(theta).asarray([[1.0, -0.3], [0.7, 2.0]], dtype=theta.dtype)


@claim(
    "GRADIENT-MATRIX-1",
    "Gradients of matrix functions",
    r"""S = C^{1/2}, \quad S\,dS + dS\,S = dC: \qquad
        \texttt{autograd} = \text{differences, twice, at repeated eigenvalues; at zero ones where the null space stays null}""",
    covers=[sqrt_psd, polar_factor, constant],
)
class MatrixGradients:
    @exact(1.0, requires="torch")
    def autograd_is_differences(sqrt_psd):
        for point in matrix_points(sqrt_psd):
            yield from by_differences(point)

    @exact(1.0, requires="torch", over=rows("values", TURNED))
    def turned_matrices_have_turned_roots(sqrt_psd, values):
        """The root of scale R D R^T is sqrt(scale) R sqrt(D) R^T: singular D too, whose null space stays null."""
        roots = tuple(np.sqrt(values))

        def function(theta):
            xp = array_api_compat.array_namespace(theta)
            return xp.sum(sqrt_psd(xp, _turned(theta, values)) * _weights(theta))

        def by_hand(theta):
            root = _turned(theta, roots) / theta[0] ** 0.5
            return array_api_compat.array_namespace(theta).sum(root * _weights(theta))

        condition = roots[0] / roots[1] if roots[1] else np.inf
        yield from as_by_hand("slope", function, by_hand, (1.3, 0.4), condition)

    @exact(1e-13, requires="torch")
    def second_derivatives_at_the_identity(sqrt_psd):
        """S = I + D/2 - D^2/8 + ..., so that tr(W S) has the derivatives tr(W D)/2 and -tr(W D D)/4 along D."""
        import array_api_compat.torch as xp
        import torch

        weight = torch.tensor([[1.0, -0.3], [-0.3, 2.0]], dtype=torch.float64)
        for direction in ([[1.0, 0.0], [0.0, 0.0]], [[0.3, 1.0], [1.0, -0.5]]):
            d = torch.tensor(direction, dtype=torch.float64)
            step = torch.zeros((), dtype=torch.float64, requires_grad=True)
            value = (weight * sqrt_psd(xp, torch.eye(2, dtype=torch.float64) + step * d)).sum()
            (first,) = torch.autograd.grad(value, step, create_graph=True)
            (second,) = torch.autograd.grad(first, step)
            yield f"{direction}, first", first, torch.trace(weight @ d) / 2.0
            yield f"{direction}, second", second, -torch.trace(weight @ d @ d) / 4.0

    @exact(0.0, requires="torch")
    def all_others_are_constants(polar_factor, constant):
        """What a program differentiates is in the table; the rest has no gradient."""
        import array_api_compat.torch as xp
        import torch

        yield from listed(
            [getattr(matrices, name) for name in matrices.__all__], [*MATRICES, polar_factor, constant]
        )
        matrix = torch.tensor([[2.0, 0.5], [0.1, 1.0]], dtype=torch.float64, requires_grad=True)
        for function in (partial(polar_factor, xp), constant):
            yield "no gradient", float(function(matrix).requires_grad), 0.0

    @exact(1.0, requires="torch", effort="normal")
    def float32_is_float64_rounded(sqrt_psd):
        for point in matrix_points(sqrt_psd):
            yield from in_single_precision(point)

    mutants = {
        "derivatives of eigenvectors": {sqrt_psd: _eigen_root},
        "one step of Newton's, from its own square": {
            sqrt_psd: lambda xp, cov: sqrt_psd(xp, constant(cov)) + 0.5 * (cov - constant(cov))
        },
        "without a gradient": {sqrt_psd: lambda xp, cov: sqrt_psd(xp, constant(cov)) + 0.0 * cov},
        "a constant with a gradient": {constant: lambda value: value},
        "a factor with a gradient": {polar_factor: lambda xp, matrix: matrix},
    }
