"""Every divergence against its textbook generator at forty digits, and the laws that all of them share."""

import math

import array_api_compat.numpy as xp
import mpmath as mp
import numpy as np
import pytest
import sympy as sp
import torch

from driftproof import UnmetHypothesis
from driftproof.theory import divergences, opd

EDGES = (1e-9, 0.1, 0.5, 0.9, 1 - 1e-9)
TEXTBOOK = {
    "reverse_kl": lambda u: -mp.log(u),
    "forward_kl": lambda u: u * mp.log(u),
    "pearson": lambda u: (u - 1) ** 2,
    "neyman": lambda u: (u - 1) ** 2 / u,
    "hellinger": lambda u: (mp.sqrt(u) - 1) ** 2,
    "jsd": lambda u: (u * mp.log(u) - (1 + u) * mp.log((1 + u) / 2)) / 2,
    "jeffreys": lambda u: (u - 1) * mp.log(u),
    "le_cam": lambda u: (u - 1) ** 2 / (u + 1),
    "alpha(0)": lambda u: u - 1 - mp.log(u),
    "alpha(1)": lambda u: u * mp.log(u) - u + 1,
}
for a in (-2.0, -1e-6, 0.3, 0.5, 0.9999999, 2.0, 3.0):
    TEXTBOOK[f"alpha({a!r})"] = lambda u, a=a: (u**a - 1 - a * (u - 1)) / (mp.mpf(a) * (mp.mpf(a) - 1))
for b in EDGES:
    m = lambda u, b=b: mp.mpf(b) * u + 1 - mp.mpf(b)
    TEXTBOOK[f"gjsd({b!r})"] = lambda u, b=b, m=m: b * u * mp.log(u / m(u)) - (1 - mp.mpf(b)) * mp.log(m(u))
    TEXTBOOK[f"skew_kl({b!r})"] = lambda u, m=m: u * mp.log(u / m(u))
    TEXTBOOK[f"skew_rkl({b!r})"] = lambda u, m=m: -mp.log(m(u))
    TEXTBOOK[f"normalized_gjsd({b!r})"] = lambda u, b=b, f=TEXTBOOK[f"gjsd({b!r})"]: (
        f(u) / (mp.mpf(b) * (1 - mp.mpf(b)))
    )

NAMES = [*sorted(TEXTBOOK), "tv"]
DELTAS = np.asarray([-8.0, -2.0, -0.4, -1e-9, 0.0, 1e-9, 0.3, 1.7, 8.0])


@pytest.mark.parametrize("name", sorted(TEXTBOOK))
def test_kernels_equal_the_textbook_at_forty_digits(name):
    divergence, f = divergences.get(name), TEXTBOOK[name]
    with mp.workdps(40):
        lean = mp.diff(f, mp.mpf(1), h=mp.mpf(10) ** -12)
        for delta in DELTAS:
            u = mp.exp(mp.mpf(float(delta)))
            value, slope = f(u), mp.diff(f, u, h=u * mp.mpf(10) ** -12)
            bend = mp.diff(f, u, 2, h=u * mp.mpf(10) ** -10)
            wants = (value, slope, bend, u * slope - value - lean)
            kernels = (divergence.value, divergence.slope, divergence.curvature, divergence.centred)
            for kernel, want in zip(kernels, wants, strict=True):
                error = abs(mp.mpf(float(kernel(xp, xp.asarray(delta)))) - want)
                # The differences are right to 1e-19; near u = 1 the generators are of order 1e-18.
                assert error <= mp.mpf("1e-13") * abs(want) + mp.mpf("1e-16")


