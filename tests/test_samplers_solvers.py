"""Solvers of the reverse family: relations between them, their starts and ends, densities and bad input."""

import array_api_compat.numpy as xp
import numpy as np
import pytest
import torch

from driftproof import UnmetHypothesis
from driftproof.numerics.samplers import (
    METHODS,
    Method,
    data_and_noise,
    ddim_moments,
    ddim_step,
    deis_2,
    deis_3,
    dpm_solver_1,
    dpm_solver_2,
    dpm_solver_3,
    dpm_solver_pp_2m,
    dpm_solver_pp_2s,
    euler_maruyama_moments,
    euler_maruyama_step,
    flow_sde_moments,
    flow_sde_step,
    gddim_moments,
    gddim_step,
    predicted_moments,
    sample,
    sample_trajectory,
    sde_dpm_solver_pp_2m_moments,
    step_log_prob,
    time_of_ratio,
    window,
)
from driftproof.theory.laws import Normal
from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, Flow

GAUSSIAN = (VP(0.1, 8.0), VE(0.3, 4.0), Flow())
each_process = pytest.mark.parametrize("process", GAUSSIAN, ids=["VP", "VE", "Flow"])
DATA = Normal(0.8, 0.5)
X = np.asarray([0.3, -1.2, 2.0])
SPECIAL = ("flow_sde", "log_euler", "truncated_euler", "noncentral", "matched_bridge", "bridge")
GAUSSIAN_ROWS = [name for name in METHODS if name not in SPECIAL]
DETERMINISTIC = [name for name, row in METHODS.items() if row.eta == 0.0]


def score(process):
    def function(x, t):
        alpha, sigma = process.alpha_sigma(xp, xp.asarray(float(t)))
        alpha, sigma = float(alpha), float(sigma)
        return -(x - alpha * 0.8) / ((alpha * 0.5) ** 2 + sigma**2)

    return function


def levels(process, t, s):
    return (
        *(float(v) for v in process.alpha_sigma(xp, xp.asarray(t))),
        *process.alpha_sigma(xp, xp.asarray(s)),
    )


# -- relations ------------------------------------------------------------------------------------------


@each_process
def test_times_and_noise_ratios_are_inverse(process):
    t = np.asarray([0.0, 1e-6, 0.01, 0.4, 0.9])
    assert time_of_ratio(process, process.sigma(t) / process.alpha(t)) == pytest.approx(t, rel=1e-12)
    backwards = VP(8.0, 0.1)  # a rate that falls
    assert time_of_ratio(backwards, backwards.sigma(t) / backwards.alpha(t)) == pytest.approx(t, rel=1e-10)


@each_process
def test_order_one_is_ddim(process):
    for s in (0.3, 0.0):
        got = dpm_solver_1(process, X, 0.7, s, 0.4 * X)
        assert got == pytest.approx(ddim_step(process, X, 0.7, s, 0.4 * X), rel=1e-13)


@each_process
@pytest.mark.parametrize("method", [dpm_solver_2, dpm_solver_3])
def test_solvers_in_the_noise_are_exact_for_a_constant_noise(process, method):
    got = method(process, X, 0.7, 0.2, lambda x, t: 0.0 * x + 0.6)
    assert got == pytest.approx(ddim_step(process, X, 0.7, 0.2, 0.0 * X + 0.6), rel=1e-12)


@each_process
def test_solvers_in_the_data_are_exact_for_a_constant_prediction(process):
    data = 0.0 * X + 0.9
    eps = (X - float(process.alpha(0.7)) * data) / float(process.sigma(0.7))
    for s in (0.2, 0.0):
        got = dpm_solver_pp_2m(process, X, 0.7, s, data, 0.8, data)
        assert got == pytest.approx(ddim_step(process, X, 0.7, s, eps), rel=1e-12)
        for eta in (0.0, 0.6, 2.0):
            multistep = sde_dpm_solver_pp_2m_moments(process, X, 0.7, s, data, 0.8, data, eta)
            for left, right in zip(
                multistep, gddim_moments(X, eps, *levels(process, 0.7, s), eta), strict=True
            ):
                assert left == pytest.approx(right, rel=1e-12)
    got = dpm_solver_pp_2s(process, X, 0.7, 0.2, lambda x, t: 0.0 * x + 0.9)
    assert got == pytest.approx(ddim_step(process, X, 0.7, 0.2, eps), rel=1e-12)


