"""Samplers on data for which every step is affine: feeding it 0, 1 and one-hot noise shows its law exactly."""

from itertools import pairwise

import array_api_compat.numpy
import array_api_compat.torch as torch_namespace
import array_api_strict
import numpy as np
import pytest
import torch

from driftproof import UnmetHypothesis
from driftproof.numerics.montecarlo import mean_test, variance_test
from driftproof.numerics.samplers import (
    METHODS,
    ddim_step,
    euler_maruyama_step,
    euler_paths,
    gddim_step,
    heun_step,
    sample,
)
from driftproof.numerics.tweedie import log_euler_step
from driftproof.theory.laws import Gamma, Normal
from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, Flow

ALPHA = 1e-9
ETAS = (0.0, 0.3, 1.0, 1.5)
# An order takes a second each: the default run has the ends of the range.
ORDERS = (0.0, pytest.param(0.3, marks=pytest.mark.slow), pytest.param(1.0, marks=pytest.mark.slow), 1.5)
GAUSSIAN = [(VP(0.1, 8.0), 1.0, 1e-3), (VE(0.3, 4.0), 1.0, 1e-3), (Flow(), 0.9, 0.01)]
each_gaussian = pytest.mark.parametrize(("process", "start", "end"), GAUSSIAN, ids=["VP", "VE", "Flow"])
DATA = Normal(0.8, 0.5)


def propagate(step, grid, mean, variance):
    """Mean and variance at the end of ``grid``, for a step that is affine in the state and the noise."""
    x, noise = np.asarray([0.0, 1.0, 0.0]), np.asarray([0.0, 0.0, 1.0])
    for t, s in pairwise(grid):
        out = step(x, t, s, noise)
        slope, spread = out[1] - out[0], out[2] - out[0]
        mean, variance = out[0] + slope * mean, slope**2 * variance + spread**2
    return np.asarray([mean, variance])


def errors(process, step, start, end, counts, spacing=np.linspace):
    law, truth = process.marginal(DATA, start), process.marginal(DATA, end)
    exact = np.asarray([float(truth.mean), float(truth.variance)])
    runs = [spacing(start, end, n + 1) for n in counts]
    return np.asarray([propagate(step, g, float(law.mean), float(law.variance)) - exact for g in runs])


def of_order(order, table):
    """The last local order of every column; a column that is exact has only rounding, and no order."""
    for column in np.abs(np.asarray(table)).T:
        if column.max() > 1e-11:
            assert np.log2(column[-2] / column[-1]) == pytest.approx(order, abs=0.1), column


# -- DDIM for every eta ---------------------------------------------------------------------------------


@each_gaussian
@pytest.mark.parametrize("eta", [*ETAS, 6.0])
def test_one_step_of_gddim_is_exact_for_data_at_one_point(process, start, end, eta):
    x0 = 0.8

    def step(x, t, s, noise):
        eps = (x - float(process.alpha(t)) * x0) / float(process.sigma(t))
        return gddim_step(process, x, t, s, eps, eta, noise)

    alpha, sigma = float(process.alpha(start)), float(process.sigma(start))
    got = propagate(step, [start, 0.4, end], alpha * x0, sigma**2)
    assert got == pytest.approx([float(process.alpha(end)) * x0, float(process.sigma(end)) ** 2], rel=1e-12)


@each_gaussian
def test_eta_one_is_the_bridge_from_the_predicted_data_point(process, start, end):
    """An independent derivation: the ancestral step is the exact bridge between x_0 and x_t."""
    x, eps, t, s = 1.3, -0.4, 0.7, 0.2
    x0 = (x - float(process.sigma(t)) * eps) / float(process.alpha(t))
    bridge = process.bridge(x0, x, s, t)
    mean = float(gddim_step(process, x, t, s, eps, 1.0, 0.0))
    assert mean == pytest.approx(float(bridge.mean), rel=1e-12)
    spread = float(gddim_step(process, x, t, s, eps, 1.0, 1.0)) - mean
    assert spread**2 == pytest.approx(float(bridge.variance), rel=1e-11)


