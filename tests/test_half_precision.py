"""Half precision by kind of quantity: states and draws follow the caller, sums and averages stay float32."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from driftproof._namespace import boundary
from driftproof.numerics.samplers import step_log_prob
from driftproof.theory.adjoint import (
    BallCost,
    DiscreteFlow,
    ElasticCost,
    GaussianFlow,
    MemorylessFlow,
    MetricFlow,
    NoisyFlow,
    RegularizedFlow,
)
from driftproof.theory.csdm import FactorModel
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
from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, Flow
from driftproof.theory.rewards import Linear, Quadratic, tilted
from driftproof.theory.score_as_action import LinearFeedback, ShiftedScore
from driftproof.theory.tweedie import gamma_posterior_moment, posterior_variance
from driftproof.validation.inventory import of_kind

torch = pytest.importorskip("torch")
HALVES = [torch.bfloat16, torch.float16]


def of(dtype: torch.dtype, *values: object) -> list[torch.Tensor]:
    return [torch.tensor(value, dtype=dtype) for value in values]


def laws(dtype: torch.dtype) -> list[object]:
    zero, one, pair, ups = of(dtype, 0.0, 1.0, [0.5, 0.5], [1.0, 2.0])
    plane, eye = of(dtype, [0.0, 1.0], [[1.0, 0.0], [0.0, 1.0]])
    return [
        Normal(zero, one),
        LogNormal(zero, one),
        Gamma(2.0, one),
        NoncentralChi2(3.0, one, one),
        Gaussian(plane, eye),
        GaussianMixture(pair, torch.stack([plane, plane]), eye),
        Mixture(pair, Normal(ups, one)),
        Discrete(ups, pair),
    ]


@pytest.mark.parametrize("dtype", HALVES)
def test_a_law_draws_in_the_dtype_of_its_arguments_and_takes_its_own_draws(dtype: torch.dtype) -> None:
    for law in laws(dtype):
        draws = law.sample((5,), torch.Generator().manual_seed(0))
        assert draws.dtype == dtype, type(law).__name__
        assert law.log_prob(draws).dtype == torch.float32
        assert law.log_prob(draws.float()).dtype == torch.float32
        assert law.mean.dtype == law.variance.dtype == torch.float32
        if not isinstance(law, Discrete):
            assert law.score(draws).dtype == dtype
            assert law.score(draws.float()).dtype == torch.float32 or not isinstance(law, Gaussian)


@pytest.mark.parametrize("dtype", HALVES)
def test_chains_of_laws_keep_the_dtype_of_their_states(dtype: torch.dtype) -> None:
    """data -> noised -> noised again -> bridge -> draws: float32 inside, the caller's dtype at the ends."""
    zero, one = of(dtype, 0.0, 1.0)
    data = {VP: Normal(zero, one), VE: Normal(zero, one), Flow: Normal(zero, one)}
    data |= {GBM: LogNormal(zero, one), BESQ: Gamma(1.5, one), CIR: Gamma(2.0, one)}
    made = {VP: VP(), VE: VE(), Flow: Flow(), GBM: GBM(0.1, 0.5), BESQ: BESQ(3.0), CIR: CIR(1.0, 1.0, 1.0)}
    assert set(made) == {entry.value for entry in of_kind("process")}
    for kind, process in made.items():
        rng = torch.Generator().manual_seed(0)
        x0 = data[kind].sample((4,), rng)
        xt = process.transition(x0, 0.5).sample((), rng)
        between = process.bridge(x0, xt, 0.2, 0.5)
        xs = between.sample((), rng)
        noised = process.marginal(process.marginal(data[kind], 0.1), 0.2)
        assert x0.dtype == xt.dtype == xs.dtype == noised.sample((), rng).dtype == dtype, kind
        assert between.score(xs).dtype == noised.score(xs).dtype == dtype
        assert between.log_prob(xs).dtype == noised.log_prob(xs).dtype == torch.float32
        # The parameters were never rounded: the same law as from float32.
        single = process.transition(x0.float(), 0.5)
        assert torch.equal(process.transition(x0, 0.5).log_prob(xt), single.log_prob(xt.float()))


def test_laws_of_theorems_remember_too() -> None:
    plane, eye = of(torch.bfloat16, [0.0, 1.0], [[1.0, 0.0], [0.0, 1.0]])
    best = tilted(Gaussian(plane, eye), Linear(plane), 0.7)
    assert best.cov.dtype == torch.float32
    assert best.sample((3,), torch.Generator().manual_seed(0)).dtype == torch.bfloat16
    for distance in (kl, wasserstein2):
        assert distance(Gaussian(plane, eye), best).dtype == torch.float32


