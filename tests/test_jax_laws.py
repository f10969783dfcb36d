"""Laws under jax: every method that a law has, compiled, mapped over parameters and differentiated."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from driftproof import UnmetHypothesis, check_values
from driftproof.theory.laws import Gamma, Gaussian, LogNormal, Mixture, NoncentralChi2, Normal
from driftproof.theory.laws.bessel_count import BesselCount
from driftproof.theory.laws.bridges import SquaredBesselBridge
from driftproof.theory.laws.gamma_mixed import GammaMixedChi2

jax = pytest.importorskip("jax")
checkify = pytest.importorskip("jax.experimental.checkify")
jnp = jax.numpy
pytestmark = pytest.mark.usefixtures("double_precision_of_jax")

HALF_LINE, LINE, LEVELS = (
    np.asarray([0.3, 0.9, 7.0]),
    np.asarray([-0.4, 0.3, 2.0]),
    np.asarray([1e-9, 0.3, 0.999]),
)
POINTS = {"log_prob", "score", "cdf", "sf", "log_cdf", "log_sf"}
AT_LEVELS = {"icdf", "isf", "interval"}
ALONE = {"mean", "variance", "std", "entropy"}

# A law of two numbers, and points of its support.
LAWS: dict[str, tuple[Callable[[Any, Any], Any], np.ndarray]] = {
    "Normal": (Normal, LINE),
    "LogNormal": (LogNormal, HALF_LINE),
    "Gamma": (Gamma, HALF_LINE),
    "NoncentralChi2": (lambda nc, scale: NoncentralChi2(3.0, nc, scale), HALF_LINE),
    "GammaMixedChi2": (lambda mixing, scale: GammaMixedChi2(3.0, 2.0, mixing, scale), HALF_LINE),
    "SquaredBesselBridge": (lambda left, right: SquaredBesselBridge(3.0, left, right, 1.0), HALF_LINE),
    "BesselCount": (lambda a, b: BesselCount(0.5, 30.0 * a * b), np.asarray([0.0, 3.0, 7.0])),
    "Mixture": (lambda a, b: Mixture([0.3, 0.7], Normal(_pair(a, -a), _pair(b, 1.0 + b))), LINE),
    "Mixture of Gamma": (lambda a, b: Mixture([0.3, 0.7], Gamma(_pair(a, 1.0 + a), _pair(b, b))), HALF_LINE),
    "Gaussian": (lambda a, b: Gaussian(_pair(a, b), _square(b, 0.1 * a)), LINE[:2]),
}  # fmt: skip
CASES = [(law, method) for law in LAWS for method in sorted(POINTS | AT_LEVELS | ALONE)]
QUICK = [("Gamma", "log_prob"), ("Normal", "icdf"), ("Gaussian", "cdf")]


def _pair(a: Any, b: Any) -> Any:
    return a.__array_namespace__().stack([a, b])


def _square(a: Any, b: Any) -> Any:
    return a.__array_namespace__().stack([_pair(1.0 + a, b), _pair(b, 2.0 + a)])


def value(law: str, method: str, xp: Any) -> Callable[[Any, Any], Any]:
    make, points = LAWS[law]

    def function(first: Any, second: Any) -> Any:
        asked = getattr(make(first, second), method)
        if method in ALONE:
            return asked() if callable(asked) else asked
        return asked(xp.asarray(points if method in POINTS else LEVELS))

    return function


def both(law: str, method: str) -> None:
    first, second = np.asarray(0.7), np.asarray(0.4)
    traced = value(law, method, jnp)
    try:
        expected = value(law, method, np)(first, second)
    except UnmetHypothesis as error:
        # One on values is carried along: while jax traces there are none.
        checked = jax.jit(check_values(traced))
        with pytest.raises((UnmetHypothesis, checkify.JaxRuntimeError), match=re.escape(error.hypothesis)):
            checked(jnp.asarray(first), jnp.asarray(second))[0].throw()
        return
    firsts = jnp.asarray([0.7, 1.3])
    mapped = jax.jit(jax.vmap(lambda a: traced(a, jnp.asarray(second))))(firsts)
    slopes = jax.jit(jax.jacfwd(traced, argnums=1))(jnp.asarray(first), jnp.asarray(second))
    above, below = (value(law, method, np)(first, second + np.asarray(h)) for h in (1e-5, -1e-5))
    for part, ours, slope, high, low in zip(
        *(jax.tree.leaves(each) for each in (expected, mapped, slopes, above, below)), strict=True
    ):
        np.testing.assert_allclose(ours[0], part, rtol=1e-12, atol=1e-13)
        assert np.isfinite(ours[1]).all()
        # A central difference: its third derivatives and roundings are below this.
        np.testing.assert_allclose(slope, (high - low) / 2e-5, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(("law", "method"), QUICK)
def test_some_methods(law: str, method: str) -> None:
    both(law, method)


@pytest.mark.slow(ci=True)
def test_the_largest_of_exponents_that_are_computed_twice() -> None:
    """jax fuses what it computes anew with other roundings: no element may then be the largest one."""
    both("Mixture of Gamma", "icdf")


@pytest.mark.slow
@pytest.mark.parametrize(("law", "method"), CASES)
def test_every_method(law: str, method: str) -> None:
    both(law, method)


class TestTraces:
    def test_made_and_asked_inside_of_a_trace(self) -> None:
        x = jnp.asarray([0.5, 2.0])

        def value(scale: Any) -> Any:
            return Gamma(2.0, scale).log_prob(x).sum()

        slope = jax.jit(jax.grad(value))(jnp.asarray(0.7))
        assert np.isclose(slope, float((x / 0.7**2 - 2.0 / 0.7).sum()), rtol=1e-13)
        cov = jnp.asarray([[2.0, 0.3], [0.3, 1.0]])
        traced = jax.jit(lambda c: Gaussian(jnp.zeros(2), c).log_prob(x))(cov)
        assert np.isclose(traced, Gaussian(np.zeros(2), np.asarray(cov)).log_prob(np.asarray(x)), rtol=1e-13)

    def test_mapped_over_parameters(self) -> None:
        locs = jnp.asarray([0.0, 1.0, -2.0])
        mapped = jax.vmap(lambda m: Normal(m, 0.5).log_prob(jnp.asarray(0.3)))(locs)
        assert np.allclose(mapped, Normal(np.asarray(locs), 0.5).log_prob(0.3), rtol=1e-14)

    def test_a_mixture_has_its_limit_at_0(self) -> None:
        """There all densities are 0; the score of the mixture is the limit from above, traced or not."""

        def score(x: Any) -> Any:
            xp = x.__array_namespace__()
            return Mixture(
                [0.5, 0.5], Gamma(xp.asarray([2.0, 3.0]), xp.asarray([1.0, 1.0]))
            ).responsibilities(x)

        assert np.allclose(jax.jit(score)(jnp.zeros(2)), score(np.zeros(2)), atol=1e-15)
        assert np.allclose(score(np.zeros(2)), [1.0, 0.0])
