"""Targets, weights and parametrisations: each identity against a second derivation, in every namespace."""

import functools

import array_api_compat.numpy
import array_api_compat.torch as torch_namespace
import array_api_strict
import numpy as np
import pytest
import torch
from scipy.special import gammaln

from driftproof import UnmetHypothesis
from driftproof.numerics.tweedie import (
    affine,
    convert,
    from_score,
    kl_weight,
    matching_loss,
    poisson_loss,
    square_loss,
    target,
    to_score,
)
from driftproof.theory.laws import Discrete
from driftproof.theory.laws.bessel_count import BesselCount
from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, Flow, LinearClock
from driftproof.theory.tweedie import conditional_score
from driftproof.theory.tweedie.oracles import posterior_weights

HALF_LINE = ("score", "log_score", "count", "ratio")
PROCESSES = [
    (BESQ(0.5), HALF_LINE),
    (BESQ(2.0), HALF_LINE),
    (CIR(1.3, 0.9, 0.7), HALF_LINE),
    (CIR(1.0, 0.1, 1.0, LinearClock(0.5, 2.0, 1.0)), HALF_LINE),
    (GBM(0.1, 0.6), ("score", "log_score", "epsilon")),
    (VP(), ("score", "epsilon")),
    (VE(0.01, 5.0), ("score", "epsilon")),
    (Flow(), ("score", "epsilon")),
]
CASES = [(process, kind) for process, kinds in PROCESSES for kind in kinds]
COMPILED = [CASES[i] for i in (0, 1, 2, 3, 14, 15, 16, 17, 18, 19)]  # one process a family
each_case = pytest.mark.parametrize(("process", "kind"), CASES, ids=lambda v: str(v).split("(")[0])

X0 = np.asarray([[0.2, 1.0, 3.0, 0.7], [1.1, 0.4, 2.0, 5.0]])
X = np.asarray([[0.3, 0.8, 2.5, 4.0], [1e-6, 1.4, 0.9, 6.0]])
T = np.asarray([[0.3], [0.8]])


@pytest.fixture(params=[array_api_compat.numpy, array_api_strict], ids=["numpy", "strict"])
def xp(request):
    return request.param


@each_case
def test_targets_are_the_outputs_of_the_conditional_score(xp, process, kind):
    x0, x, t = (xp.asarray(a) for a in (X0, X, T))
    s = conditional_score(process, x0, x, t)
    direct = np.asarray(target(process, x0, x, t, kind))
    through = np.asarray(from_score(process, x, t, s, kind))
    back = np.asarray(to_score(process, x, t, target(process, x0, x, t, kind), kind))
    # The detour through the score cancels nu / x; the target itself does not.
    assert through == pytest.approx(direct, rel=1e-9, abs=1e-9)
    assert back == pytest.approx(np.asarray(s), rel=1e-10)


@each_case
def test_the_conditional_mean_of_the_target_is_the_output_of_the_marginal_score(process, kind):
    """The Fisher identity by enumeration: for data on atoms both sides are finite sums."""
    data = Discrete([0.3, 1.0, 2.5], [0.2, 0.5, 0.3])
    x = np.asarray([0.05, 0.9, 4.0])
    p = posterior_weights(process, data, x, 0.4)
    mean = np.sum(p * target(process, data.atoms, x[:, None], 0.4, kind), axis=-1)
    s = process.marginal(data, 0.4).score(x)
    assert mean == pytest.approx(from_score(process, x, 0.4, s, kind), rel=1e-11, abs=1e-11)


@each_case
def test_every_parametrisation_weighs_the_error_of_the_score_alike(process, kind):
    output = target(process, X0, X, T, kind) + 0.37
    score = to_score(process, X, T, output, kind)
    in_score = process.diffusion(X, T) * (score - conditional_score(process, X0, X, T)) ** 2
    assert matching_loss(process, X0, X, T, output, kind) == pytest.approx(in_score, rel=1e-6)
    again = square_loss(output, target(process, X0, X, T, kind), kl_weight(process, X, T, kind))
    assert matching_loss(process, X0, X, T, output, kind) == pytest.approx(again, rel=1e-13)


@each_case
def test_conversions_compose(process, kind):
    kinds = {id(p): k for p, k in PROCESSES}[id(process)]
    for wanted in kinds:
        there = convert(process, X, T, X0, kind, wanted)
        assert convert(process, X, T, there, wanted, kind) == pytest.approx(X0, rel=1e-8)


@pytest.mark.parametrize("process", [BESQ(0.5), CIR(1.3, 0.9, 0.7)], ids=str)
def test_the_sampled_count_has_the_bessel_law(process):
    """Bayes: Poisson(N) times the gamma density of x given N, over the transition, is the Bessel mass."""
    x0, x, t, n = 1.7, 0.8, 0.4, np.arange(12.0)
    decay, rho = float(process.decay(t)), float(process.rho(t))
    rate, shape = 0.5 * x0 * decay / rho, 0.5 * process.delta + n
    log_poisson = n * np.log(rate) - rate - gammaln(n + 1)
    log_gamma = (shape - 1) * np.log(x / (2 * rho)) - x / (2 * rho) - gammaln(shape) - np.log(2 * rho)
    posterior = log_poisson + log_gamma - process.transition(x0, t).log_prob(x)
    law = BesselCount(process.nu, np.sqrt(x * x0 * decay) / rho)
    assert posterior == pytest.approx(law.log_prob(n), abs=1e-12)
    assert float(law.mean) == pytest.approx(float(target(process, x0, x, t, "count")), rel=1e-14)


