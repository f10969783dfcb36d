"""Laws as distributions of torch and of scipy: against theirs where they have them."""

import numpy as np
import pytest
import scipy.stats
import torch
from torch import distributions as td

from driftproof import UnmetHypothesis
from driftproof.backends.torch.distributions import LawDistribution, from_torch, to_torch
from driftproof.theory.laws import (
    BesselCount,
    Discrete,
    Gamma,
    Gaussian,
    GaussianMixture,
    LogNormal,
    Mixture,
    NoncentralChi2,
    Normal,
    from_scipy,
    kl,
)

MEANS, COV = torch.tensor([[0.5, -1.0], [0.0, 3.0]]).double(), torch.tensor([[2.0, 0.6], [0.6, 1.0]]).double()
TWO = torch.tensor([0.5, 2.0]).double()
NATIVE = [
    td.Normal(TWO, 2.0 * TWO),
    td.LogNormal(TWO, TWO),
    td.Gamma(TWO, 3.0 * TWO),
    td.Exponential(TWO),
    td.Chi2(TWO),
    td.MultivariateNormal(MEANS, COV),
    td.MixtureSameFamily(td.Categorical(torch.tensor([0.3, 0.7]).double()), td.Normal(TWO, 2.0 * TWO)),
    td.MixtureSameFamily(
        td.Categorical(torch.tensor([0.3, 0.7]).double()), td.MultivariateNormal(MEANS, COV)
    ),
]


@pytest.mark.parametrize("theirs", NATIVE, ids=lambda d: type(d).__name__)
def test_are_those_of_torch(theirs):
    ours = to_torch(from_torch(theirs))
    assert (ours.batch_shape, ours.event_shape) == (theirs.batch_shape, theirs.event_shape)
    if not isinstance(theirs, td.MixtureSameFamily):
        assert str(ours.support) == str(theirs.support)
    x = theirs.sample((5,)).abs() + 0.01
    torch.testing.assert_close(ours.log_prob(x), theirs.log_prob(x), rtol=1e-12, atol=1e-12)
    for name in ("mean", "variance", "stddev"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=1e-12, atol=0.0)
    for shape in ((), (3,), (4, 3)):
        assert ours.sample(shape).shape == theirs.sample(shape).shape
    for name, given in (("cdf", x), ("icdf", torch.full_like(x, 0.3)), ("entropy", None)):
        try:
            want = getattr(theirs, name)(*([] if given is None else [given]))
        except NotImplementedError:
            continue
        got = getattr(ours, name)(*([] if given is None else [given]))
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


OTHERS = [
    td.Normal(TWO + 0.25, 3.0 * TWO),
    td.LogNormal(TWO + 0.25, 3.0 * TWO),
    td.Gamma(TWO + 0.25, TWO),
    td.Exponential(3.0 * TWO),
    td.Chi2(TWO + 0.25),
    td.MultivariateNormal(MEANS + 0.25, COV + torch.eye(2).double()),
]


@pytest.mark.parametrize(
    ("theirs", "other"), zip(NATIVE[:6], OTHERS, strict=True), ids=lambda d: type(d).__name__
)
def test_divergences_of_torch_find_ours(theirs, other):
    law = from_torch(theirs)
    ours = to_torch(law)
    want = td.kl_divergence(theirs, other)
    for p, q in ((ours, other), (theirs, to_torch(from_torch(other))), (ours, to_torch(from_torch(other)))):
        torch.testing.assert_close(td.kl_divergence(p, q), want, rtol=1e-10, atol=1e-14)
        torch.testing.assert_close(td.kl_divergence(p, q), kl(law, from_torch(other)), rtol=0.0, atol=0.0)
    joint = td.kl_divergence(
        td.Independent(ours, len(ours.batch_shape)), td.Independent(ours, len(ours.batch_shape))
    )
    assert joint.shape == () and abs(joint) < 1e-13


def test_a_divergence_without_a_closed_form_is_not_implemented_for_torch():
    with pytest.raises(NotImplementedError, match="Normal and Gamma"):
        td.kl_divergence(to_torch(Normal(0.0, 1.0)), to_torch(Gamma(1.0, 1.0)))
    with pytest.raises(NotImplementedError, match="no closed form"):
        td.kl_divergence(to_torch(NoncentralChi2(3.0, 1.0, 1.0)), to_torch(NoncentralChi2(3.0, 2.0, 1.0)))
    with pytest.raises(UnmetHypothesis, match="not singular"):
        td.kl_divergence(to_torch(Gaussian([0.0], [[0.0]])), to_torch(Gaussian([0.0], [[1.0]])))