@each_process
def test_deis_integrates_polynomials_in_the_noise_ratio(process):
    ratio = lambda t: float(process.sigma(t) / process.alpha(t))
    for s in (0.2, 0.0):
        for power, method in ((1, deis_2), (2, deis_3)):
            history = [(t, 0.0 * X + ratio(t) ** power) for t in (0.7, 0.75, 0.85)][: power + 1]
            flat = [part for time, value in history[1:] for part in (time, value)]
            got = method(process, X, 0.7, s, history[0][1], *flat)
            gain = (ratio(s) ** (power + 1) - ratio(0.7) ** (power + 1)) / (power + 1)
            want = float(process.alpha(s)) * (X / float(process.alpha(0.7)) + gain)
            assert got == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("a", [0.0, 0.7, 2.0])
def test_the_step_of_flow_grpo_is_euler_maruyama_with_eta_a_over_root_two(a):
    t, s, v, z = 0.6, 0.45, np.asarray([0.4, -1.0, 0.2]), np.asarray([1.0, 0.0, -0.5])
    score = -(X + (1 - t) * v) / t
    euler = euler_maruyama_step(Flow(), X, t, s, score, a / 2**0.5, z)
    assert flow_sde_step(X, v, t, s, a, z) == pytest.approx(euler, rel=1e-12)


def test_moments_and_steps_agree():
    z = np.asarray([1.0, -0.3, 0.2])
    for process in GAUSSIAN:
        for eta in (0.0, 0.5, 2.0):
            mean, std = gddim_moments(X, 0.4 * X, *levels(process, 0.7, 0.2), eta)
            assert gddim_step(process, X, 0.7, 0.2, 0.4 * X, eta, z) == pytest.approx(
                mean + std * z, rel=1e-13
            )
    mean, std = euler_maruyama_moments(CIR(1.0, 0.8, 1.0), X**2, 0.7, 0.2, 0.1 * X, 0.5)
    step = euler_maruyama_step(CIR(1.0, 0.8, 1.0), X**2, 0.7, 0.2, 0.1 * X, 0.5, z)
    assert step == pytest.approx(mean + std * z, rel=1e-13)


def test_ddim_and_gddim_agree_at_zero_and_one_and_ddim_ends_above():
    for process in GAUSSIAN:
        given = (X, 0.4 * X, *levels(process, 0.7, 0.2))
        for eta in (0.0, 1.0):
            for left, right in zip(ddim_moments(*given, eta), gddim_moments(*given, eta), strict=True):
                assert left == pytest.approx(right, rel=1e-12)
        assert float(ddim_moments(*given, 0.5)[1]) < float(gddim_moments(*given, 0.5)[1])
        with pytest.raises(UnmetHypothesis, match="eta\\^2 <="):
            ddim_moments(*given, 3.0)
        # The last step has no noise to spend, whatever eta.
        assert float(ddim_moments(X, X, *levels(process, 0.7, 0.0), 3.0)[1]) == 0.0


def test_the_log_density_is_the_sum_over_coordinates():
    x, mean, std = (np.asarray(np.random.default_rng(k).normal(size=(4, 2, 3))) for k in (0, 1, 2))
    law = torch.distributions.Normal(torch.as_tensor(mean), torch.as_tensor(np.abs(std)))
    want = law.log_prob(torch.as_tensor(x)).sum(dim=(1, 2)).numpy()
    assert step_log_prob(x, mean, np.abs(std)) == pytest.approx(want, rel=1e-13)
    assert step_log_prob(x, mean, 0.5).shape == (4,)


def test_one_side_of_pure_noise():
    """At alpha = 0 a velocity still tells the data point; all noise is fresh for eta > 0."""
    data, eps = data_and_noise(X, 0.4 * X, 0.0, 1.0, "flow_prediction")
    assert eps == pytest.approx(X) and data == pytest.approx(0.6 * X)
    mean, std = predicted_moments(data, eps, 0.0, 1.0, 0.25, 0.75, 0.5)
    assert mean == pytest.approx(0.25 * data) and float(std) == 0.75
    kept, none = predicted_moments(data, eps, 0.0, 1.0, 0.25, 0.75, 0.0)
    assert kept == pytest.approx(0.25 * data + 0.75 * eps) and float(none) == 0.0


# -- the loop -------------------------------------------------------------------------------------------


# Order and leading constant of the relative error, in steps of lambda (REWARD-GAP-ORDER-2 and -3).
LEADING = {
    "ddim": (1, 0.2257),
    "dpm_solver_1": (1, 0.2257),
    "dpm_solver_2": (2, 0.0565),
    "dpm_solver_3": (3, 0.00144),
    "dpm_solver_pp_2s": (2, 0.0565),
    "dpm_solver_pp_2m": (2, 0.0345),
    "deis_2": (2, 0.3041),
    "deis_3": (3, 0.5329),
    "heun": (2, 0.147),
}