@pytest.mark.slow(ci=True)
@each_gaussian
@pytest.mark.parametrize("eta", ORDERS)
def test_gddim_is_of_order_one_on_gaussian_data(process, start, end, eta):
    def step(x, t, s, noise):
        eps = -float(process.sigma(t)) * process.marginal(DATA, t).score(x)
        return gddim_step(process, x, t, s, eps, eta, noise)

    table = errors(process, step, start, 0.05, (512, 1024))
    of_order(1.0, table)
    assert np.abs(table[-1]).max() < 0.01


def test_gddim_ends_at_the_predicted_data_point():
    for process in (VP(), VE(), Flow()):
        for eta in ETAS:
            x = float(gddim_step(process, 1.3, 0.5, 0.0, 0.4, eta, 1.0))
            x0 = (1.3 - float(process.sigma(0.5)) * 0.4) / float(process.alpha(0.5))
            assert x == pytest.approx(x0, rel=1e-13)
        assert float(ddim_step(process, 1.3, 0.5, 0.2, 0.4)) == float(
            gddim_step(process, 1.3, 0.5, 0.2, 0.4, 0.0, 9.0)
        )


def test_gbm_is_a_variance_exploding_process_in_the_logarithm():
    process, x, eps = GBM(0.3, 0.9), 1.7, -0.4
    t, s = 0.8, 0.3
    kept = (s / t) ** (0.5 * 1.5**2)
    log = np.log(x) - (0.3 - 0.405) * (t - s) - 0.9 * np.sqrt(t) * eps
    log += 0.9 * np.sqrt(s) * (kept * eps + np.sqrt(1 - kept**2) * 0.6)
    assert np.log(float(gddim_step(process, x, t, s, eps, 1.5, 0.6))) == pytest.approx(log, rel=1e-13)
    # For small steps it is the Euler step of the logarithm, whose score is -eps / sqrt(v).
    near = t - 1e-6
    euler = float(log_euler_step(process, x, t, near, -eps / (0.9 * np.sqrt(t)), 1.5, 0.6))
    assert float(gddim_step(process, x, t, near, eps, 1.5, 0.6)) == pytest.approx(euler, rel=1e-8)


# -- Euler and Heun -------------------------------------------------------------------------------------


@pytest.mark.slow(ci=True)
@each_gaussian
@pytest.mark.parametrize("eta", ORDERS)
def test_euler_maruyama_is_of_order_one(process, start, end, eta):
    def step(x, t, s, noise):
        return euler_maruyama_step(process, x, t, s, process.marginal(DATA, t).score(x), eta, noise)

    table = errors(process, step, start, 0.05, (512, 1024))
    of_order(1.0, table)


@pytest.mark.slow(ci=True)
@each_gaussian
def test_heun_is_of_order_two(process, start, end):
    def step(x, t, s, noise):
        return heun_step(process, x, t, s, lambda y, u: process.marginal(DATA, u).score(y))

    table = errors(process, step, start, 0.05, (128, 256))
    of_order(2.0, table)


def test_heun_follows_the_probability_flow_of_conjugate_data():
    """Along the flow of Gamma(delta/2, c) data the state is proportional to the scale c_t."""
    process, data = CIR(1.0, 0.8, 1.0), Gamma(1.6, 1.3)
    scale = lambda t: float(process.marginal(data, t).scale)
    ends = []
    for n in (64, 128, 256):
        x = np.asarray([0.3, 2.0])
        for t, s in pairwise(np.linspace(2.0, 0.05, n + 1)):
            x = heun_step(process, x, t, s, lambda y, u: process.marginal(data, float(u)).score(y))
        ends.append(x / (np.asarray([0.3, 2.0]) * scale(0.05) / scale(2.0)) - 1)
    of_order(2.0, ends)


# -- the loop -------------------------------------------------------------------------------------------