class TestAdapter:
    def test_what_torch_does_not_have(self):
        law = NoncentralChi2(3.0, TWO, 0.5)
        p = to_torch(law)
        torch.testing.assert_close(p.cdf(p.icdf(TWO / 4.0)), TWO / 4.0, rtol=1e-12, atol=0.0)
        assert p.law == law
        drawn = TWO.clone().requires_grad_()
        assert to_torch(NoncentralChi2(3.0, drawn, 0.5)).rsample((2,)).requires_grad
        with pytest.raises(UnmetHypothesis, match="draws have derivatives"):
            to_torch(BesselCount(0.5, TWO)).rsample()

    def test_points_outside_of_the_support(self):
        """As in torch they are refused where arguments are validated, and have density 0 where not."""
        point = torch.tensor([-1.0]).double()
        law = Gamma(TWO, 1.0)
        with pytest.raises(ValueError, match="x >= 0"):
            to_torch(law, validate_args=True).log_prob(point)
        assert (to_torch(law, validate_args=False).log_prob(point) == -torch.inf).all()
        assert not to_torch(Discrete(TWO)).support.check(point).any()

    def test_draws_come_from_torch(self):
        p = to_torch(Normal(TWO, 1.0))
        torch.manual_seed(3)
        first = p.sample((2,))
        torch.manual_seed(3)
        assert torch.equal(first, p.sample((2,)))
        ours = to_torch(Normal(TWO, 1.0), torch.Generator().manual_seed(3))
        assert not torch.equal(ours.sample((2,)), ours.sample((2,)))

    @pytest.mark.parametrize(
        "law",
        [
            Normal([0.5, 1.0], 1.0),
            NoncentralChi2(3.0, 1.0, 1.0),
            Mixture([0.3, 0.7], Gamma(2.0, [0.5, 3.0])),
            Gaussian([0.5, 1.0], np.eye(2)),
            GaussianMixture([0.3, 0.7], [[0.5, 1.0], [0.0, 0.0]], np.eye(2)),
        ],
        ids=lambda law: type(law).__name__,
    )
    def test_of_numpy_and_expanded(self, law):
        p = to_torch(law)
        q = p.expand((3, *p.batch_shape))
        assert isinstance(q, LawDistribution) and q.batch_shape == (3, *p.batch_shape)
        x = p.sample()
        torch.testing.assert_close(q.log_prob(x), p.log_prob(x).expand(q.batch_shape), rtol=1e-6, atol=1e-6)
        assert q.sample((2,)).shape == (2, *q.batch_shape, *q.event_shape)
        assert p.mean.dtype == (torch.float64 if "Gauss" in type(law).__name__ else p.mean.dtype)

    @pytest.mark.parametrize(
        ("make", "error", "words"),
        [
            (lambda: to_torch(3.0), TypeError, "expected a law"),
            (lambda: from_torch(td.Beta(1.0, 1.0)), UnmetHypothesis, "the distribution is"),
            (lambda: to_torch(Discrete([0.0, 1.0])).expand((2,)), UnmetHypothesis, "the law has rows"),
        ],
    )
    def test_what_is_refused(self, make, error, words):
        with pytest.raises(error, match=words):
            make()


SCIPY = [
    (scipy.stats.norm(0.5, scale=[2.0, 3.0]), Normal(0.5, np.asarray([2.0, 3.0]))),
    (scipy.stats.lognorm(0.5, 0.0, 2.0), LogNormal(np.log(2.0), 0.5)),
    (scipy.stats.gamma(2.5, scale=0.4), Gamma(2.5, 0.4)),
    (scipy.stats.expon(scale=0.4), Gamma(1.0, 0.4)),
    (scipy.stats.chi2(df=3), Gamma(1.5, 2.0)),
    (scipy.stats.ncx2(3.0, nc=2.0, scale=0.5), NoncentralChi2(3.0, 2.0, 0.5)),
]


@pytest.mark.parametrize(("theirs", "law"), SCIPY, ids=lambda v: type(v).__name__)
def test_are_those_of_scipy(theirs, law):
    ours = from_scipy(theirs)
    assert ours == law
    x = np.asarray([-1.0, 0.3, 2.0])[:, None]
    np.testing.assert_allclose(ours.log_prob(x), theirs.logpdf(x) + 0.0 * ours.mean, rtol=1e-12)
    np.testing.assert_allclose(ours.mean, theirs.mean(), rtol=1e-12)


def test_tables_and_vectors_of_scipy():
    table = from_scipy(scipy.stats.rv_discrete(values=([1, 3], [0.25, 0.75])))
    assert table == Discrete([1.0, 3.0], [0.25, 0.75])
    theirs = scipy.stats.multivariate_normal([0.5, 1.0], [[2.0, 0.3], [0.3, 1.0]])
    assert from_scipy(theirs) == Gaussian([0.5, 1.0], [[2.0, 0.3], [0.3, 1.0]])


@pytest.mark.parametrize(
    ("frozen", "error", "words"),
    [
        (scipy.stats.gamma(2.0, loc=1.0), UnmetHypothesis, "loc = 0 of gamma"),
        (scipy.stats.beta(2.0, 1.0), UnmetHypothesis, "the distribution is norm"),
        (scipy.stats.norm, TypeError, "a frozen distribution"),
        (3.0, TypeError, "a frozen distribution"),
    ],
)
def test_what_is_not_ours_is_refused(frozen, error, words):
    with pytest.raises(error, match=words):
        from_scipy(frozen)