@each_process
@pytest.mark.parametrize("method", DETERMINISTIC)
def test_solvers_follow_the_probability_flow(process, method):
    """On Gaussian data the flow keeps the standardised state; every solver ends within its error."""
    ratios = np.geomspace(2.0, 0.1, 65)
    times = time_of_ratio(process, ratios).tolist()
    start, end = process.marginal(DATA, times[0]), process.marginal(DATA, times[-1])
    z = np.asarray([-2.0, 0.1, 1.5])
    x = sample(
        process, score(process), times, 0.0, 0, method, start=float(start.mean) + z * float(start.scale)
    )
    error = np.abs((x - float(end.mean)) / float(end.scale) - z).max()
    order, constant = LEADING[method]
    assert error < 1.2 * 2.0 * constant * (np.log(20.0) / 64) ** order


@pytest.mark.parametrize("kind", ["score", "epsilon", "sample", "v_prediction", "flow_prediction"])
def test_kinds_of_network_give_the_same_run(kind):
    process, f = Flow(), score(Flow())

    def network(x, t):
        t = float(t)
        eps = -t * f(x, t)
        data = (x - t * eps) / (1 - t)
        return {
            "score": f(x, t),
            "epsilon": eps,
            "sample": data,
            "v_prediction": (1 - t) * eps - t * data,
            "flow_prediction": eps - data,
        }[kind]

    for method in (*GAUSSIAN_ROWS, "flow_sde"):
        eta = 0.0 if METHODS[method].eta == 0.0 else 0.5
        times = [0.8, 0.6, 0.4, 0.1]
        got = sample(process, network, times, eta, 3, method, start=X, kind=kind)
        assert got == pytest.approx(sample(process, f, times, eta, 3, method, start=X), rel=1e-9)


@pytest.mark.parametrize("method", [*GAUSSIAN_ROWS, "flow_sde"])
def test_trajectories_are_the_runs(method):
    process, f = Flow(), score(Flow())
    eta = 0.0 if METHODS[method].eta == 0.0 else (0.0, 0.6, 0.6)
    seen = []
    times = [0.8, 0.6, 0.4, 0.0 if METHODS[method].reaches_zero else 0.1]
    x = sample(process, f, times, eta, 5, method, start=X, callback=seen.append)
    path = sample_trajectory(process, f, times, eta, 5, method, start=X)
    assert (path.states[-1] == x).all() and (path.states[0] == X).all()
    assert all((step["x"] == path.states[i + 1]).all() for i, step in enumerate(seen))
    assert path.noisy == {0.0: ()}.get(eta, (1, 2) if method in ("euler_maruyama", "flow_sde") else (1,))
    with pytest.raises(UnmetHypothesis, match="has noise"):
        path.log_prob(0)
    if path.noisy:
        z = (path.states[2] - path.means[1]) / path.stds[1]
        assert path.log_prob(1) == pytest.approx(-0.5 * z**2 - np.log(path.stds[1]) - 0.5 * np.log(2 * np.pi))


def test_a_method_of_ones_own():
    still = Method("epsilon", lambda xp, p, x, t, s, *_: (x, xp.zeros_like(s)), reaches_zero=True)
    assert (sample(VP(), score(VP()), [1.0, 0.5, 0.0], 0.0, 0, still, start=X) == X).all()


def test_trajectories_on_torch():
    start = torch.ones(2, 3, dtype=torch.float64)
    path = sample_trajectory(Flow(), lambda x, t: -x, [0.9, 0.5, 0.2], 0.7, 1, "flow_sde", start=start)
    ours = sample_trajectory(
        Flow(), lambda x, t: -x, [0.9, 0.5, 0.2], 0.7, 1, "flow_sde", start=np.ones((2, 3))
    )
    assert path.states.numpy() == pytest.approx(ours.states, rel=1e-12)
    assert path.log_probs().numpy() == pytest.approx(ours.log_probs(), rel=1e-12)


# -- bad input ------------------------------------------------------------------------------------------