def test_known_weights():
    cir, besq, gbm = CIR(2.0, 1.0, 3.0), BESQ(3.0), GBM(0.2, 0.5)
    x, t = 1.6, 0.7
    rho = float(cir.rho(t))
    assert kl_weight(cir, x, t, "count") == pytest.approx(9.0 / x)
    assert kl_weight(cir, x, t, "ratio") == pytest.approx(9.0 * x / (4 * rho**2))
    assert kl_weight(besq, x, t, "score") == pytest.approx(4 * x)
    assert kl_weight(besq, x, t, "count") == pytest.approx(4 / x)
    assert kl_weight(gbm, x, t, "score") == pytest.approx(0.25 * x**2)
    assert kl_weight(gbm, x, t, "log_score") == pytest.approx(0.25)
    assert kl_weight(gbm, x, t, "epsilon") == pytest.approx(1 / t)


def test_poisson_loss_is_proper_and_bounded_at_zero():
    n = torch.tensor([0.0, 0.5, 3.0, 3.0], dtype=torch.float64, requires_grad=True)
    counts = torch.tensor([0.0, 0.0, 3.0, 6.0], dtype=torch.float64)
    loss = poisson_loss(n, counts)
    (gradient,) = torch.autograd.grad(loss.sum(), n)
    assert loss[:2].tolist() == [0.0, 0.5]
    assert gradient.tolist() == [1.0, 1.0, 0.0, -1.0]  # 1 - N / n, and no 0 * inf at N = 0
    assert float(poisson_loss(0.0, 2.0)) == np.inf
    # Proper: over a law of N the minimiser is its mean.  Here N is 0 or 5 with probability 1/2.
    grid = np.linspace(0.1, 6.0, 60)
    risk = 0.5 * poisson_loss(grid, np.zeros(60)) + 0.5 * poisson_loss(grid, np.full(60, 5.0))
    assert grid[np.argmin(risk)] == pytest.approx(2.5)


@pytest.mark.parametrize("kind", HALF_LINE)
@pytest.mark.parametrize("delta", [0.5, 2.0, 6.0])
def test_draws_and_data_at_zero_are_harmless(kind, delta):
    """float32 draws of small delta underflow to 0; there the loss and its gradient are 0, not NaN."""
    process = BESQ(delta)
    x0 = torch.tensor([0.0, 1.0, 0.0, 1.0])
    x = torch.tensor([0.0, 0.0, 1.0, 1.0])
    output = torch.full((4,), 0.3, requires_grad=True)
    loss = matching_loss(process, x0, x, 0.5, output, kind)
    (gradient,) = torch.autograd.grad(loss.sum(), output)
    assert torch.isfinite(loss).all() and torch.isfinite(gradient).all()
    assert loss[:2].tolist() == [0.0, 0.0]
    assert (loss[2:] > 0).all()


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize(("process", "kind"), COMPILED, ids=lambda v: str(v).split("(")[0])
def test_kernels_compile_and_vectorise_and_agree_with_numpy(process, kind):
    x0, x, t = (torch.asarray(a) for a in (X0, X, T))
    output = torch.full_like(x, 0.4)
    kernel = functools.partial(matching_loss.kernel, torch_namespace)
    call = lambda x0, x, t, output: kernel(process, x0, x, t, output, kind)
    eager = call(x0, x, t, output)
    torch.compiler.reset()
    compiled = torch.compile(call, fullgraph=True, backend="eager")(x0, x, t, output)
    mapped = torch.vmap(call)(x0, x, t, output)
    ours = matching_loss(process, X0, X, T, 0.4 * np.ones_like(X), kind)
    assert torch.equal(eager, compiled)
    assert mapped.numpy() == pytest.approx(eager.numpy(), rel=1e-14)
    assert eager.numpy() == pytest.approx(ours, rel=1e-13)


@each_case
def test_gradients_in_the_output_and_the_state(process, kind):
    x = torch.asarray(np.maximum(X, 0.1)).requires_grad_()
    output = torch.full_like(x, 0.4).requires_grad_()
    x0, t = torch.asarray(X0), torch.asarray(T)
    call = lambda x, output: matching_loss.kernel(torch_namespace, process, x0, x, t, output, kind)
    assert torch.autograd.gradcheck(call, (x, output), eps=1e-7, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: matching_loss(BESQ(1.0), 1.0, -1.0, 1.0, 0.1, "count"), UnmetHypothesis, "x >= 0"),
        (lambda: matching_loss(BESQ(1.0), 1.0, 1.0, 0.0, 0.1, "count"), UnmetHypothesis, "t > 0"),
        (lambda: target(GBM(0.0, 1.0), 0.0, 1.0, 1.0, "epsilon"), UnmetHypothesis, "x0 > 0"),
        (lambda: target(GBM(0.0, 1.0), 1.0, 1.0, 1.0, "count"), UnmetHypothesis, "parametrization of GBM"),
        (lambda: target(VP(), 1.0, 1.0, 1.0, "log_score"), UnmetHypothesis, "parametrization of VP"),
        (lambda: affine(BESQ(1.0), 1.0, 1.0, "epsilon"), UnmetHypothesis, "parametrization of BESQ"),
        (lambda: poisson_loss(-1.0, 2.0), UnmetHypothesis, "n >= 0"),
        (lambda: poisson_loss(np.asarray([1]), np.asarray([1])), TypeError, "int64"),
        (lambda: matching_loss(VP(), np.ones(2), torch.ones(2), 1.0, 0.0, "score"), TypeError, "namespace"),
        (lambda: square_loss(np.asarray([np.nan]), 1.0), UnmetHypothesis, "NaN"),
    ],
)
def test_bad_input_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
