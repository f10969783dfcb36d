"""Particles, losses and the last step of hard constraints: torch, stacks, and the errors that users read."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftproof import UnmetHypothesis
from driftproof.numerics import doob
from driftproof.theory.doob import Box, Slab, guidance, half_space, log_h
from driftproof.theory.laws import Gaussian
from driftproof.theory.processes import VP

torch = pytest.importorskip("torch")

DATA = Gaussian([0.4], [[0.81]])
EVENT = half_space([1.0], 2.0)
PROCESS = VP(0.1, 8.0, 1.0)


@given(st.integers(1, 40), st.integers(1, 3), st.integers(0, 10))
def test_resampling_keeps_systems_apart(count: int, systems: int, seed: int) -> None:
    logs = np.random.default_rng(seed).normal(size=(systems, count))
    found = doob.systematic_ancestors(logs, seed)
    assert found.shape == logs.shape
    assert (found >= 0).all() and (found < count).all()
    weights = np.exp(logs) / np.exp(logs).sum(axis=1, keepdims=True)
    counts = np.stack([np.sum(found == i, axis=1) for i in range(count)], axis=1)
    assert (np.abs(counts - count * weights) < 1.0 + 1e-9).all()


def test_particles_of_torch_and_numpy_are_the_same() -> None:
    """A guided run in both namespaces from the same numbers: states (systems, N, d)."""
    times = doob.variance_clock_grid(PROCESS, 0.9, 12, 1e-3)

    def run(array):
        data, event = Gaussian(array([0.4]), array([[0.81]])), half_space(array([1.0]), 1.0)

        def move(k, x, noise):
            t, s = times[k], times[k + 1]
            a = float(PROCESS.diffusion(0.0, t))
            score = PROCESS.marginal(data, array(t)).score(x)
            return x + (t - s) * a * (0.5 * x + score) + math.sqrt(a * (t - s)) * noise.normal(x), 0.0

        def twist(k, x):
            if k == 12:
                return _log(event.contains(x), x)
            return log_h(PROCESS, data, event, x, array(times[k]))

        start = array(np.random.default_rng(0).standard_normal((2, 30, 1)))
        return doob.twisted_particles(start, move, twist, 12, 5)

    ours = run(lambda v: np.asarray(v, dtype=np.float64))
    theirs = run(lambda v: torch.as_tensor(np.asarray(v, dtype=np.float64)))
    assert ours.states.shape == (2, 30, 1) and ours.segments.shape == (13, 2)
    np.testing.assert_allclose(theirs.log_evidence.numpy(), ours.log_evidence, rtol=1e-9)
    np.testing.assert_allclose(theirs.states.numpy(), ours.states, rtol=1e-8, atol=1e-8)
    kept = ours.states[ours.log_weights > -math.inf]
    assert (kept >= 1.0).all()


def _log(inside, x):
    if isinstance(x, np.ndarray):
        return np.where(inside, 0.0, -math.inf)
    return torch.where(inside, 0.0, -math.inf).to(x.dtype)


def test_a_run_that_is_lost_says_so() -> None:
    run = doob.multilevel_splitting(np.zeros((2, 5)), lambda x: x, [1.0, 2.0], lambda x, noise: x, 0)
    assert (run.log_evidence == -math.inf).all()
    assert (run.sizes == 0.0).all()
    assert (run.mean(run.states) == 0.0).all()


def test_losses_have_gradients_where_events_are_rare() -> None:
    """In the logarithm of h: the likelihood pulls a forecast of 1e-30 up, the squared loss does not."""
    log_h_ = torch.tensor([-69.0], dtype=torch.float64, requires_grad=True)
    (pull,) = torch.autograd.grad(
        doob.cross_entropy_loss(log_h_, torch.ones(1, dtype=torch.float64)).sum(), log_h_
    )
    assert float(pull) == pytest.approx(-1.0, abs=1e-12)
    (none,) = torch.autograd.grad(
        doob.martingale_loss(log_h_, torch.ones(1, dtype=torch.float64)).sum(), log_h_
    )
    assert abs(float(none)) < 1e-29


def test_the_last_step_in_single_precision() -> None:
    cov = np.asarray([[1.0, 0.4], [0.4, 0.5]], dtype=np.float32)
    mean = np.asarray(100.0 * np.random.default_rng(1).standard_normal((500, 2)), dtype=np.float32)
    event = Slab(np.asarray([1.0, -2.0], dtype=np.float32), 3.0, 3.01)
    drawn = doob.finish(event, mean, cov, 3)
    assert drawn.dtype == np.float32
    assert event.contains(drawn).all()


def test_the_guided_process_with_a_last_step_has_no_violation() -> None:
    """Forty guided steps and one draw: every point in the event, with the mean of the truncated law."""
    rng = np.random.default_rng(2)
    times = doob.variance_clock_grid(PROCESS, 0.9, 40, 0.05)
    alpha, sigma = float(PROCESS.alpha(1.0)), float(PROCESS.sigma(1.0))
    x = alpha * 0.4 + math.sqrt(alpha**2 * 0.81 + sigma**2) * rng.standard_normal((4000, 1))
    for t, s in itertools.pairwise(times):
        a = float(PROCESS.diffusion(0.0, t))
        score = PROCESS.marginal(DATA, t).score(x) + guidance(PROCESS, DATA, EVENT, x, t)
        x = x + (t - s) * a * (0.5 * x + score) + math.sqrt(a * (t - s)) * rng.standard_normal(x.shape)
    t = times[-1]
    alpha, sigma = float(PROCESS.alpha(t)), float(PROCESS.sigma(t))
    v = alpha**2 * 0.81 + sigma**2
    end = doob.finish(EVENT, 0.4 + alpha * 0.81 / v * (x - alpha * 0.4), [[0.81 * sigma**2 / v]], 4)
    assert EVENT.contains(end).all()
    z = (2.0 - 0.4) / 0.9
    exact = 0.4 + 0.9 * math.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi) / (
        0.5 * math.erfc(z / math.sqrt(2.0))
    )
    # The spread is 0.28, five deviations of the mean of 4,000 draws 0.022; the steps and the start cost 0.03.
    assert abs(float(end.mean()) - exact) < 0.06


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: doob.guided_data(0.0, 1.0, 0.0, 1.0), "alpha_t > 0"),
        (lambda: doob.guided_state(0.0, 1.0, 0.6, 0.8, 0.5, 0.9), "SNR_s >= SNR_t"),
        (lambda: doob.guided_mean(0.0, 1.0, -1.0), "std >= 0"),
        (lambda: doob.martingale_loss(0.1, 1.0), "log_h in [-inf, 0]"),
        (lambda: doob.cross_entropy_loss(-1.0, 1.5), "hit in [0, 1]"),
        (lambda: doob.covariation_target(0.1, [0.1], 0.0), "clock > 0"),
        (lambda: doob.covariation_noise(0), "d >= 1"),
        (lambda: doob.guidance_target(0.0, 0.0, 0.0, 1.0, 0.0), "sigma > 0"),
        (lambda: doob.truncated_normal(1.0, 0.0, 0), "low < high"),
        (lambda: doob.finish(EVENT.complement().complement(), [[0.0, 0.0]], [[1.0]], 0), "mean (..., 1)"),
        (lambda: doob.finish(Box([0.0], [1.0]), [0.0], [[0.0]], 0), "a density"),
        (lambda: doob.variance_clock_grid(VP(), 1.0, 3, 2.0), "0 < last"),
        (lambda: doob.variance_clock_grid(VP(), 1.0, 0, 0.1), "steps is an integer"),
        (
            lambda: doob.twisted_particles(np.zeros(3), lambda k, x, n: (x, 0.0), lambda k, x: x, 0, 0),
            "steps >= 1",
        ),
        (
            lambda: doob.twisted_particles(np.zeros(3), lambda k, x, n: (x, 0.0), lambda k, x: x[:2], 1, 0),
            "one number for each particle",
        ),
        (
            lambda: doob.multilevel_splitting(np.zeros(3), lambda x: x, [1.0, 0.0], lambda x, n: x, 0),
            "levels increase",
        ),
        (
            lambda: doob.collect(PROCESS, lambda x, t: -x, EVENT, [1.0, 0.5], np.zeros((2, 1)), 0, eta=0.0),
            "eta > 0",
        ),
    ],
)
def test_errors_name_the_hypothesis(call, says: str) -> None:
    with pytest.raises(UnmetHypothesis) as error:
        call()
    assert says in str(error.value)
