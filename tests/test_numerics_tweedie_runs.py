"""Whole runs of the reverse samplers on three atoms: which arrive, and which do not."""

import numpy as np
import pytest
from scipy.stats import ncx2

from driftproof.numerics.montecarlo import distribution_test
from driftproof.numerics.samplers import sample
from driftproof.theory.laws import Discrete
from driftproof.theory.processes import CIR
from driftproof.theory.tweedie import conditional_count
from driftproof.theory.tweedie.oracles import posterior_weights

ALPHA = 1e-9
ATOMS = Discrete([0.2, 1.0, 3.0], [0.3, 0.5, 0.2])


def exact_count(process, x, t):
    """E[N | X_t = x] for the data ATOMS: a finite sum."""
    p = posterior_weights(process, ATOMS, x, t)
    return np.sum(p * conditional_count(process, ATOMS.atoms, x[..., None], t), axis=-1)


def terminal(process, method, steps, n, rng, end=0.01):
    start = process.transition(ATOMS.sample((n,), rng), 5.0).sample((), rng)
    grid = np.geomspace(5.0, end, steps + 1).tolist()

    def draw(x, t):
        below = np.cumsum(posterior_weights(process, ATOMS, x, float(t)), axis=-1)
        return ATOMS.atoms[np.minimum(np.sum(rng.random((n, 1)) > below, axis=-1), 2)]

    def mean(x, t):
        return posterior_weights(process, ATOMS, x, float(t)) @ ATOMS.atoms

    def count(x, t):
        inside = np.maximum(x, 1e-12)
        return exact_count(process, inside, float(t))

    match method:
        case "posterior":
            return sample(process, draw, grid, 1.0, rng, "bridge", start=start, kind="posterior_draw")
        case "plug-in":
            return sample(process, mean, grid, 1.0, rng, "bridge", start=start, kind="posterior_draw")
    return sample(process, count, grid, 1.0, rng, method, start=start, kind="count")


def truth(process, t):
    decay, rho = float(process.decay(t)), float(process.rho(t))
    return lambda x: sum(
        w * ncx2.cdf(x / rho, process.delta, a * decay / rho)
        for a, w in zip(ATOMS.atoms, ATOMS.weights, strict=True)
    )


@pytest.mark.slow(ci=True)
def test_whole_runs_on_three_atoms():
    """2000 draws see a distance of 0.11 in distribution with probability 0.999 at level ALPHA."""
    process, n = CIR(1.0, 0.2, 1.0), 2000  # delta = 0.8
    verdict = lambda method, steps: distribution_test(
        terminal(process, method, steps, n, np.random.default_rng(0)), truth(process, 0.01), ALPHA
    )
    exact = verdict("posterior", 6)
    assert not exact.rejects, str(exact)
    for steps in (10, 40):  # the plug-in bridge is as wrong with four times the steps
        plug_in = verdict("plug-in", steps)
        assert plug_in.rejects and plug_in.effect > 0.1, str(plug_in)
    for method in ("matched_bridge", "noncentral"):
        fine = verdict(method, 60)
        assert not fine.rejects, str(fine)


@pytest.mark.slow
@pytest.mark.parametrize("theta", [0.2, 0.6, 1.8])
def test_the_table_of_samplers(theta):
    """W1 against a fresh exact sample, 25 and 100 steps; the sampling error of W1 here is 0.01."""
    process, n, end = CIR(1.0, theta, 1.0), 20_000, 1e-3
    rng = np.random.default_rng(1)
    exact = np.sort(process.transition(ATOMS.sample((n,), rng), end).sample((), rng))

    def distances(method):
        return [
            float(np.mean(np.abs(np.sort(terminal(process, method, steps, n, rng, end)) - exact)))
            for steps in (25, 100)
        ]

    table = {
        m: distances(m) for m in ("posterior", "plug-in", "matched_bridge", "noncentral", "truncated_euler")
    }
    print(process.delta, table)
    assert max(table["posterior"]) < 0.04
    assert min(table["plug-in"]) > 0.08 and table["plug-in"][1] > 0.8 * table["plug-in"][0]
    for method in ("matched_bridge", "noncentral"):
        assert table[method][0] < 0.1 and table[method][1] < 0.04
    if process.delta < 2:
        assert table["truncated_euler"][1] > 0.05
