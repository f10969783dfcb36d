"""Laws where users stand: derivatives at a state 0, repeated eigenvalues, laws that nearly coincide, small volatility.

The right values come from fifty-digit formulas; derivatives are one-sided where the domain is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import array_api_compat.numpy as numpy_namespace
import mpmath
import numpy as np
import pytest

from driftproof.theory.laws import (
    Discrete,
    Gamma,
    Gaussian,
    GaussianMixture,
    LogNormal,
    Mixture,
    NoncentralChi2,
    Normal,
    kl,
    wasserstein2,
)
from driftproof.theory.laws.bridges import SquaredBesselBridge
from driftproof.theory.processes import CIR
from driftproof.theory.special.gamma_excess import gammaln_excess

torch = pytest.importorskip("torch")
Number = mpmath.mpf


def log_bessel_part(nu, w):
    """log of I_nu(sqrt w) / w^(nu/2): an entire function of w, by its series."""
    return mpmath.log(mpmath.hyp0f1(nu + 1, w / 4)) - mpmath.loggamma(nu + 1) - nu * mpmath.log(2)


def noncentral(x, df, nc, scale):
    nu, u = df / 2 - 1, x / scale
    return (
        (nu * mpmath.log(u) if nu else 0) - (u + nc) / 2 + log_bessel_part(nu, u * nc) - mpmath.log(2 * scale)
    )


def bridge(x, delta, left, right, scale):
    nu, u = delta / 2 - 1, x / scale
    parts = [log_bessel_part(nu, 4 * w) for w in (left * u, right * u, left * right)]
    power = nu * mpmath.log(2 * u) if nu else 0
    return (
        power - (u + left + right) + parts[0] + parts[1] - parts[2] + nu * mpmath.log(2) - mpmath.log(scale)
    )


def from_above(function: Callable[..., Number], values: Sequence[float], index: int) -> float:
    """The derivative in one argument from above, at fifty digits."""
    with mpmath.workdps(60):
        step = mpmath.mpf(10) ** -25
        moved = [mpmath.mpf(v) for v in values]
        low = function(*moved)
        moved[index] += step
        return float((function(*moved) - low) / step)


def gradients(law: Callable[..., object], values: Sequence[float]) -> list[float]:
    points = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values]
    return [float(g) for g in torch.autograd.grad(law(*points), points)]


CASES = [
    *((noncentral, NoncentralChi2, df, values) for df in (2.0, 3.0, 0.7, 80.0) for values in ((1.3, 0.0, 0.5), (40.0, 0.0, 2.0))),
    *((noncentral, NoncentralChi2, 2.0, (0.0, nc, 1.0)) for nc in (0.0, 3.0, 50.0)),
    *((bridge, SquaredBesselBridge, delta, values) for delta in (2.0, 0.7, 5.0) for values in ((1.3, 0.0, 0.7, 1.0), (1.3, 0.0, 0.0, 0.5), (60.0, 0.0, 50.0, 1.0), (1.3, 0.5, 0.5, 2.0))),
    *((bridge, SquaredBesselBridge, 2.0, (0.0, *ends, 1.0)) for ends in ((0.0, 0.7), (2.0, 3.0), (0.0, 0.0))),
]  # fmt: skip


@pytest.mark.parametrize(("formula", "law", "order", "values"), CASES)
def test_derivatives_at_a_state_0_are_the_limits_from_above(formula, law, order, values) -> None:
    found = gradients(lambda x, *rest: law(order, *rest).log_prob(x), values)
    for index, got in enumerate(found):
        want = from_above(lambda x, *rest: formula(x, mpmath.mpf(order), *rest), values, index)
        assert got == pytest.approx(want, rel=1e-12, abs=1e-12), index


def test_the_transition_of_cir_differentiates_in_a_data_point_0() -> None:
    """nc = q x0 / rho: a chain through the noncentrality."""
    process = CIR(1.0, 1.0, 1.0)
    decay, rho = float(process.decay(0.5)), float(process.rho(0.5))
    (got,) = gradients(lambda x0: process.transition(x0, 0.5).log_prob(0.8), [0.0])
    assert got == pytest.approx(decay / rho * (-0.5 + 0.8 / rho / (2.0 * process.delta)), rel=1e-13)


def test_moments_of_a_bridge_differentiate_at_an_end_0() -> None:
    """E = c (delta/2 + l + m + 2 n), n = 2 l m / delta for small l; likewise the variance."""
    law = lambda left: SquaredBesselBridge(3.0, left, 2.0, 1.0)
    (slope,) = gradients(lambda left: law(left).mean, [0.0])
    assert slope == pytest.approx(1.0 + 2.0 * (2.0 * 2.0 / 3.0), rel=1e-14)
    h = 1e-6
    (slope,) = gradients(lambda left: law(left).variance, [0.0])
    assert slope == pytest.approx(float(law(h).variance - law(0.0).variance) / h, rel=1e-4)


def test_mixtures_differentiate_in_a_weight_that_is_0() -> None:
    """d/dw_0 log sum_k w_k p_k = p_0 / p, however unlikely the component; values stay those of the others."""
    x, w = torch.tensor([0.5, 3.0], dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    line = lambda w: Mixture(w, Normal(torch.tensor([0.0, 1.0], dtype=torch.float64), torch.ones_like(w)))
    plane = lambda w: GaussianMixture(
        w, torch.tensor([[0.0], [1.0]], dtype=torch.float64), torch.ones((2, 1, 1), dtype=torch.float64)
    )
    parts = [Normal(0.0, 1.0).log_prob(x), Normal(1.0, 1.0).log_prob(x)]
    for law, points in ((line, x), (plane, x[:, None])):
        w.requires_grad_()
        value = law(w).log_prob(points)
        assert value.detach().tolist() == pytest.approx(parts[1].tolist(), rel=1e-15)
        (slope,) = torch.autograd.grad(value[0], w)
        assert slope.tolist() == pytest.approx([float(torch.exp(parts[0][0] - parts[1][0])), 1.0], rel=1e-14)
    (slope,) = torch.autograd.grad(line(w).variance, w)
    assert slope.tolist() == pytest.approx([2.0, 1.0], rel=1e-14)  # of sum w (1 + (m - sum w m)^2), w_0 = 0
    far = Mixture(w, Normal(torch.tensor([60.0, 0.0], dtype=torch.float64), 1.0))  # beyond the exponentials
    (slope,) = torch.autograd.grad(far.log_prob(torch.tensor(60.0, dtype=torch.float64)), w)
    assert slope[0] > 1e150
    assert torch.isfinite(slope).all()


# -- distances ----------------------------------------------------------------------------------------


def covariance(matrix):
    return 0.5 * (matrix + matrix.T)


@pytest.mark.parametrize("scales", [(1.0, 1.0, 1.0), (2.0, 2.0, 0.5), (1.0, 2.0, 3.0)])
def test_gaussian_distances_differentiate_at_repeated_eigenvalues(scales: tuple[float, ...]) -> None:
    first = torch.diag(torch.tensor(scales, dtype=torch.float64)).requires_grad_()
    second = torch.eye(3, dtype=torch.float64).requires_grad_()
    mean = torch.tensor([0.5, -1.0, 0.0], dtype=torch.float64, requires_grad=True)
    for distance in (wasserstein2, kl):

        def apart(m, c, e, distance=distance):
            return distance(Gaussian(m, covariance(c)), Gaussian(torch.zeros_like(m), covariance(e)))

        assert torch.autograd.gradcheck(apart, (mean, first, second))


def test_roots_of_matrices_differentiate_twice_at_repeated_eigenvalues() -> None:
    import array_api_compat.torch as xp

    from driftproof.theory.laws.matrices import sqrt_psd

    for values in ((2.0, 2.0, 2.0), (3.0, 3.0, 1.0)):
        matrix = torch.diag(torch.tensor(values, dtype=torch.float64)).requires_grad_()
        assert torch.autograd.gradcheck(lambda c: sqrt_psd(xp, c), (matrix,))
        assert torch.autograd.gradgradcheck(lambda c: sqrt_psd(xp, c), (matrix,))


@pytest.mark.parametrize(
    ("p", "q"),
    [
        (Normal(1.0, 2.0), Normal(1.0, 2.0)),
        (Gaussian(np.ones(3), np.eye(3)), Gaussian(np.ones(3), np.eye(3))),
        (Discrete([0.0, 1.0], [0.3, 0.7]), Discrete([0.0, 1.0], [0.3, 0.7])),
    ],
)
def test_a_law_is_at_distance_0_of_itself_with_derivative_0(p, q) -> None:
    names = list(p.parameters)
    points = [
        torch.as_tensor(np.asarray(v, dtype=np.float64)).requires_grad_() for v in p.parameters.values()
    ]
    other = type(q)(**{k: torch.as_tensor(np.asarray(v, dtype=np.float64)) for k, v in q.parameters.items()})
    if isinstance(p, Discrete):
        points = [points[0], points[1].detach()]
    distance = wasserstein2(type(p)(**dict(zip(names, points, strict=True))), other)
    assert float(distance.detach()) == 0.0
    (slope,) = torch.autograd.grad(distance, points[:1])
    assert not slope.any()


@pytest.mark.parametrize("gap", [1e-3, 1e-8, 1e-12])
def test_close_gaussian_laws_are_not_at_distance_0(gap: float) -> None:
    """Between N(0, I) and N(0, (1 + gap)^2 I) the distance is sqrt(d) gap."""
    wide = Gaussian(np.zeros(3), np.eye(3) * (1.0 + gap) ** 2)
    exact = np.sqrt(3.0) * (np.sqrt(wide.cov[0, 0]) - 1.0)
    assert float(wasserstein2(Gaussian(np.zeros(3), np.eye(3)), wide)) == pytest.approx(exact, rel=1e-13)


@pytest.mark.parametrize("gap", [1e-2, 1e-8, 1e-12])
@pytest.mark.parametrize("shape", [0.3, 2.0, 200.0, 1e6])
def test_divergences_of_close_laws_do_not_cancel(shape: float, gap: float) -> None:
    near, scale = shape * (1.0 + gap), 1.0 + 3.0 * gap
    with mpmath.workdps(60):
        k, m, b = (mpmath.mpf(v) for v in (shape, near, scale))
        want = (
            (k - m) * mpmath.psi(0, k)
            - mpmath.loggamma(k)
            + mpmath.loggamma(m)
            + m * mpmath.log(b)
            + k * (1 / b - 1)
        )
        wide = (mpmath.mpf(scale) ** -2 - 1) / 2 + mpmath.log(scale)
    got = float(kl(Gamma(shape, 1.0), Gamma(near, scale)))
    # Near the direction of equal means the two positive terms and the cross term cancel to 1 / (4 k) of them.
    assert got == pytest.approx(float(want), rel=1e-14 * (1.0 + 4.0 * shape))
    for law in (Normal, LogNormal):
        assert float(kl(law(0.0, 1.0), law(0.0, scale))) == pytest.approx(float(wide), rel=1e-12)
    matrix = float(kl(Gaussian(np.zeros(2), np.eye(2)), Gaussian(np.zeros(2), np.eye(2) * scale**2)))
    assert matrix == pytest.approx(
        2.0 * float((mpmath.mpf(scale**2) ** -1 - 1 + mpmath.log(scale**2)) / 2), rel=1e-7
    )


def test_the_excess_of_log_gamma_is_right_to_the_last_digits() -> None:
    rng = np.random.default_rng(1)
    k = 10 ** rng.uniform(-6, 9, 300)
    close = k * (1.0 + rng.choice([-1.0, 1.0], 300) * 10 ** rng.uniform(-12, -0.01, 300))
    m = np.where(rng.random(300) < 0.7, close, 10 ** rng.uniform(-6, 9, 300))
    with mpmath.workdps(60):
        want = [
            float(
                mpmath.loggamma(b) - mpmath.loggamma(a) - (mpmath.mpf(b) - mpmath.mpf(a)) * mpmath.psi(0, a)
            )
            for a, b in zip(k.tolist(), m.tolist(), strict=True)
        ]
    np.testing.assert_allclose(gammaln_excess(numpy_namespace, k, m), want, rtol=2e-14)


@pytest.mark.parametrize("delta", [1e3, 1e6, 1e9, 1e12])
def test_the_noncentral_density_holds_in_float32_at_small_volatility(delta: float) -> None:
    """Three terms of the size of delta used to cancel: nats were lost.  What is left is the rounding of the inputs."""
    nc, scale = np.float32(0.7 * delta), np.float32(1.0 / delta)
    sd = float(scale) * np.sqrt(2.0 * (delta + 2.0 * float(nc)))
    mean = float(scale) * (delta + float(nc))
    x = np.asarray([mean + k * sd for k in (-2.0, 0.0, 0.5, 1.5)], dtype=np.float32)
    exact = NoncentralChi2(delta, float(nc), float(scale))
    got = NoncentralChi2(delta, np.asarray(nc), np.asarray(scale)).log_prob(x)
    want = exact.log_prob(x.astype(np.float64))
    inputs = np.abs(exact.score(x.astype(np.float64)) * x) + 2.0
    assert np.all(np.abs(got - want) <= 4.0 * np.finfo(np.float32).eps * (inputs + np.abs(want)))
    tight = NoncentralChi2(
        delta, 0.7 * delta, 1.0 / delta
    )  # the normal limit, at delta where float64 lost digits
    normal = Normal(tight.mean, np.sqrt(tight.variance))
    at = tight.mean + np.asarray([-1.0, 0.0, 1.0]) * np.sqrt(tight.variance)
    assert np.max(np.abs(tight.log_prob(at) - normal.log_prob(at))) <= 2.0 / np.sqrt(delta) + 1e-9


# -- weights that are 0 -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_divergences_of_discrete_laws_on_the_boundary(dtype: str) -> None:
    """0 log 0 = 0; a log(a / b) has the derivative -inf in a = 0, and 0 in b where a = 0; a > 0 = b is infinite."""

    def slopes(first: list[float], second: list[float]) -> tuple[float, list[float], list[float]]:
        a, b = (torch.tensor(w, dtype=getattr(torch, dtype), requires_grad=True) for w in (first, second))
        atoms = torch.arange(len(first), dtype=a.dtype)
        value = kl(Discrete(atoms, a), Discrete(atoms, b))
        value.backward()
        return float(value.detach()), a.grad.tolist(), b.grad.tolist()

    eps = float(np.finfo(dtype).eps)
    value, by_first, by_second = slopes([0.0, 1.0], [0.25, 0.75])
    assert value == pytest.approx(math.log(4.0 / 3.0), rel=4 * eps)
    assert by_first[0] == -math.inf and by_second[0] == 0.0
    assert by_first[1] == pytest.approx(1.0 + math.log(4.0 / 3.0), rel=4 * eps)
    assert by_second[1] == pytest.approx(-4.0 / 3.0, rel=4 * eps)
    value, by_first, by_second = slopes([0.5, 0.5], [0.0, 1.0])  # support mismatch
    assert value == math.inf
    assert by_first[0] == math.inf and by_second[0] == -math.inf
    assert by_first[1] == pytest.approx(1.0 + math.log(0.5), rel=8 * eps)
    value, by_first, by_second = slopes([0.0, 1.0], [0.0, 1.0])  # both leave an atom out
    assert (value, by_second[0]) == (0.0, 0.0)
    assert by_first[0] == math.inf  # any weight there is an infinite divergence
    # The one-sided differences of the value go where the derivatives point.
    atoms = np.asarray([0.0, 1.0])
    for small in (1e-4, 1e-8):
        moved = float(kl(Discrete(atoms, [small, 1.0 - small]), Discrete(atoms, [0.25, 0.75])))
        assert (moved - math.log(4.0 / 3.0)) / small == pytest.approx(
            math.log(small / 0.25) - 1.0 - math.log(4.0 / 3.0), rel=1e-3
        )
