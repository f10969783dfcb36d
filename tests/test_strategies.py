"""Strategies: everything that they draw is legal, and the edges that they promise are met."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

from driftproof import UnmetHypothesis
from driftproof._namespace import numpy_namespace, require
from driftproof.theory import laws
from driftproof.theory.laws import AbstractLaw, Discrete, Gamma, Mixture
from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, Flow
from driftproof.validation import strategies as dp

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PROCESSES = [VP(), VE(), Flow(), GBM(0.1, 0.5), BESQ(0.5), CIR(1.0, 0.1, 1.0)]
KINDS = [
    laws.Normal,
    laws.LogNormal,
    laws.Gamma,
    laws.NoncentralChi2,
    laws.GammaMixedChi2,
    laws.Mixture,
    laws.Discrete,
    laws.Gaussian,
    laws.GaussianMixture,
]


@quick
@given(x=dp.positive(1e-3, 50.0), t=dp.times(), d=dp.dimensions())
def test_numbers_stay_in_their_range(x: float, t: float, d: float) -> None:
    assert 1e-3 <= x <= 50.0
    assert 1e-6 <= t <= 1e3
    assert 0.05 <= d <= 60.0


@quick
@given(data=st.data(), domain=st.sampled_from(["finite", "> 0", ">= 0", "in [0, 1]"]))
def test_arrays_lie_in_their_domain(data: st.DataObject, domain: str) -> None:
    x = data.draw(dp.float_arrays(st.sampled_from([(), (4,), (2, 3)]), domain))
    require(numpy_namespace, "test", "x", x, domain)
    assert x.dtype == np.float64 and (np.abs(x) <= 1e6).all()


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16", "float16"])
def test_arrays_of_torch(dtype: str) -> None:
    torch = pytest.importorskip("torch")

    @quick
    @given(dp.float_arrays((2, 2), "> 0", "torch", dtype, low=1e-3, high=1e3))
    def check(x: object) -> None:
        assert isinstance(x, torch.Tensor) and x.dtype == getattr(torch, dtype)
        assert bool((x > 0).all()) and bool(torch.isfinite(x).all())

    check()


@quick
@given(k=st.integers(1, 6), data=st.data())
def test_probabilities_are_weights(k: int, data: st.DataObject) -> None:
    w = data.draw(dp.probabilities(k))
    assert w.shape == (k,) and (w >= 0).all() and abs(w.sum() - 1) < 1e-15 * k + 1e-15
    Discrete(np.arange(float(k)), w)
    assert (data.draw(dp.probabilities(k, zeros=False)) > 0).all()


@quick
@given(d=st.integers(1, 4), data=st.data())
def test_matrices_are_covariances(d: int, data: st.DataObject) -> None:
    laws.Gaussian(np.zeros(d), data.draw(dp.psd_matrices(d)))
    regular = laws.Gaussian(np.zeros(d), data.draw(dp.psd_matrices(d, singular=False)))
    assert np.isfinite(regular.log_prob(np.ones(d)))


@quick
@given(n=st.integers(1, 9), data=st.data())
def test_grids_descend_from_end_to_end(n: int, data: st.DataObject) -> None:
    grid = data.draw(dp.grids(n, 1e-3, 2.0))
    assert grid.shape == (n + 1,) and (np.diff(grid) < 0).all()
    assert grid[0] == 2.0 and grid[-1] == 1e-3


@quick
@given(process=dp.processes(), data=st.data())
def test_processes_have_transitions_from_their_states(process: object, data: st.DataObject) -> None:
    x0 = data.draw(dp.states(process, 3, high=1e3))
    law = process.transition(x0, data.draw(dp.times(1e-4, 0.9)))
    assert np.isfinite(law.mean).all() and (law.variance > 0).all()


@quick
@given(process=dp.processes(), data=st.data())
def test_any_process_has_laws_at_any_of_its_times(process: object, data: st.DataObject) -> None:
    """The strategies fit together as they are: nobody has to know the bounds of each."""
    t = data.draw(dp.times(process=process))
    given_state = process.transition(data.draw(dp.states(process)), t)
    marginal = process.marginal(data.draw(dp.data_laws(process)), t)
    for law in (given_state, marginal):
        assert np.isfinite(law.mean).all() and (np.asarray(law.variance) >= 0).all()


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("kind", KINDS)
def test_laws_are_of_their_class_and_can_be_drawn_from(kind: type[AbstractLaw]) -> None:
    @quick
    @given(dp.laws(kind), st.integers(0, 2**32))
    def check(law: AbstractLaw, seed: int) -> None:
        assert isinstance(law, kind)
        assert np.isfinite(law.mean).all() and (np.asarray(law.variance) >= 0).all()
        assert np.isfinite(law.sample((2,), seed)).all()

    check()


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: type(p).__name__)
def test_data_laws_have_marginals(process: object) -> None:
    @quick
    @given(dp.data_laws(process), dp.times(1e-3, 0.9))
    def check(law: AbstractLaw, t: float) -> None:
        marginal = process.marginal(law, t)
        assert np.isfinite(marginal.mean).all()
        assert np.isfinite(marginal.log_prob(np.asarray([0.5, 2.0]))).all()

    check()


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize(
    ("strategy", "edge"),
    [
        (dp.dimensions(), lambda d: d == 2.0),
        (dp.dimensions(), lambda d: d == 4.0),
        (dp.dimensions(), lambda d: d < 1.0),
        (dp.besq(), lambda p: p.delta < 1.0),
        (dp.cir(), lambda p: 2 * p.kappa * p.theta < p.sigma**2),
        (dp.cir(), lambda p: 2 * p.kappa * p.theta > p.sigma**2),
        (dp.gbm(), lambda p: p.mu == 0.5 * p.sigma**2),
        (dp.gbm(), lambda p: p.mu < 0),
        (dp.processes(), lambda p: isinstance(p, Flow)),
        (dp.processes(), lambda p: isinstance(p, CIR)),
        (dp.states(BESQ(1.0), 2), lambda x: (x == 0).any() and (x > 0).any()),
        (dp.psd_matrices(3), lambda c: np.linalg.matrix_rank(c) == 2),
        (dp.psd_matrices(2), lambda c: c[0, 1] < 0),
        (dp.probabilities(3), lambda w: w.max() == 1.0),
        (dp.data_laws(BESQ(1.0)), lambda law: isinstance(law, Discrete) and (law.atoms == 0).any()),
        (dp.data_laws(BESQ(1.0)), lambda law: isinstance(law, Gamma) and law.shape != 0.5),
        (dp.data_laws(GBM(0.0, 1.0)), lambda law: isinstance(law, Mixture)),
        (dp.grids(4), lambda t: np.ptp(np.diff(np.log(t))) < 1e-12),
    ],
)
def test_edges_are_met(strategy: st.SearchStrategy, edge: object) -> None:
    find(strategy, edge, settings=settings(max_examples=2000, database=None))


@pytest.mark.parametrize("feller", [True, False])
def test_feller_is_kept_or_violated(feller: bool) -> None:
    @quick
    @given(dp.cir(feller=feller))
    def check(process: CIR) -> None:
        assert (2 * process.kappa * process.theta >= process.sigma**2) is feller

    check()


@pytest.mark.parametrize(
    ("call", "hypothesis"),
    [
        (lambda: dp.positive(0.0, 1.0), "0 < low < high"),
        (lambda: dp.float_arrays(2, "even"), "domain is one of"),
        (lambda: dp.float_arrays(2, namespace="jax"), "namespace is numpy or torch"),
        (lambda: dp.float_arrays(2, dtype="bfloat16"), "floating dtype of numpy"),
        (lambda: dp.probabilities(0), "k >= 1"),
        (lambda: dp.psd_matrices(0), "d >= 1"),
        (lambda: dp.grids(0), "n >= 1"),
        (lambda: dp.laws(AbstractLaw), "kind is one of"),
        (lambda: dp.data_laws(None), "process is"),
    ],
)
def test_bad_requests_name_the_hypothesis(call: object, hypothesis: str) -> None:
    with pytest.raises(UnmetHypothesis) as caught:
        call()
    assert hypothesis in caught.value.hypothesis