@pytest.mark.parametrize("dtype", HALVES)
def test_log_densities_of_many_coordinates_are_not_rounded(dtype: torch.dtype) -> None:
    """Over 65536 coordinates a log-density is 1.4e4, where bfloat16 has steps of 64: the ratio of two was 0."""
    rng = torch.Generator().manual_seed(0)
    mean = torch.randn(1, 65536, generator=rng).to(dtype)
    x, std = (
        (mean + 0.3 * torch.randn(1, 65536, generator=rng)).to(dtype),
        torch.full((1, 1), 0.3, dtype=dtype),
    )
    other = (mean + 1e-2 * torch.randn(1, 65536, generator=rng)).to(dtype)
    found = step_log_prob(x, other, std) - step_log_prob(x, mean, std)
    exact = step_log_prob(x.double(), other.double(), std.double())
    exact = exact - step_log_prob(x.double(), mean.double(), std.double())
    assert found.dtype == torch.float32
    # Sums of 65536 terms of size 1, whose roundings are relative to the size of the sum.
    assert abs(float(found - exact)) <= 2.0**-23 * 64.0 * 1.4e4**0.5 * 16.0
    assert abs(float(exact)) > 1.0


def test_half_precision_may_meet_float32_but_not_the_other_half() -> None:
    low, single = torch.ones(2, dtype=torch.bfloat16), torch.ones(2)
    _, down, (x, y) = boundary("example", x=low, y=single)
    assert x.dtype == y.dtype == torch.float32
    assert down(x + y).dtype == torch.bfloat16
    assert down.wide(x + y).dtype == torch.float32
    for other in (torch.ones(2, dtype=torch.float16), torch.ones(2, dtype=torch.float64)):
        with pytest.raises(TypeError, match="expected one dtype"):
            boundary("example", x=low, y=other)
    with pytest.raises(TypeError, match="expected one dtype"):
        boundary("example", x=np.ones(2, dtype=np.float16), y=np.ones(2))


def test_what_control_makes_follows_the_kind_of_quantity() -> None:
    """Flows, policies and models of factors keep their parameters in float32, and their laws draw as they were given."""
    line, cell, zero = of(torch.bfloat16, [0.5], [[1.0]], [0.0])
    rng, reward = torch.Generator().manual_seed(0), Quadratic(line, cell)
    flow = GaussianFlow(line, cell)
    laws_of_control = [
        flow.law,
        flow.terminal_law(reward, 1.0),
        MetricFlow(flow, torch.eye(1)).terminal_law(reward),
        NoisyFlow(flow, 0.5).terminal_law(reward, 1.0),
        MemorylessFlow(flow).terminal_law(reward, 1.0),
        DiscreteFlow(flow, (1.0, 0.5, 0.0)).terminal_law(reward, 1.0),
        ShiftedScore(VP(), Gaussian(line, cell), reward, 0.5, zero).terminal_law(),
        ShiftedScore(VP(), Gaussian(line.float(), cell.float()), reward, 0.5, zero).terminal_law(),
        LinearFeedback(VP(), Gaussian(line, cell), reward, 0.5, -0.1).terminal_law(),
        FactorModel(cell, cell, cell).returns(),
        FactorModel(cell, cell, cell).stressed([0], zero),
    ]
    for law in laws_of_control:
        assert law.mean.dtype == law.cov.dtype == torch.float32
        assert law.sample((3,), rng).dtype == torch.bfloat16
    # Parameters are not rounded on the way: the law of a policy is that of the same numbers in float32.
    wide = ShiftedScore(VP(), Gaussian(line.float(), cell.float()), reward, 0.5, zero.float() + 0.3)
    half = ShiftedScore(VP(), Gaussian(line, cell), reward, 0.5, (zero.float() + 0.3).to(torch.bfloat16))
    exact = replace(wide, shift=half.shift.float()).terminal_law()
    assert torch.equal(half.terminal_law().mean, exact.mean)


@pytest.mark.parametrize("dtype", HALVES)
def test_values_and_variances_are_not_rounded(dtype: torch.dtype) -> None:
    x, t, line, cell = of(dtype, [[0.5]], [0.5], [0.5], [[1.0]])
    reward, flow = Linear(line), GaussianFlow(line, cell)
    for value in (
        flow.value(x, 0.5, reward, 1.0),
        MetricFlow(flow, torch.eye(1)).value(x, 0.5, reward),
        NoisyFlow(flow, 0.5).value(x, 0.5, reward, 1.0),
        MemorylessFlow(flow).value(x, 0.5, reward, 1.0),
        RegularizedFlow(flow, BallCost(1.0)).value(x, 0.5, reward, 1.0),
        BallCost(1.0).cost(x),
        ElasticCost(1.0).conjugate(x),
        ShiftedScore(VP(), Gaussian(line, cell), reward, 0.5, line).value(x, t),
        LinearFeedback(VP(), Gaussian(line, cell), reward, 0.5, -0.1).value(x, t),
        posterior_variance(VP(), x, t, x),
        gamma_posterior_moment(CIR(1.0, 1.0, 1.0), x, t, 2.0, line, 1),
    ):
        assert value.dtype == torch.float32