@pytest.mark.parametrize("name", NAMES)
def test_advantage_is_zero_at_one_monotone_and_has_the_sign_of_delta(name):
    delta = np.linspace(-30.0, 30.0, 2001)
    advantage = divergences.get(name).advantage(delta)
    assert np.all(np.isfinite(advantage))
    assert abs(advantage[1000]) == 0.0
    assert np.all(np.diff(advantage) >= -4e-16 * (1 + np.abs(advantage[1:])))
    assert np.all(advantage * delta >= 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_linear_term_changes_the_representation_and_not_the_advantage(name):
    plain = divergences.get(name)
    tilted = plain.tilt(0.7)
    delta = np.linspace(-3.0, 3.0, 7)
    assert np.array_equal(tilted.advantage(delta), plain.advantage(delta))
    np.testing.assert_allclose(
        tilted.f(np.exp(delta)) - plain.f(np.exp(delta)), 0.7 * np.expm1(delta), atol=1e-14
    )
    np.testing.assert_allclose(tilted.plus_advantage(delta) - plain.plus_advantage(delta), 0.7, atol=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_swapping_twice_is_nothing_and_swapping_once_exchanges_the_laws(name):
    plain, rng = divergences.get(name), np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(5)), rng.dirichlet(np.ones(5))
    forward = float(np.sum(p * plain.f(q / p)))
    assert float(np.sum(q * plain.swap().f(p / q))) == pytest.approx(forward, rel=1e-12)
    delta = np.linspace(-3.0, 3.0, 8)
    np.testing.assert_allclose(
        plain.swap().swap().advantage(delta), plain.advantage(delta), rtol=1e-12, atol=1e-14
    )


@pytest.mark.parametrize("name", NAMES)
def test_clipping_the_ratio_is_the_divergence_continued_linearly(name):
    plain = divergences.get(name)
    clipped = plain.clip(0.5, 3.0)
    u = np.asarray([0.01, 0.4, 0.7, 1.0, 2.0, 4.0, 50.0])
    np.testing.assert_allclose(
        clipped.advantage(np.log(u)), plain.advantage(np.log(np.clip(u, 0.5, 3.0))), rtol=1e-13
    )
    # f_c by integrating its own second derivative twice would be circular; its values and slopes are not.
    step = 1e-6
    slope = (clipped.f(u * (1 + step)) - clipped.f(u * (1 - step))) / (2 * step * u)
    np.testing.assert_allclose(slope, clipped.df(u), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_torch_agrees_and_differentiates(name):
    divergence = divergences.get(name)
    delta = torch.tensor([-3.0, -0.2, 0.4, 2.0], dtype=torch.float64, requires_grad=True)
    value = divergence.value(pytest.importorskip("array_api_compat.torch"), delta)
    np.testing.assert_allclose(
        value.detach(), divergence.value(xp, delta.detach().numpy()), rtol=1e-14, atol=1e-15
    )
    (slope,) = torch.autograd.grad(value.sum(), delta)
    want = np.exp(delta.detach().numpy()) * divergence.df(np.exp(delta.detach().numpy()))
    np.testing.assert_allclose(slope.numpy(), want, rtol=1e-11, atol=1e-12)


def test_limits_of_the_normalised_jensen_shannon_divergence():
    delta = np.linspace(-3.0, 3.0, 9)
    forward, reverse = divergences.get("forward_kl"), divergences.get("reverse_kl")
    np.testing.assert_array_equal(divergences.normalized_gjsd(0.0).advantage(delta), forward.advantage(delta))
    np.testing.assert_array_equal(divergences.normalized_gjsd(1.0).advantage(delta), reverse.advantage(delta))
    near = divergences.normalized_gjsd(1e-6).advantage(delta)
    assert np.max(np.abs(near - forward.advantage(delta)) / (1 + np.abs(near))) < 1e-5
    assert np.max(np.abs(divergences.gjsd(1e-6).advantage(delta))) < 1e-4  # the raw form vanishes


def test_ends_of_the_generators():
    for name in sorted(set(NAMES) - {"alpha(0.9999999)"}):  # its limit is reached at log u = 1e7
        divergence = divergences.get(name)
        with np.errstate(over="ignore"):
            if math.isfinite(divergence.at_zero):
                assert float(divergence.f(1e-300)) == pytest.approx(divergence.at_zero, rel=1e-6, abs=1e-9)
            if math.isfinite(divergence.slope_at_infinity):
                assert float(divergence.df(1e200)) == pytest.approx(
                    divergence.slope_at_infinity, rel=1e-6, abs=1e-9
                )


def test_a_users_divergence_is_normalised_and_checked():
    u = sp.Symbol("u", positive=True)
    ours = divergences.from_expression(u * sp.log(u) + 5)
    delta = np.linspace(-3.0, 3.0, 7)
    np.testing.assert_allclose(ours.advantage(delta), np.expm1(delta), rtol=1e-12, atol=1e-14)
    assert float(ours.f(1.0)) == 0.0
    with pytest.raises(UnmetHypothesis, match="f is convex"):
        divergences.from_expression(sp.log(u))
    with pytest.raises(TypeError, match="sympy expression"):
        divergences.from_expression("u*log(u)")
    with pytest.raises(UnmetHypothesis, match="df is the derivative"):
        divergences.from_functions(lambda u: u**2, lambda u: u, lambda u: u**0, 0.0, math.inf)


@pytest.mark.parametrize(
    "name",
    ["kl", "alpha", "alpha(x)", "gjsd(0)", "gjsd(1)", "skew_kl(1.5)", "normalized_gjsd(-0.1)", "alpha(inf)"],
)
def test_names_that_are_refused(name):
    with pytest.raises(UnmetHypothesis):
        divergences.get(name)


def test_what_is_no_name_and_no_divergence_is_told() -> None:
    with pytest.raises(TypeError, match="expected a name, got NoneType"):
        divergences.get(None)  # type: ignore[arg-type]
    for function in (opd.divergence, opd.logit_gradient):
        with pytest.raises(TypeError, match="expected FDivergence for f, got str"):
            function([-0.7, -0.7], [-0.7, -0.7], "jsd")  # type: ignore[arg-type]
