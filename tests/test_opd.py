"""On-policy distillation: exact gradients against autograd, estimators against enumeration."""

import itertools
import math

import array_api_compat.torch as xt
import numpy as np
import pytest
import torch

from driftproof import UnmetHypothesis
from driftproof.numerics import opd as estimators
from driftproof.theory import divergences, opd

NAMES = [
    "reverse_kl",
    "forward_kl",
    "pearson",
    "neyman",
    "hellinger",
    "jsd",
    "jeffreys",
    "le_cam",
    "alpha(0.3)",
    "gjsd(0.1)",
    "normalized_gjsd(0)",
    "normalized_gjsd(0.3)",
    "skew_kl(0.3)",
    "skew_rkl(0.2)",
]


def pair(seed, vocabulary=6, spread=1.5):
    rng = np.random.default_rng(seed)
    student, teacher = (torch.from_numpy(spread * rng.normal(size=vocabulary)) for _ in range(2))
    return student, torch.log_softmax(teacher, 0)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_equal_autograd(name):
    f = divergences.get(name)
    logits, logq = pair(1)
    logits.requires_grad_()
    logp = torch.log_softmax(logits, 0)
    (want,) = torch.autograd.grad(opd.divergence(logp, logq, f), logits, retain_graph=True)
    exact = opd.logit_gradient(logp.detach(), logq, f)
    stopped = opd.stop_gradient_logit_gradient(logp.detach(), logq, f)
    torch.testing.assert_close(exact, want, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(stopped - exact, opd.bias(logp.detach(), logq, f), rtol=1e-10, atol=1e-13)
    # The stop-gradient direction, by a literal detach.
    reward = f.value(xt, (logq - logp).detach())
    (literal,) = torch.autograd.grad((logp.exp() * reward).sum(), logits, retain_graph=True)
    torch.testing.assert_close(stopped, literal, rtol=1e-11, atol=1e-13)
    # f(u) differentiated inside of a loss over fixed samples: expectation with detached weights.
    (inside,) = torch.autograd.grad((logp.exp().detach() * f.value(xt, logq - logp)).sum(), logits)
    torch.testing.assert_close(
        opd.pathwise_logit_gradient(logp.detach(), logq, f), inside, rtol=1e-10, atol=1e-13
    )


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("name", NAMES)
def test_what_the_stop_gradient_descends(name):
    f = divergences.get(name)
    surrogate = opd.surrogate(f)
    logits, logq = pair(2)
    logits.requires_grad_()
    logp = torch.log_softmax(logits, 0)
    (descends,) = torch.autograd.grad(opd.divergence(logp, logq, surrogate), logits)
    stopped = opd.stop_gradient_logit_gradient(logp.detach(), logq, f)
    torch.testing.assert_close(descends, stopped, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("name", ["reverse_kl", "forward_kl", "jsd"])
def test_token_weights_average_to_the_exact_sequence_gradient(name, gamma):
    """Enumerate every rollout of length 3 over 3 tokens: the expected estimator is the tree's gradient."""
    f, length, size = divergences.get(name), 3, 3
    rng = np.random.default_rng(4)
    trees = [[rng.normal(size=(size**n, size)) for n in range(length)] for _ in range(2)]
    student, teacher = (
        tuple(level - np.log(np.exp(level).sum(-1, keepdims=True)) for level in tree) for tree in trees
    )
    rollouts = list(itertools.product(range(size), repeat=length))
    place = lambda y, n: int(sum(t * size ** (n - 1 - k) for k, t in enumerate(y[:n])))
    pick = lambda tree: np.asarray([[tree[n][place(y, n), y[n]] for n in range(length)] for y in rollouts])
    logp, logq = pick(student), pick(teacher)
    weights = estimators.token_weights(
        logp, logq, np.ones_like(logp), f, clip=None, gamma=gamma, reduction="sum"
    )
    chance = np.exp(logp.sum(-1))
    gradient = [np.zeros_like(level) for level in student]
    for i, y in enumerate(rollouts):
        for n in range(length):
            row = place(y, n)
            direction = -np.exp(student[n][row])
            direction[y[n]] += 1.0
            gradient[n][row] += chance[i] * weights[i, n] * direction
    want = opd.AutoregressivePair(student, teacher).gradient(f, gamma=gamma)
    for ours, exact in zip(gradient, want, strict=True):
        np.testing.assert_allclose(ours, exact, rtol=1e-12, atol=1e-13)


def test_off_policy_weights_have_the_same_expectation():
    f = divergences.get("jsd")
    logits, logq = pair(5)
    logp, behaviour = torch.log_softmax(logits, 0), torch.log_softmax(0.3 * logits, 0)
    column = lambda x: x[:, None]
    ones = torch.ones(6, 1, dtype=torch.float64)
    weights = estimators.token_weights(
        column(logp), column(logq), ones, f, behaviour=column(behaviour), reduction="sum"
    )[:, 0]
    direction = torch.eye(6, dtype=torch.float64) - logp.exp()
    expected = (behaviour.exp() * weights) @ direction
    torch.testing.assert_close(expected, opd.logit_gradient(logp, logq, f), rtol=1e-12, atol=1e-13)


def test_clipping_before_the_exponential_is_the_clipped_divergence():
    f = divergences.get("forward_kl")
    delta = np.asarray([-50.0, -1.0, 0.0, 3.0, 800.0])
    clipped = f.clip(math.exp(-2.0), math.exp(2.0))
    np.testing.assert_allclose(
        estimators.advantage(delta, f, clip=2.0), clipped.centred(np, np.clip(delta, -9, 9)), rtol=1e-13
    )


def test_group_mean_shrinks_and_leave_one_out_does_not():
    """All G = 2 draws of a 3-token policy: an exact expectation, no sampling."""
    logits, logq = pair(6, vocabulary=3)
    logp = torch.log_softmax(logits, 0)
    p, direction = logp.exp(), torch.eye(3, dtype=torch.float64) - logp.exp()
    advantages = estimators.advantage(logq - logp, divergences.get("reverse_kl"))
    expected = {"loo": torch.zeros(3).double(), "mean": torch.zeros(3).double()}
    for a, b in itertools.product(range(3), repeat=2):
        drawn = advantages[[a, b]]
        for key, rule in (("loo", estimators.leave_one_out), ("mean", estimators.group_mean)):
            centred = drawn - rule(drawn)
            expected[key] += p[a] * p[b] * 0.5 * (centred[:, None] * direction[[a, b]]).sum(0)
    exact = (p * advantages) @ direction
    torch.testing.assert_close(expected["loo"], exact, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(expected["mean"], 0.5 * exact, rtol=1e-12, atol=1e-14)


def test_masks_empty_rows_and_reductions():
    f = divergences.get("reverse_kl")
    logp = np.asarray([[-1.0, -2.0, -np.inf], [-1.0, -1.0, -1.0]])
    logq = np.asarray([[-2.0, -1.0, -np.inf], [-1.0, -5.0, -1.0]])
    mask = np.asarray([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    weights = estimators.token_weights(logp, logq, mask, f, reduction="sequence")
    np.testing.assert_allclose(weights, [[0.5, -0.5, 0.0], [0.0, 0.0, 0.0]])
    with pytest.raises(UnmetHypothesis, match="one shape"):
        estimators.token_weights(logp, logq[:, :2], mask, f)
    with pytest.raises(UnmetHypothesis, match="gamma"):
        estimators.token_weights(logp, logq, mask, f, gamma=1.5)
    with pytest.raises(UnmetHypothesis, match="clip > 0"):
        estimators.token_weights(logp, logq, mask, f, clip=0.0)


def test_all_masked_batches_are_refused():
    f = divergences.get("reverse_kl")
    blank = np.zeros((2, 2))
    for reduction in ("token", "sequence"):
        with pytest.raises(UnmetHypothesis, match="leaves a token"):
            estimators.token_weights(blank, blank, blank, f, reduction=reduction)


@pytest.mark.parametrize("name", NAMES)
def test_merging_tokens_never_raises_a_divergence(name):
    f, rng = divergences.get(name), np.random.default_rng(7)
    for _ in range(50):
        p, q = rng.dirichlet(np.ones(8)), rng.dirichlet(np.ones(8))
        top = np.argsort(-p)[:3]
        merged = estimators.bucketed_divergence(np.log(p[top]), np.log(q[top]), f)
        assert float(merged) <= float(opd.divergence(np.log(p), np.log(q), f)) * (1 + 1e-12)


def test_support_mismatch_is_priced_by_the_ends_of_f():
    minus = -math.inf
    half, one = [math.log(0.5), math.log(0.5)], [0.0, minus]
    assert float(opd.divergence(one, half, divergences.get("jsd"))) == pytest.approx(
        0.5 * (math.log(4 / 3) + 0.5 * math.log(2 / 3) + 0.5 * math.log(2.0))
    )
    assert float(opd.divergence(half, one, divergences.get("reverse_kl"))) == math.inf
    assert float(opd.divergence(half, one, divergences.get("forward_kl"))) == pytest.approx(math.log(2.0))
    with pytest.raises(UnmetHypothesis, match="every token of the student"):
        opd.logit_gradient(half, one, divergences.get("reverse_kl"))


@pytest.mark.parametrize(
    "logp, logq", [([2.0, 1.0, 0.0], [0.0, -np.inf, -np.inf]), ([0.0, -np.inf], [3.0, -1.0])]
)
def test_logits_are_not_taken_for_log_probabilities(logp, logq) -> None:
    with pytest.raises(UnmetHypothesis, match="log_softmax"):
        opd.divergence(logp, logq, divergences.get("jsd"))


@pytest.mark.parametrize("gap", [10.0, 30.0, 45.0, 300.0])
@pytest.mark.parametrize("name", ["reverse_kl", "forward_kl", "jeffreys", "jsd", "pearson"])
def test_gradients_of_confident_students_keep_their_digits(name, gap):
    """One token ahead by a gap: 1 - p is e^-gap, which no difference from 1 holds.  Checked at 60 digits."""
    mpmath = pytest.importorskip("mpmath")
    f = divergences.get(name)
    logits, teacher = [gap, 0.0, -1.0, 0.5], [0.3, 0.1, -0.2, 0.0]
    logp, logq = (
        torch.log_softmax(torch.tensor(v, dtype=torch.float64), 0).numpy() for v in (logits, teacher)
    )
    with mpmath.workdps(400):
        # The generator at the float64 log-probabilities, whose masses are taken as they are.
        p = [mpmath.exp(mpmath.mpf(v)) for v in logp[1:].tolist()]
        p = [1 - mpmath.fsum(p), *p]
        u = [mpmath.exp(mpmath.mpf(v)) / mass for v, mass in zip(logq.tolist(), p, strict=True)]
        centred = {
            "reverse_kl": mpmath.log,
            "forward_kl": lambda r: r - 1,
            "jeffreys": lambda r: r - 1 + mpmath.log(r),
            "jsd": lambda r: mpmath.log((1 + r) / 2) / 2,
            "pearson": lambda r: r * r - 1,
        }[name]
        a = [centred(r) for r in u]
        mean = mpmath.fsum(m * v for m, v in zip(p, a, strict=True))
        want = [-float(m * (v - mean)) for m, v in zip(p, a, strict=True)]
    np.testing.assert_allclose(opd.logit_gradient(logp, logq, f), want, rtol=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 1.0])
@pytest.mark.parametrize("name", ["pearson", "neyman", "jsd"])
def test_costs_of_the_future_are_clipped_on_both_sides(name, gamma):
    """The log-ratios lie beyond the clip, above it and below; the discounted sum is a loop."""
    f, clip = divergences.get(name), 0.7
    delta = np.asarray([[0.2, 1.9, -2.3, 0.4, -0.9]])
    logp = np.full_like(delta, -3.0)
    mask, options = np.ones_like(delta), {"clip": clip, "reduction": "sum"}
    with_future, without = (
        estimators.token_weights(logp, logp + delta, mask, f, gamma=g, **options) for g in (gamma, 0.0)
    )
    u = np.exp(np.clip(delta[0], -clip, clip))
    cost = {
        "pearson": lambda r: (r - 1.0) ** 2,
        "neyman": lambda r: (1.0 - r) ** 2 / r,
        "jsd": lambda r: 0.5 * (r * np.log(r) - (1.0 + r) * np.log(0.5 * (1.0 + r))),
    }[name](u)
    want = [sum(gamma ** (m - n) * cost[m] for m in range(n + 1, 5)) for n in range(5)]
    np.testing.assert_allclose(with_future[0] - without[0], want, rtol=1e-12, atol=1e-14)


def test_which_generators_solve_the_equations_of_the_stop_gradient():
    """By computer algebra, for every constant: u f' = -c has the logarithm alone, u f' = a f + k the powers."""
    sp = pytest.importorskip("sympy")
    u, c, a, k = sp.symbols("u c a k", positive=True)
    f = sp.Function("f")
    logarithm = sp.dsolve(u * f(u).diff(u) + c, f(u), ics={f(1): 0}).rhs
    assert sp.simplify(logarithm + c * sp.log(u)) == 0
    power = sp.dsolve(u * f(u).diff(u) - a * f(u) - k, f(u), ics={f(1): 0}).rhs
    assert sp.simplify(sp.expand(power - k / a * (u**a - 1), force=True)) == 0
