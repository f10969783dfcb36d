"""Oracles by quadrature are right to what they state, at 200 log-uniform points, or refuse: against mpmath."""

from __future__ import annotations

import itertools
import math

import mpmath as mp
import numpy as np
import pytest
import sympy as sp

from driftproof import UnmetHypothesis
from driftproof.theory.divergences import from_expression, get
from driftproof.theory.laws import Gaussian
from driftproof.theory.opd import surrogate
from driftproof.theory.processes import VP
from driftproof.theory.rewards import Linear, Quadratic
from driftproof.theory.score_as_action import LinearFeedback

COUNT = 200
STATED = 1e-10
EPS = 2.0**-52
U = sp.Symbol("u", positive=True)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(10 ** rng.uniform(math.log10(low), math.log10(high)))


# -- generators of surrogates ---------------------------------------------------------------------

# F(u) = -u times the integral of f(v) / v^2 from 1 to u.
SURROGATES = {
    "reverse_kl": (get("reverse_kl"), lambda u: u - 1 - mp.log(u), lambda u: 1 - 1 / u),
    "forward_kl": (get("forward_kl"), lambda u: -u * mp.log(u) ** 2 / 2, lambda u: -mp.log(u) ** 2 / 2 - mp.log(u)),
    "power": (
        from_expression(U ** sp.Rational(5, 2) - 1),
        lambda u: -u * (u ** mp.mpf("1.5") / mp.mpf("1.5") + 1 / u - mp.mpf(5) / 3),
        lambda u: -mp.mpf(5) / 3 * u ** mp.mpf("1.5") + mp.mpf(5) / 3,
    ),
    "root": (
        from_expression(1 - sp.sqrt(U)),
        lambda u: -u * (2 / mp.sqrt(u) - 1 / u - 1),
        lambda u: 1 - 1 / mp.sqrt(u),
    ),
}  # fmt: skip


@pytest.mark.slow(ci=True)
def test_surrogates_hold_what_they_state() -> None:
    rng = np.random.default_rng(0)
    made = {name: surrogate(f) for name, (f, _, _) in SURROGATES.items()}
    for _ in range(COUNT):
        name = list(SURROGATES)[rng.integers(len(SURROGATES))]
        delta = log_uniform(rng, 1e-6, 200.0) * float(rng.choice([-1.0, 1.0]))
        _, value, slope = SURROGATES[name]
        with mp.workdps(60):
            u = mp.exp(mp.mpf(delta))
            # Of one sign, so that the integral is its own size; of the slope the last part may cancel it.
            for ours, want in ((made[name].value, value(u)), (made[name].slope, slope(u))):
                found = float(ours(np, np.asarray([delta]))[0])
                size = abs(want) + (abs(slope(u)) + abs(value(u) / u) if ours is made[name].slope else 0)
                assert abs(found - want) <= STATED * size, (name, delta, found, want)


def test_surrogates_refuse_what_breaks_and_what_is_too_far() -> None:
    clipped = surrogate(get("reverse_kl").clip(0.3, 4.0))
    with pytest.raises(UnmetHypothesis, match="resolved by the quadrature"):
        clipped.f(7.7)
    with pytest.raises(UnmetHypothesis, match="delta"):
        surrogate(get("forward_kl")).value(np, np.asarray([-721.0]))
    with pytest.raises(UnmetHypothesis, match="up to infinity"):
        surrogate(from_expression(1 - U ** sp.Rational(99, 100)))


# -- feedback -------------------------------------------------------------------------------------


def vp(clock: float) -> VP:
    """A variance-preserving process whose clock runs to this value."""
    return VP(clock, clock, 1.0)


@pytest.mark.slow(ci=True)
def test_feedback_on_standard_data_holds_what_it_states() -> None:
    """At v = 1 everything is exponential: energy, its derivative in the gain, and both moments of the samples."""
    rng = np.random.default_rng(4)
    for _ in range(COUNT):
        clock, gain = (
            log_uniform(rng, 1e-3, 40.0),
            log_uniform(rng, 1e-4, 2.0) * float(rng.choice([-1.0, 1.0])),
        )
        mean, start = (float(v) for v in rng.uniform(-2.0, 2.0, 2))
        law = LinearFeedback(
            vp(clock), Gaussian([mean], [[1.0]]), Linear([1.0]), 0.5, gain, Gaussian([start], [[1.0]])
        )
        with mp.workdps(80):
            b = law.process.clock.time(1.0)
            b, m, x = mp.mpf(float(b)), mp.mpf(mean), mp.mpf(start)

            def primitive(rate, b=b):
                return mp.expm1(rate * b) / rate

            theta = mp.mpf(gain)
            k, f = theta - mp.mpf(1) / 2, theta - 1
            # The lead is p exp(-k r) + o exp(-r / 2), the variance s exp(-2 k r) - 1 / 2 k.
            p, o, s = mp.exp(k * b) * x + m * mp.exp(f * b) / f, -m / f, mp.exp(2 * k * b) * (1 + 1 / (2 * k))
            energy = (p**2 + s) * primitive(-2 * k) + 2 * p * o * primitive(-k - mp.mpf(1) / 2)
            energy += o**2 * primitive(-1) - b / (2 * k)
            want = theta**2 / 2 * energy
            end = mp.exp(k * b) * x + m * primitive(f)
            spread = mp.exp(2 * k * b) + primitive(2 * k)
        assert abs(law.path_kl() - want) <= STATED * want, (clock, gain, mean, law.path_kl(), want)
        arrived = law.terminal_law()
        size = mp.exp(k * b) * abs(x) + abs(m) * primitive(f)
        assert abs(float(arrived.mean[0]) - end) <= STATED * size
        assert abs(float(arrived.cov[0, 0]) - spread) <= STATED * spread