def normal_score(process):
    return lambda x, t: process.marginal(DATA, t).score(x)


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize(
    ("process", "method", "eta"),
    [
        (VP(0.1, 8.0), "euler_maruyama", 1.0),
        (VP(0.1, 8.0), "gddim", 0.7),
        (VE(0.3, 4.0), "ddim", 0.0),
        (VE(0.3, 4.0), "heun", 0.0),
        (Flow(), "gddim", 0.3),
    ],
)
def test_whole_runs_have_the_law_of_the_data(process, method, eta):
    """20000 draws see 0.07 standard deviations in the mean and 10 % in the variance."""
    n = 20_000
    top = 0.9 if isinstance(process, Flow) else 1.0
    start = process.marginal(DATA, top).sample((n,), 0)
    x = sample(
        process, normal_score(process), np.linspace(top, 1e-3, 401).tolist(), eta, 1, method, start=start
    )
    law = process.marginal(DATA, 1e-3)
    assert not (mean := mean_test((x - law.mean) / law.variance**0.5, 0.0, ALPHA, sd=1.0)).rejects, str(mean)
    spread = variance_test(x, float(law.variance), ALPHA)
    assert not spread.rejects, str(spread)


@pytest.mark.parametrize("method", ["noncentral", "matched_bridge", "truncated_euler"])
def test_kinds_of_network_give_the_same_run(method):
    process, data, rng = CIR(1.0, 0.8, 1.0), Gamma(1.6, 0.5), 2
    start = process.marginal(data, 2.0).sample((50,), 0)
    scale = lambda t: process.marginal(data, t).scale
    count = lambda x, t: x * (0.5 / process.rho(t) - 1 / scale(t))
    score = lambda x, t: process.nu / np.maximum(x, 1e-300) - 1 / scale(t)
    ratio = lambda x, t: 1.0 - 2 * process.rho(t) / scale(t) + 0.0 * x
    runs = [
        sample(process, f, [2.0, 1.0, 0.5], 1.0, rng, method, start=start, kind=kind)
        for f, kind in ((count, "count"), (score, "score"), (ratio, "ratio"))
    ]
    assert runs[0] == pytest.approx(runs[1], rel=1e-9)
    assert runs[0] == pytest.approx(runs[2], rel=1e-9)


WANTING = {
    "count": CIR(1.0, 0.8, 1.0),
    "posterior_draw": BESQ(3.0),
    "log_score": GBM(0.1, 0.4),
    "flow_prediction": Flow(),
}


@pytest.mark.parametrize("xp", [array_api_compat.numpy, array_api_strict], ids=["numpy", "strict"])
def test_every_method_runs_and_keeps_the_state_space(xp):
    start = xp.asarray([0.4, 1.0, 2.0], dtype=xp.float64)
    zero = lambda x, t: 0.0 * x
    for method, row in METHODS.items():
        process = BESQ(3.0) if method == "bridge" else WANTING.get(row.wants, VP())
        eta = 1.0 if row.eta is None else row.eta
        x = sample(process, zero, [1.0, 0.6, 0.3], eta, 0, method, start=start, kind=row.wants)
        assert x.shape == start.shape and x.dtype == start.dtype
        assert process.support == "finite" or bool(xp.all(x >= 0))


def test_the_loop_on_torch_with_its_generator_and_in_half_precision():
    generator = torch.Generator().manual_seed(0)
    start = torch.ones(5, 2)
    score = lambda x, t: -x
    x = sample(VP(), score, [1.0, 0.5], 1.0, generator, "euler_maruyama", start=start)
    assert x.dtype == torch.float32 and x.shape == (5, 2)
    half = sample(VP(), score, [1.0, 0.5], 1.0, 0, "gddim", start=start.to(torch.bfloat16))
    assert half.dtype == torch.bfloat16
    ours = sample(VP(), score, [1.0, 0.5, 0.2], 0.5, 3, "gddim", start=np.ones((5, 2)))
    theirs = sample(VP(), score, [1.0, 0.5, 0.2], 0.5, 3, "gddim", start=start.to(torch.float64))
    assert theirs.numpy() == pytest.approx(ours, rel=1e-12)


