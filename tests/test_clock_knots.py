"""The knots of a learned clock: what its speed is linear in, and the time between them."""

from __future__ import annotations

import numpy as np
from scipy.integrate import quad

from driftproof.numerics.art.learning import _hats, _speed, _times


def test_the_logarithm_of_the_speed_is_linear_in_its_knots_also_beyond_them() -> None:
    """The weights of the gradient are those of the speed: on both sides of a knot, on it, and outside of all."""
    knots = 1.7 * np.arange(6) / 5
    log = np.asarray([0.3, -1.0, 2.0, 0.0, -0.4, 1.1])
    psi = np.asarray([[-2.0, -0.1, 0.0, 0.05, 0.34], [0.5, 1.2, 1.7, 1.75, 9.0]])  # the spacing is 0.34
    weights = _hats(psi, knots)
    np.testing.assert_allclose(weights @ log, np.log(_speed(knots, log)(0.0, psi)), rtol=0.0, atol=1e-13)
    np.testing.assert_allclose(weights.sum(axis=-1), 1.0, rtol=1e-14)
    assert (weights >= 0.0).all()


def test_the_time_between_knots_is_the_integral_of_one_over_the_speed() -> None:
    log, width = np.asarray([0.3, -1.0, -1.0, -1.0 + 1e-7, 2.0]), np.asarray([0.5, 2.0, 0.1, 3.0])
    found = _times(log, width)
    for k in range(4):
        slope = (log[k + 1] - log[k]) / width[k]
        wanted, _ = quad(lambda u, k=k, slope=slope: np.exp(-log[k] - slope * u), 0.0, width[k], epsabs=0.0)
        assert abs(found[k] / wanted - 1.0) < 1e-12