@pytest.mark.slow(ci=True)
def test_feedback_on_other_data_holds_what_it_states() -> None:
    """Samples of the gains -1 and 1/2, whose integrals are rational or logarithms in q = exp(-r)."""
    rng = np.random.default_rng(5)
    for _ in range(COUNT):
        clock, v, gain = (
            log_uniform(rng, 1e-3, 40.0),
            log_uniform(rng, 1e-9, 1e9),
            float(rng.choice([-1.0, 0.5])),
        )
        law = LinearFeedback(
            vp(clock), Gaussian([1.0], [[v]]), Linear([1.0]), 0.5, gain, Gaussian([0.0], [[1.0]])
        )
        arrived = law.terminal_law()
        with mp.workdps(120):
            b = mp.mpf(float(law.process.clock.time(1.0)))
            v, q = mp.mpf(v), mp.exp(-b)
            c = v - 1

            def square(x, c=c, gain=gain):
                u = 1 + c * x
                if gain == -1.0:
                    return (u - 2 * mp.log(u) - 1 / u) / c**3
                return mp.log(x / u) + 1 / u

            def pull(x, c=c, gain=gain):
                u = 1 + c * x
                if gain == -1.0:
                    return (mp.log(u) + 1 / u) / c**2
                return mp.sqrt(x) / u + mp.re(mp.atan(mp.sqrt(c * x)) / mp.sqrt(c))

            end = mp.sqrt(q) * v / (1 + c * q) * mp.exp(gain * b)
            spread = end**2 + v**2 * (square(1) - square(q))
            offset = v * (pull(1) - pull(q))
        assert abs(float(arrived.cov[0, 0]) - spread) <= STATED * spread, (clock, v, gain)
        assert abs(float(arrived.mean[0]) - offset) <= STATED * abs(offset), (clock, v, gain)


@pytest.mark.slow(ci=True)
def test_feedback_spends_what_a_nested_integral_says() -> None:
    """The energy at other variances: an integral of integrals that are closed at the gain -1."""
    rng = np.random.default_rng(6)
    for _ in range(6):
        clock, v, x = log_uniform(rng, 0.1, 30.0), log_uniform(rng, 1e-6, 1e6), float(rng.uniform(-2.0, 2.0))
        start = Gaussian([x], [[0.25]])
        law = LinearFeedback(vp(clock), Gaussian([1.0], [[v]]), Quadratic([1.0], [[0.1]]), 0.5, -1.0, start)
        with mp.workdps(60):
            b, v = mp.mpf(float(law.process.clock.time(1.0))), mp.mpf(v)
            c = v - 1

            def square(q, c=c):
                u = 1 + c * q
                return (u - 2 * mp.log(u) - 1 / u) / c**3

            def pull(q, c=c):
                u = 1 + c * q
                return (mp.log(u) + 1 / u) / c**2

            def slope(r, v=v, c=c):
                return mp.exp(-r / 2) * v / (1 + c * mp.exp(-r)) * mp.exp(-r)

            def along(r, b=b, v=v, x=x, slope=slope, square=square, pull=pull):
                q, end = mp.exp(-r), mp.exp(-b)
                a, last = slope(r), slope(b)
                lead = (last * x + v * (pull(q) - pull(end))) / a
                return lead**2 + (last**2 / 4 + v**2 * (square(q) - square(end))) / a**2

            depth = 4 + max(0, int(mp.log(b / min(v, 1), 2)))
            edges = [mp.mpf(0), *(b * mp.mpf(2) ** (k - depth) for k in range(depth + 1))]
            fine = [edges[0]]
            for low, high in itertools.pairwise(edges):
                parts = 1 + int((high - low) / 2)
                fine += [low + (high - low) * (k + 1) / parts for k in range(parts)]
            want = mp.quad(along, fine, maxdegree=4, method="gauss-legendre") / 2
        assert abs(law.path_kl() - want) <= STATED * want, (clock, v, law.path_kl(), want)
        step = 1e-4
        near = [
            LinearFeedback(law.process, law.data, law.reward, 0.5, -1.0 + k * step, start).objective()
            for k in (-2, -1, 1, 2)
        ]
        slope_found = (near[0] - 8 * near[1] + 8 * near[2] - near[3]) / (12 * step)
        assert law.policy_gradient() == pytest.approx(slope_found, rel=1e-7, abs=1e-9)


def test_gains_that_no_panel_resolves_are_refused() -> None:
    with pytest.raises(UnmetHypothesis, match=r"resolved by the quadrature|finite"):
        LinearFeedback(vp(30.0), Gaussian([0.0], [[1.0]]), Linear([1.0]), 0.5, -1e3)


@pytest.mark.slow(ci=True)
def test_surrogates_under_vmap_are_nan_where_they_would_raise() -> None:
    """No value can be read inside of a map: what is outside of the range, or not resolved, says so by NaN."""
    torch = pytest.importorskip("torch")
    import array_api_compat.torch as xp

    made, delta = surrogate(get("forward_kl")), torch.tensor([-3.0, 0.0, 5.0, 800.0], dtype=torch.float64)
    mapped = torch.func.vmap(lambda d: made.value(xp, d))(delta)
    assert bool(mapped[3].isnan())
    assert mapped[:3].numpy() == pytest.approx(made.value(np, delta[:3].numpy()), rel=1e-13)
    # 180 panels resolve a kink that eight refuse: by scipy's quad, told of the kink.
    clipped = surrogate(get("reverse_kl").clip(0.3, 4.0))
    (kinked,) = torch.func.vmap(lambda d: clipped.value(xp, d))(delta[2:3] - 2.9588)
    assert float(kinked) == pytest.approx(4.724295100212477, rel=STATED)