def test_the_callback_sees_every_step():
    seen = []
    sample(VP(), lambda x, t: -x, [1.0, 0.5, 0.0], 0.0, 0, "ddim", start=np.ones(2), callback=seen.append)
    assert [(d["i"], d["t"], d["s"]) for d in seen] == [(0, 1.0, 0.5), (1, 0.5, 0.0)]
    assert seen[-1]["x"].shape == (2,)


@pytest.mark.parametrize("step", ["gddim", "euler"])
def test_steps_compile_and_vectorise(step):
    process = VP()
    t, s = torch.asarray(0.7), torch.asarray(0.4)
    x, eps, noise = (torch.asarray([[0.3, 1.0], [2.0, -1.0]]) * k for k in (1.0, 0.4, -0.6))
    kernel = {"gddim": gddim_step.kernel, "euler": euler_maruyama_step.kernel}[step]
    call = lambda x, eps, noise: kernel(torch_namespace, process, x, t, s, eps, 0.7, noise)
    torch.compiler.reset()
    compiled = torch.compile(call, fullgraph=True, backend="eager")
    assert torch.equal(compiled(x, eps, noise), call(x, eps, noise))
    assert torch.allclose(torch.vmap(call)(x, eps, noise), call(x, eps, noise), rtol=1e-6)
    wide = [v.to(torch.float64).requires_grad_() for v in (x, eps)]
    assert torch.autograd.gradcheck(lambda x, eps: call(x, eps, noise.to(torch.float64)), wide)


# -- forward paths --------------------------------------------------------------------------------------


def test_euler_paths_have_the_moments_of_the_scheme():
    """The mean of Euler's scheme is Euler's method for the mean; 20000 paths see 0.07 deviations."""
    process, steps, n = CIR(1.0, 2.0, 0.5), 20, 20_000
    path = euler_paths(process, np.full(n, 1.0), steps, 1.0, 0)
    assert path.shape == (steps + 1, n) and (path[0] == 1.0).all()
    mean, variance = 1.0, 0.0
    for _ in range(steps):
        variance = (1 - 0.05) ** 2 * variance + 0.05 * 0.25 * mean
        mean = mean + 0.05 * (2.0 - mean)
    verdict = mean_test((path[-1] - mean) / variance**0.5, 0.0, ALPHA, sd=1.0)
    assert not verdict.rejects, str(verdict)


def test_euler_paths_are_the_same_on_both_backends():
    for process in (CIR(1.0, 0.2, 1.0), GBM(0.1, 0.5), VP()):
        ours = euler_paths(process, np.ones(50), 10, 1.0, 0)
        theirs = euler_paths(process, torch.ones(50, dtype=torch.float64), 10, 1.0, 0)
        assert theirs.numpy() == pytest.approx(ours, rel=1e-12, abs=1e-14)