GRID = [0.8, 0.5, 0.2]
LEVELS = (0.5, 0.5, 0.75, 0.25)
zero = lambda x, t: 0.0 * x


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: gddim_moments(X, X, 0.0, 1.0, 0.5, 0.5, 1.0), "alpha_t > 0"),
        (lambda: gddim_moments(X, X, *LEVELS, -0.1), "eta >= 0"),
        (lambda: gddim_moments(X, X, 0.75, 0.25, 0.5, 0.5, 1.0), "SNR_s >= SNR_t"),
        (lambda: gddim_moments(np.ones(0), np.ones(0), *LEVELS, 1.0), "empty"),
        (lambda: ddim_moments(X, X, *LEVELS, 1.2), "1 / \\(1 - SNR_t / SNR_s\\)"),
        (lambda: predicted_moments(X, X, -0.1, 1.0, 0.5, 0.5, 1.0), "alpha_t >= 0"),
        (lambda: flow_sde_moments(X, X, 0.5, 0.5, 0.7), "s < t"),
        (lambda: flow_sde_moments(X, X, 1.5, 0.5, 0.7), "t in"),
        (lambda: flow_sde_moments(X, X, 0.5, 0.2, -0.7), "a >= 0"),
        (lambda: flow_sde_step(X, X, 0.5, 0.2, -0.7, X), "eta >= 0"),
        (lambda: step_log_prob(X, X, 0.0), "std > 0"),
        (lambda: data_and_noise(X, X, 0.0, 1.0, "epsilon"), "alpha > 0 for kind epsilon"),
        (lambda: data_and_noise(X, X, 1.0, 0.0, "sample"), "sigma > 0 for kind sample"),
        (lambda: data_and_noise(X, X, 0.0, 0.0, "v_prediction"), "alpha \\+ sigma > 0"),
        (lambda: data_and_noise(X, X, 0.5, 0.5, "count"), "kind is one of epsilon"),
        (lambda: time_of_ratio(GBM(0.1, 0.3), 1.0), "VP, VE or Flow"),
        (lambda: dpm_solver_1(GBM(0.1, 0.3), X, 0.5, 0.2, X), "the process is Gaussian"),
        (lambda: dpm_solver_2(Flow(), X, 0.5, 0.0, zero), "s > 0"),
        (lambda: dpm_solver_3(Flow(), X, 1.0, 0.5, zero), "alpha\\(t\\) > 0"),
        (lambda: dpm_solver_pp_2m(Flow(), X, 0.5, 0.2, X, 0.4, X), "t < t_old"),
        (lambda: dpm_solver_pp_2m(Flow(), X, 0.5, 0.2, X, 1.0, X), "alpha\\(t\\) > 0"),
        (lambda: sde_dpm_solver_pp_2m_moments(Flow(), X, 0.5, 0.2, X, 0.8, X, -1.0), "eta >= 0"),
        (lambda: deis_2(Flow(), X, 0.5, 0.2, X, 0.5, X), "t < t_old"),
        (lambda: deis_3(Flow(), X, 0.5, 0.2, X, 0.6, X, 0.6, X), "t_old < t_older"),
        (lambda: euler_maruyama_moments(VP(), X, 0.5, 0.2, X, -1.0), "eta >= 0"),
        (lambda: window(5, 5, 1, 0.7), "0 <= start < n_steps"),
        (lambda: window(5, 0, 0, 0.7), "length >= 1"),
        (lambda: window(5, 0, 1, -0.7), "eta >= 0"),
        (lambda: sample(VP(), zero, GRID, [0.5], 0, "gddim", start=X), "eta has 2 values"),
        (lambda: sample(VP(), zero, GRID, [0.5, -0.5], 0, "gddim", start=X), "eta >= 0"),
        (lambda: sample(VP(), zero, GRID, np.asarray([0.5]), 0, "gddim", start=X), "eta has 2 values"),
        (lambda: sample(VP(), zero, GRID, [0.0, 0.5], 0, "deis_2", start=X), "eta = 0 for method deis_2"),
        (lambda: sample(VP(), zero, [0.8, 0.0], 2.0, 0, "dpm_solver_2", start=X), "eta = 0|ends > 0"),
        (lambda: sample(VP(), zero, GRID, 2.0, 0, "song_ddim", start=X), "1 / \\(1 - SNR_t / SNR_s\\)"),
        (lambda: sample(VP(), zero, GRID, 1.0, 0, "flow_sde", start=X), "the process is Flow"),
        (
            lambda: sample(BESQ(3.0), zero, GRID, 1.0, 0, "gddim", start=X**2, kind="sample"),
            "parametrization of BESQ is one of score",
        ),
        (
            lambda: sample_trajectory(BESQ(3.0), zero, GRID, 1.0, 0, "noncentral", start=X**2),
            "the steps of the method are Gaussian",
        ),
        (
            lambda: sample_trajectory(GBM(0.1, 0.3), zero, GRID, 0.0, 0, "gddim", start=X**2),
            "the steps of the method are Gaussian",
        ),
        (
            lambda: sample_trajectory(VP(), zero, GRID, 0.0, 0, "gddim", start=X).log_probs(),
            "a step has noise",
        ),
        (
            lambda: sample_trajectory(VP(), zero, GRID, 1.0, 0, "gddim", start=X).log_prob(99),
            "0 <= i <",
        ),
        (lambda: step_log_prob(np.ones((2, 1)), np.ones((2, 3)), 1.0), "mean has the shape of x_next"),
        (
            lambda: data_and_noise(np.ones((2, 2)), np.ones((2, 1)), 0.5, 0.5, "epsilon"),
            "output has the shape",
        ),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(UnmetHypothesis, match=words):
        call()
