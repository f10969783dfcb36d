"""Diffusions, heads, losses, oracle and sampler of the torch shell, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

import array_api_compat.torch as xp
from scipy.stats import wasserstein_distance

from driftproof import UnmetHypothesis
from driftproof._random import source
from driftproof.backends.torch.score_models.diffusions import (
    AbstractDiffusion,
    GaussianDiffusion,
    LogNormalDiffusion,
    SquaredBesselDiffusion,
)
from driftproof.backends.torch.score_models.networks import NetworkRecipe, backbone
from driftproof.backends.torch.score_models.sampling import grid, sample
from driftproof.backends.torch.score_models.scores import EmpiricalOracle, ScoreNetwork
from driftproof.backends.torch.tweedie.accuracy import excess
from driftproof.numerics.tweedie import to_score
from driftproof.theory.laws import Discrete, Gamma, LogNormal, Normal
from driftproof.theory.processes import CIR, GBM, VP
from driftproof.theory.tweedie import conditional_pair_count

ATOMS = np.array([0.2, 1.0, 3.0, 8.0])[:, None]
NAMES = ("VP", "GBM", "CIR", "CIR, delta < 2")


def diffusion(name: str, rows: np.ndarray = ATOMS, **options) -> AbstractDiffusion:
    if name == "VP":
        return GaussianDiffusion(VP(), rows, 0.02, 10.0)
    if name == "GBM":
        return LogNormalDiffusion(GBM(0.3, 0.7), rows, 0.02, 10.0)
    process = CIR(1.0, 1.0, 1.0) if name == "CIR" else CIR(0.5, 0.3, 0.9)
    return SquaredBesselDiffusion(process, rows, 0.02, 10.0, **options)


def state(model: AbstractDiffusion, t: torch.Tensor, rows: np.ndarray = ATOMS) -> torch.Tensor:
    x0 = torch.tensor(model.encode(rows))[torch.arange(len(t)) % len(rows)]
    return model.forward(x0, t, source(0))[0]


def times(model: AbstractDiffusion, count: int = 40) -> torch.Tensor:
    return model.time(torch.logspace(math.log10(0.02), 1.0, count, dtype=torch.float64)[:, None])


@pytest.mark.parametrize("name", NAMES)
def test_the_clock_is_the_ratio(name: str) -> None:
    model = diffusion(name)
    r = torch.logspace(math.log10(0.02), 1.0, 30, dtype=torch.float64)
    assert torch.allclose(model.ratio(model.time(r)), r, rtol=1e-9)
    assert torch.allclose(
        model.position(model.time(r)), torch.linspace(-1, 1, 30, dtype=torch.float64), atol=1e-9
    )
    t = model.time(r)
    slope = (model.time(r * 1.0001) - model.time(r / 1.0001)) / (4.0 * math.log(1.0001))  # dt / d log r^2
    assert torch.allclose(model.rate(t), slope, rtol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_ratio_is_noise_over_signal(name: str) -> None:
    # The standard deviation that the transition adds, where it is additive, over that of the data.
    model, r = diffusion(name), 0.05
    t = model.time(torch.tensor(r, dtype=torch.float64))
    if name == "GBM":
        added = float(torch.sqrt(model.process.log_variance(t))) / np.log(ATOMS).std()
    elif name == "VP":
        added = float(model.process.transition(0.0, t).variance ** 0.5 / model.process.alpha(t))
    else:  # data of size 1
        law = model.process.transition(torch.tensor(1.0, dtype=torch.float64), t)
        added = float(law.variance**0.5 / model.process.decay(t))
        assert added == pytest.approx(r, rel=5e-3)  # to leading order in r
        return
    assert added == pytest.approx(r, rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_the_weight_is_girsanov_in_this_clock(name: str) -> None:
    model = diffusion(name)
    t = times(model)
    x = state(model, t)
    expected = torch.ones_like(x)
    if name.startswith("CIR"):
        expected = x / model.process.rho(t)
    assert torch.allclose(model.weight(x, t), expected, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_an_untrained_network_is_the_exact_conjugate_score(name: str) -> None:
    model = diffusion(name)
    conjugate = {
        "VP": lambda: Normal(0.0, 1.0),
        "GBM": lambda: LogNormal(model.mean, model.deviation),
    }.get(name, lambda: Gamma(0.5 * model.process.delta, 2.0 / model.process.delta))()
    network = ScoreNetwork(backbone(NetworkRecipe("mlp", 16, 1), 1, 0, 1, 0), model).double()
    t = times(model)
    x = state(model, t)
    with torch.no_grad():
        score = to_score.kernel(xp, model.process, x, t, network(x, t)[:, 0], model.kind)
    exact = torch.stack([model.process.marginal(conjugate, s[0]).score(y) for s, y in zip(t, x, strict=True)])
    assert torch.allclose(score, exact, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_the_oracle_is_the_score_of_the_mixture(name: str) -> None:
    model = diffusion(name)
    oracle = EmpiricalOracle(model, torch.tensor(model.encode(ATOMS)))
    law = Discrete(torch.tensor(model.encode(ATOMS))[:, 0], torch.full((4,), 0.25, dtype=torch.float64))
    t = times(model)
    x = state(model, t)
    score = to_score.kernel(xp, model.process, x, t, oracle(x, t)[:, 0], model.kind)
    exact = torch.stack([model.process.marginal(law, s[0]).score(y) for s, y in zip(t, x, strict=True)])
    assert torch.allclose(score, exact, rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize("name", ["VP", "GBM", "CIR"])
def test_the_oracle_in_two_dimensions_is_the_gradient_of_the_log_density(name: str) -> None:
    rows = np.array([[0.3, 1.0], [2.0, 0.5], [1.0, 4.0]])
    model = diffusion(name, rows)
    x0 = torch.tensor(model.encode(rows))
    t = times(model, 9)
    x = state(model, t, rows).requires_grad_()
    parameters = model.process.transition_parameters(xp, x0[None], t[:, None])
    density = model.process.family.log_density(xp, x[:, None], *parameters).sum(-1).logsumexp(1)
    (gradient,) = torch.autograd.grad(density.sum(), x)
    score = to_score.kernel(xp, model.process, x, t, EmpiricalOracle(model, x0)(x, t)[:, 0], model.kind)
    assert torch.allclose(score, gradient, rtol=1e-7, atol=1e-6)


def test_the_error_of_the_oracle_is_zero_and_that_of_zeros_the_conjugate_one() -> None:
    for name in NAMES:
        model = diffusion(name)
        atoms = torch.tensor(model.encode(ATOMS))
        edges, draws = [0.02, 0.2, 10.0], source(torch.Generator().manual_seed(0))
        for error in excess(EmpiricalOracle(model, atoms), model, atoms, edges, 32, draws):
            assert error.network < 1e-20 < error.conjugate

        def zeros(x: torch.Tensor, t: torch.Tensor, model: AbstractDiffusion = model) -> torch.Tensor:
            return model.head(torch.zeros_like(x)[:, None], x, t)

        for error in excess(zeros, model, atoms, edges, 32, draws):
            assert error.network == error.conjugate


@pytest.mark.parametrize("name", NAMES)
def test_outputs_stay_in_single_precision_and_in_range_under_autocast(name: str) -> None:
    model = diffusion(name, heads=2) if name.startswith("CIR") else diffusion(name)
    network = ScoreNetwork(backbone(NetworkRecipe("mlp", 32, 2), 1, 0, model.heads, 0), model)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(1))
    t = times(model).float()
    x = state(model, t.double()).float()
    plain = network(x, t)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = network(x, t)
    assert mixed.dtype == torch.float32
    assert bool(torch.isfinite(mixed).all())
    assert torch.allclose(mixed, plain, rtol=0.1, atol=0.1)
    if name.startswith("CIR"):
        assert bool((plain > 0).all())
        assert bool((mixed > 0).all())


@pytest.mark.parametrize("objective", ["conditional mean", "sampled count", "deviance"])
def test_every_objective_is_stationary_at_the_exact_ratio(objective: str) -> None:
    # Given x and x0 the gradient of the loss at the conditional mean has mean 0: exactly for the
    # conditional mean, and within 5.3 standard errors (false alarm 1e-7 a check) for the sampled count,
    # which would see an error of 4e-3 of the ratio.
    model = diffusion("CIR", objective=objective)
    x0 = torch.full((40_000, 1), 0.7, dtype=torch.float64)
    t = torch.full_like(x0, float(model.time(torch.tensor(0.6, dtype=torch.float64))))
    x, mean, count = model.forward(x0, t, source(3))
    for factor in (1.0, 1.02):
        output = (factor * mean).requires_grad_()
        (gradient,) = torch.autograd.grad(model.loss(output[:, None], x, t, mean, count).sum(), output)
        if objective == "conditional mean":
            assert (float(gradient.abs().max()) == 0.0) == (factor == 1.0)
        else:
            z = float(gradient.mean() / gradient.std()) * math.sqrt(len(x0))
            assert (abs(z) < 5.3) == (factor == 1.0)


def test_the_losses_agree_to_second_order() -> None:
    model, other = diffusion("CIR", objective="sampled count"), diffusion("CIR", objective="deviance")
    t = torch.full((1000, 1), float(model.time(torch.tensor(0.02, dtype=torch.float64))), dtype=torch.float64)
    x, mean, count = model.forward(torch.ones_like(t), t, source(0))
    one, two = (m.loss(mean[:, None], x, t, mean, count).mean() for m in (model, other))
    assert float(two / one) == pytest.approx(1.0, abs=0.05)


def test_the_posterior_mean_of_the_counts_is_that_of_the_atoms() -> None:
    model = diffusion("CIR", heads=2)
    atoms = torch.tensor(model.encode(ATOMS))
    t = times(model, 12)
    x = state(model, t)
    weights = EmpiricalOracle(model, atoms).weights(x, t)
    points = atoms[None], x[:, None], t[:, None]
    outputs = torch.stack(
        [torch.einsum("bn,bnd->bd", weights, f(*points)) for f in (model.target, model.pair_target)], dim=1
    )
    assert torch.allclose(model.posterior_mean(x, t, outputs), weights @ atoms, rtol=1e-8)


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("name", NAMES)
def test_sampling_with_the_exact_score_gives_the_atoms(name: str) -> None:
    # W1 of 4000 exact draws of these atoms is below 0.28 but with probability 1e-6 (5.1 deviations of each
    # of the three gaps, added); the steps may add 0.07.  An output that is 30 % short must not pass.
    model = diffusion(name)
    oracle = EmpiricalOracle(model, torch.tensor(model.encode(ATOMS)))
    like = torch.zeros(4000, 1, dtype=torch.float64)

    def distance(factor: float) -> float:
        drawn = sample(lambda x, t: factor * oracle(x, t), model, like, 100, source(5))
        return float(wasserstein_distance(model.decode(drawn.numpy())[:, 0], ATOMS[:, 0]))

    assert distance(1.0) < 0.35 < distance(0.7)


def test_states_of_cir_are_nonnegative_whatever_the_network_says() -> None:
    model = diffusion("CIR, delta < 2")
    network = ScoreNetwork(backbone(NetworkRecipe("mlp", 16, 1), 1, 0, 1, 0), model)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=1.0, generator=torch.Generator().manual_seed(2))
    drawn = sample(network, model, torch.zeros(500, 1), 20, source(torch.Generator().manual_seed(0)))
    assert bool(torch.isfinite(drawn).all())
    assert bool((drawn >= 0).all())


@pytest.mark.parametrize("objective", ["conditional mean", "sampled count", "deviance"])
def test_losses_are_finite_in_single_precision_down_to_dimension_a_tenth(objective: str) -> None:
    rows = np.array([[0.0, 1.0, 1e-6, 30.0]]).T
    model = SquaredBesselDiffusion(CIR(1.0, 0.025, 1.0), rows, 0.02, 10.0, objective, heads=2)
    x0 = torch.tensor(model.encode(rows), dtype=torch.float32)[torch.arange(20_000) % 4]
    draws = source(torch.Generator().manual_seed(0))
    t = model.draw_time(x0, draws)
    x, *targets = model.forward(x0, t, draws)
    raw = torch.zeros(len(x), 2, 1, requires_grad=True)
    values = model.loss(model.head(raw, x, t), x, t, *targets)
    values.sum().backward()
    assert bool(torch.isfinite(values).all())
    assert bool(torch.isfinite(raw.grad).all())


def test_the_pair_target_is_that_of_theory() -> None:
    model = diffusion("CIR", heads=2)
    t = times(model)
    x0 = torch.tensor(model.encode(ATOMS))[torch.arange(40) % 4]
    x, _, _, pair = model.forward(x0, t, source(0))
    expected = (2.0 * model.process.rho(t) / x) ** 2 * conditional_pair_count(model.process, x0, x, t)
    assert torch.allclose(pair, expected, rtol=1e-10)


def test_the_grid_is_geometric_from_high_to_low() -> None:
    model = diffusion("VP")
    ratios = model.ratio(torch.tensor(grid(model, 10), dtype=torch.float64))
    assert float(ratios[0]) == pytest.approx(10.0)
    assert float(ratios[-1]) == pytest.approx(0.02)
    assert torch.allclose(ratios[1:] / ratios[:-1], ratios[1] / ratios[0])


def test_zeros_are_legal_for_cir_alone() -> None:
    rows = np.array([[0.0, 1.0], [2.0, 0.0]])
    model = diffusion("CIR", rows)
    t = times(model)
    x, mean, count = model.forward(torch.tensor(model.encode(rows))[torch.arange(40) % 2], t, source(0))
    values = model.loss(mean[:, None], x, t, mean, count)
    assert bool(torch.isfinite(values).all())
    with pytest.raises(UnmetHypothesis, match=r"data > 0 \(2 zeros and 0 negative"):
        diffusion("GBM", rows)
    with pytest.raises(UnmetHypothesis, match=r"data >= 0 \(2 negative values"):
        diffusion("CIR", -rows)
    with pytest.raises(UnmetHypothesis, match="some data > 0"):
        diffusion("CIR", 0.0 * rows)
    with pytest.raises(UnmetHypothesis, match="the data vary"):
        diffusion("VP", np.ones((3, 1)))
    with pytest.raises(UnmetHypothesis, match="fit float32"):
        LogNormalDiffusion(GBM(0.5, 1.0), np.exp(rows), 0.02, 100.0)
    with pytest.raises(UnmetHypothesis, match="reached before T"):
        GaussianDiffusion(VP(0.1, 0.2, 1.0), rows, 0.02, 10.0)
    with pytest.raises(UnmetHypothesis, match="0 < low < high"):
        GaussianDiffusion(VP(), rows, 2.0, 1.0)


@pytest.mark.parametrize("kind", ["mlp", "conv"])
def test_backbones_have_their_shapes_and_one_seed(kind: str) -> None:
    recipe = NetworkRecipe(kind, 16, 1)
    before = torch.get_rng_state()
    first, again, other = (backbone(recipe, 64, 8, 2, seed) for seed in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    u, c = torch.randn(3, 64, generator=torch.Generator().manual_seed(0)), torch.zeros(3)
    assert first(u, c).shape == (3, 2, 64)
    assert bool((first(u, c) == 0).all())  # the last layer starts at zero
    state = [dict(net.named_parameters()) for net in (first, again, other)]
    assert all(torch.equal(state[0][k], state[1][k]) for k in state[0])
    assert not all(torch.equal(state[0][k], state[2][k]) for k in state[0])