ONES = np.ones(2)
score = lambda x, t: -x


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: gddim_step(VP(), 1.0, 0.5, 0.5, 0.0, 0.0, 0.0), UnmetHypothesis, "s < t"),
        (lambda: gddim_step(VP(), 1.0, 0.5, -0.1, 0.0, 0.0, 0.0), UnmetHypothesis, "s >= 0"),
        (lambda: gddim_step(VP(), 1.0, 0.5, 0.1, 0.0, -1.0, 0.0), UnmetHypothesis, "eta >= 0"),
        (lambda: gddim_step(BESQ(1.0), 1.0, 0.5, 0.1, 0.0, 0.0, 0.0), UnmetHypothesis, "Gaussian or GBM"),
        (lambda: gddim_step(Flow(), 1.0, 1.0, 0.5, 0.0, 0.0, 0.0), UnmetHypothesis, "alpha"),
        (lambda: gddim_step(GBM(0.0, 1.0), 0.0, 0.5, 0.1, 0.0, 0.0, 0.0), UnmetHypothesis, "x > 0"),
        (lambda: euler_maruyama_step(VP(), 1.0, 0.5, 0.1, 0.0, -1.0, 0.0), UnmetHypothesis, "eta >= 0"),
        (lambda: heun_step(VP(), 1.0, 0.5, 0.0, score), UnmetHypothesis, "s > 0"),
        (
            lambda: sample(VP(), score, [0.5, 1.0], 0.0, 0, "ddim", start=ONES),
            UnmetHypothesis,
            "grid decreases",
        ),
        (lambda: sample(VP(), score, [0.5], 0.0, 0, "ddim", start=ONES), UnmetHypothesis, "grid decreases"),
        (lambda: sample(VP(), score, [1.0, np.nan], 0.0, 0, "ddim", start=ONES), UnmetHypothesis, "grid"),
        (lambda: sample(VP(), score, [1.0, -0.5], 0.0, 0, "ddim", start=ONES), UnmetHypothesis, ">= 0"),
        (lambda: sample(VP(), score, [1.0, 0.0], 0.0, 0, "heun", start=ONES), UnmetHypothesis, "ends > 0"),
        (lambda: sample(VP(), score, [1.0, 0.5], 1.0, 0, "heun", start=ONES), UnmetHypothesis, "eta = 0"),
        (lambda: sample(VP(), score, [1.0, 0.5], -1.0, 0, "gddim", start=ONES), UnmetHypothesis, "eta >= 0"),
        (lambda: sample(VP(), score, [1.0, 0.5], 1.0, 0, "no", start=ONES), UnmetHypothesis, "method is one"),
        (lambda: sample(VP(), score, [1.0, 0.5], 1.0, 0, "noncentral", start=ONES), UnmetHypothesis, "VP"),
        (
            lambda: sample(BESQ(3.0), score, [1.0, 0.5], 1.0, 0, "bridge", start=ONES),
            UnmetHypothesis,
            "kind = 'posterior_draw'",
        ),
        (lambda: sample(VP(), score, [1.0, 0.5], 1.0, None, "gddim", start=ONES), TypeError, "rng"),
        (
            lambda: sample(VP(), score, [1.0, 0.5], 1.0, 0, "gddim", start=np.ones(0)),
            UnmetHypothesis,
            "empty",
        ),
        (
            lambda: sample(BESQ(1.0), score, [1.0, 0.5], 1.0, 0, "noncentral", start=-ONES),
            UnmetHypothesis,
            ">= 0",
        ),
        (lambda: sample(Flow(), score, [1.0, 0.5], 0.0, 0, "ddim", start=ONES), UnmetHypothesis, "alpha"),
        (
            lambda: sample(VP(), score, [3.0, 0.5], 0.0, 0, "ddim", start=ONES),
            UnmetHypothesis,
            "at most at T",
        ),
        (
            lambda: sample(VP(), lambda x, t: x[:1], [1.0, 0.5], 0.0, 0, "ddim", start=ONES),
            UnmetHypothesis,
            "shape of the state",
        ),
        (
            lambda: gddim_step(VP(), ONES, 0.5, 0.1, np.ones((3, 1)), 0.0, ONES),
            UnmetHypothesis,
            "eps has the shape of x",
        ),
        (
            lambda: sample(VP(), lambda x, t: np.nan * x, [1.0, 0.5], 0.0, 0, "ddim", start=ONES),
            FloatingPointError,
            "not finite",
        ),
        (lambda: euler_paths(VP(), ONES, 0, 1.0, 0), UnmetHypothesis, "n_steps >= 1"),
        (lambda: euler_paths(VP(), ONES, 5, -1.0, 0), UnmetHypothesis, "T > 0"),
        (lambda: euler_paths(CIR(1.0, 1.0, 1.0), -ONES, 5, 1.0, 0), UnmetHypothesis, "x0 >= 0"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
