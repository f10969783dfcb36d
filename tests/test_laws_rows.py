"""Laws in rows: shapes and sizes, batches, equality, points outside of the support, lists, torch.func.vmap."""

import numpy as np
import pytest
import torch

from driftproof import UnmetHypothesis
from driftproof.theory.laws import (
    BesselCount,
    Discrete,
    Gamma,
    GammaMixedChi2,
    Gaussian,
    GaussianMixture,
    LogNormal,
    Mixture,
    NoncentralChi2,
    Normal,
    SquaredBesselBridge,
    kl,
    wasserstein2,
)
from driftproof.theory.processes import CIR, VP

HALF_LINE = [
    LogNormal(0.3, 0.5),
    Gamma(2.5, 0.4),
    NoncentralChi2(0.7, 2.0, 0.6),
    GammaMixedChi2(3.0, 2.0, 0.5, 1.0),
    SquaredBesselBridge(3.0, 1.0, 0.5, 2.0),
    BesselCount(0.5, 2.0),
    Mixture([0.3, 0.7], Gamma(2.0, [0.5, 3.0])),
]
MEANS = np.asarray([[0.5, -1.0], [0.0, 3.0], [2.0, 2.0]])
COVS = np.asarray([[[2.0, 0.6], [0.6, 1.0]], [[1.0, 0.0], [0.0, 4.0]], [[0.5, -0.2], [-0.2, 0.3]]])
ROWS = Gaussian(MEANS, COVS)
WEIGHTS = np.asarray([[0.3, 0.7], [1.0, 0.0]])
MIXED = GaussianMixture(WEIGHTS, np.stack([MEANS[:2], MEANS[1:]]), COVS[:2])


def named(law):
    return type(law).__name__


class TestSupport:
    @pytest.mark.parametrize("law", HALF_LINE, ids=named)
    def test_the_density_outside_of_the_half_line_is_0(self, law):
        x = np.asarray([-np.inf, -1.0, 3.0, np.inf])
        got = law.log_prob(x)
        assert got.tolist() == [-np.inf, -np.inf, float(law.log_prob(3.0)), -np.inf]
        with pytest.raises(UnmetHypothesis, match=r"x >=? 0"):
            law.log_prob(x, strict=True)
        assert float(law.log_prob(3.0, strict=True)) == got[2]
        for method in (law.score, getattr(law, "responsibilities", law.score)):
            with pytest.raises(UnmetHypothesis):
                method(-1.0)

    @pytest.mark.parametrize(
        "law", [Normal(1.0, 2.0), Mixture([0.5, 0.5], Normal([0.0, 1.0], 2.0))], ids=named
    )
    def test_and_at_infinity(self, law):
        assert law.log_prob(np.asarray([-np.inf, np.inf])).tolist() == [-np.inf, -np.inf]
        with pytest.raises(UnmetHypothesis, match="x is finite"):
            law.log_prob(np.inf, strict=True)

    @pytest.mark.parametrize("law", [ROWS, MIXED], ids=named)
    def test_and_at_infinity_of_a_space(self, law):
        x = np.zeros((*law.batch_shape, 2))
        x[0, 1] = np.inf
        got = law.log_prob(x)
        assert got[0] == -np.inf
        assert (got[1:] == law.log_prob(0.0 * np.ones(2))[1:]).all()
        with pytest.raises(UnmetHypothesis, match="x is finite"):
            law.log_prob(x, strict=True)
        with pytest.raises(UnmetHypothesis, match="x is finite"):
            law.score(x)

    @pytest.mark.parametrize(
        ("kind", "parameters", "x"),
        [
            (Gamma, (0.5, 1e-300), [-1.0, 2e-300]),  # at 1 the density of this one has no digits
            (Gamma, (2.5, 0.4), [-np.inf, 1.0]),
            (LogNormal, (500.0, 0.5), [0.0, 1e200]),
            (NoncentralChi2, (0.7, 2.0, 1e-200), [-1.0, 2e-200]),
            (Normal, (1.0, 1e-200), [np.inf, 1.0]),
        ],
    )
    def test_gradients_are_those_of_the_points_inside(self, kind, parameters, x):
        theta = torch.tensor(parameters, dtype=torch.float64, requires_grad=True)
        points = torch.tensor(x, dtype=torch.float64, requires_grad=True)
        values = kind(*theta).log_prob(points)
        assert values[0] == -np.inf
        slopes = torch.autograd.grad(values[1], (theta, points), retain_graph=True)
        together = torch.autograd.grad(values, (theta, points), torch.ones(2, dtype=torch.float64))
        assert together[1][0] == 0.0 and torch.equal(together[1][1], slopes[1][1])
        assert torch.equal(together[0], slopes[0])

    def test_laws_on_atoms_refuse_what_is_none_when_strict(self):
        for law in (Discrete([0.0, 1.0], [1.0, 0.0]), BesselCount(0.5, 2.0)):
            assert law.log_prob(0.5) == -np.inf
            with pytest.raises(UnmetHypothesis, match=r"atom|integer"):
                law.log_prob(0.5, strict=True)
        with pytest.raises(UnmetHypothesis, match="x is an atom"):
            Discrete([0.0, 1.0], [1.0, 0.0]).log_prob(1.0, strict=True)


class TestShapes:
    @pytest.mark.parametrize("law", [*HALF_LINE, ROWS, MIXED, Discrete(MEANS), Discrete(MEANS[0])], ids=named)
    def test_an_integer_is_a_shape(self, law):
        draws = law.sample(4, 1)
        assert draws.shape == (4, *law.batch_shape, *law.event_shape)
        assert np.array_equal(draws, law.sample((4,), 1))
        assert law.sample((2, 3), 1).shape == (2, 3, *law.batch_shape, *law.event_shape)
        assert law.sample((), 1).shape == law.batch_shape + law.event_shape
        assert law.sample(np.int64(0), 1).shape[0] == 0

    @pytest.mark.parametrize("bad", [1.5, True, "2", None, (2, 0.5)])
    def test_and_nothing_else_is(self, bad):
        with pytest.raises(TypeError, match="Normal: expected an integer for shape"):
            Normal(0.0, 1.0).sample(bad, 0)
        with pytest.raises(UnmetHypothesis, match="shape >= 0"):
            ROWS.sample((2, -1), 0)

    def test_parameters_make_the_batch(self):
        assert Normal(np.zeros((3, 1)), np.ones(4)).batch_shape == (3, 4)
        assert Normal(torch.zeros(2), 1.0).batch_shape == (2,)
        assert Mixture(WEIGHTS, Normal(np.zeros((5, 1, 2)), 1.0)).batch_shape == (5, 2)
        assert Discrete(MEANS).event_shape == (2,)

    def test_lists_are_points_of_every_law(self):
        law = Mixture([0.3, 0.7], Gamma(2.0, [0.5, 3.0]))
        for method in (law.log_prob, law.score, law.responsibilities, law.cdf, law.sf):
            np.testing.assert_array_equal(method([0.5, 2.0]), method(np.asarray([0.5, 2.0])))
        assert law.icdf([0.5]).shape == (1,) and law.cdf(0.5).shape == ()


class TestRows:
    def test_gaussian_laws_are_row_by_row_what_each_is(self):
        x = np.random.default_rng(0).normal(size=(5, 1, 2))
        other = Gaussian([0.1, 0.2], COVS[1:2])
        for k, (mean, cov) in enumerate(zip(MEANS, COVS, strict=True)):
            alone = Gaussian(mean, cov)
            for method in ("log_prob", "score"):
                np.testing.assert_allclose(
                    getattr(ROWS, method)(x)[:, k], getattr(alone, method)(x)[:, 0], rtol=1e-13
                )
            for got, want in ((ROWS.entropy(), alone.entropy()), (ROWS.variance, alone.variance)):
                np.testing.assert_allclose(got[k], want, rtol=1e-14)
            for distance in (kl, wasserstein2):
                want = distance(alone, Gaussian([0.1, 0.2], COVS[1]))
                np.testing.assert_allclose(distance(ROWS, other)[k], want, rtol=1e-12)
                np.testing.assert_allclose(distance(other, ROWS)[k], distance(Gaussian([0.1, 0.2], COVS[1]), alone), rtol=1e-12)  # fmt: skip
        shared = Gaussian(MEANS, COVS[0])
        assert shared.entropy().shape == shared.log_prob([0.0, 0.0]).shape == (3,)
        assert Gaussian(MEANS[0], COVS).mean.shape == (2,)

    def test_draws_of_rows_have_their_moments(self):
        """With four signs for normal numbers the moments of draws are those of the law to rounding."""
        eye = np.concatenate([np.eye(2), -np.eye(2)])

        class Signs(np.random.Generator):
            def standard_normal(self, size):  # type: ignore[override]
                return np.broadcast_to(np.sqrt(2.0) * eye[:, None, :], size)

        draws = ROWS.sample(4, Signs(np.random.PCG64(0)))
        np.testing.assert_allclose(draws.mean(axis=0), MEANS, atol=1e-14)
        away = draws - MEANS
        np.testing.assert_allclose(np.einsum("nbi,nbj->bij", away, away) / 4.0, COVS, atol=1e-14)

    def test_mixtures_are_row_by_row_what_each_is(self):
        x = np.random.default_rng(0).normal(size=(5, 1, 2))
        for k in range(2):
            alone = GaussianMixture(WEIGHTS[k], MIXED.means[k], COVS[:2])
            for method in ("log_prob", "score"):
                np.testing.assert_allclose(
                    getattr(MIXED, method)(x)[:, k], getattr(alone, method)(x)[:, 0], rtol=1e-13
                )
            np.testing.assert_allclose(MIXED.cov[k], alone.cov, rtol=1e-14)
            np.testing.assert_allclose(MIXED.mean[k], alone.mean, rtol=1e-14)

    def test_mixtures_on_the_line_too(self):
        locs, p = np.asarray([[-1.0, 2.0], [0.5, 9.0]]), np.asarray([0.1, 0.6])
        law = Mixture(WEIGHTS, Normal(locs, [0.5, 1.0]))
        for k in range(2):
            alone = Mixture(WEIGHTS[k], Normal(locs[k], [0.5, 1.0]))
            for method in ("log_prob", "score", "cdf", "sf", "icdf", "isf"):
                points = p[:, None] if method[0] == "i" else locs[:, :1]
                np.testing.assert_allclose(
                    getattr(law, method)(points)[:, k], getattr(alone, method)(points[:, 0]), rtol=1e-12
                )
            np.testing.assert_allclose(law.variance[k], alone.variance, rtol=1e-14)

    def test_draws_of_a_row_come_from_its_own_components(self):
        """A row with one component draws from it alone, and each component of a row where its weight is 1."""
        line = Mixture(np.eye(3)[[2, 0]], Normal(np.asarray([[0.0, 10.0, 20.0], [50.0, 60.0, 70.0]]), 0.1))
        assert np.max(np.abs(line.sample(50, 0) - [20.0, 50.0])) < 2.0
        space = GaussianMixture(np.eye(3)[[2, 0]], 10.0 * np.arange(12.0).reshape(2, 3, 2), 1e-2 * np.eye(2))
        assert np.max(np.abs(space.sample(50, 0) - [[40.0, 50.0], [60.0, 70.0]])) < 2.0
        shared = Mixture(np.eye(3)[[2, 0]], Normal([0.0, 10.0, 20.0], [0.1]))
        assert np.max(np.abs(shared.sample((50,), 0) - [20.0, 0.0])) < 2.0

    def test_marginals_come_in_rows_of_time(self):
        t, process = np.asarray([0.1, 0.6]), VP()
        x = np.asarray([0.3, -0.2])
        for data in (Gaussian(MEANS[0], COVS[0]), GaussianMixture([0.5, 0.5], MEANS[:2], COVS[:2]), Discrete(MEANS)):  # fmt: skip
            rows = process.marginal(data, t)
            assert rows.batch_shape == (2,)
            want = [process.marginal(data, float(s)).log_prob(x) for s in t]
            np.testing.assert_allclose(rows.log_prob(x), want, rtol=1e-13)
        rows = CIR(1.0, 0.5, 1.0).marginal(Discrete([0.0, 1.0]), t)
        assert rows.sample(3, 0).shape == (3, 2)

    @pytest.mark.parametrize(
        ("make", "words"),
        [
            (lambda: Gaussian(MEANS, COVS[:2]), "rows that fit together"),
            (lambda: GaussianMixture(WEIGHTS, MEANS, COVS), r"weights \(..., K\)"),
            (lambda: Mixture(WEIGHTS, Normal(np.zeros(3), 1.0)), "rows that fit"),
            (lambda: Mixture([1.0], Normal(np.zeros(3), 1.0)), "as many weights as components"),
            (lambda: Mixture([[0.5, 0.5], [0.5, 0.6]], Normal(0.0, 1.0)), r"sum = 1\.1"),
            (lambda: Gaussian(MEANS, [COVS[0], COVS[1], -COVS[2]]), "semi-definite"),
            (lambda: Gaussian(MEANS, [1e9 * COVS[0], COVS[1], [[1.0, 1e-7], [0.0, 1.0]]]), "symmetric"),
            (lambda: Gaussian(MEANS, [COVS[0], COVS[1], 0.0 * COVS[2]]).log_prob([0.0, 0.0]), "not singular"),
            (lambda: ROWS.log_prob([0.0]), r"x \(..., 2\)"),
            (lambda: ROWS.log_prob(np.zeros((2, 2))), "rows that fit together"),
            (lambda: Discrete(MEANS).log_prob([0.0]), r"x \(..., 2\)"),
            (lambda: kl(ROWS, Gaussian([0.0], [[1.0]])), "one space"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, make, words):
        with pytest.raises(UnmetHypothesis, match=words):
            make()


class TestEquality:
    def test_is_by_value(self):
        assert Normal([0.0, 1.0], 2.0) == Normal(np.asarray([0.0, 1.0]), 2.0)
        assert Normal(torch.tensor([0.0, 1.0], dtype=torch.bfloat16), 2.0) == Normal([0.0, 1.0], 2.0)
        assert Gaussian(MEANS, COVS) == Gaussian(MEANS.copy(), COVS.copy()) != Gaussian(MEANS, 2.0 * COVS)
        assert Mixture([0.3, 0.7], Gamma(2.0, [0.5, 3.0])) == Mixture([0.3, 0.7], Gamma(2.0, [0.5, 3.0]))
        assert Mixture([0.3, 0.7], Gamma(2.0, [0.5, 3.0])) != Mixture([0.3, 0.7], Gamma(2.0, [0.5, 3.1]))

    def test_not_by_family_or_shape(self):
        assert Normal(0.0, 1.0) != LogNormal(0.0, 1.0)
        assert Normal(0.0, 1.0) != Normal([0.0], 1.0)
        assert Normal(0.0, 1.0) != "Normal(0.0, 1.0)"

    def test_and_what_may_change_has_no_hash(self):
        with pytest.raises(TypeError, match="unhashable"):
            hash(Normal(0.0, 1.0))


class TestLists:
    """What came as lists, beside no array, is in the namespace of the points."""

    LAWS = (
        Normal([0.5, 1.0], 2.0),
        Gamma([0.5, 1.0], [2.0, 1.0]),
        Mixture([0.3, 0.7], Gamma(2.0, [0.5, 3.0])),
        Gaussian([0.5, 1.0], [[2.0, 0.0], [0.0, 1.0]]),
        GaussianMixture([1.0], [[0.5, 1.0]], [[2.0, 0.0], [0.0, 1.0]]),
        Discrete([0.5, 2.0]),
    )

    @pytest.mark.parametrize("law", LAWS, ids=named)
    def test_they_follow_the_points(self, law):
        x = torch.tensor([0.5, 2.0], dtype=torch.float32)
        got = law.log_prob(x)
        assert got.dtype == torch.float32
        np.testing.assert_allclose(got, law.log_prob(x.double().numpy()), rtol=2e-6)
        if not isinstance(law, GaussianMixture):
            assert law.cdf(x).dtype == torch.float32
        assert not isinstance(law.log_prob([0.5, 2.0]), torch.Tensor)

    # Arrays of gamma laws and of their mixtures have no marginal.
    @pytest.mark.parametrize("law", [LAWS[0], *LAWS[3:]], ids=named)
    def test_and_times(self, law):
        process = VP()
        noised = process.marginal(law, torch.tensor(0.5, dtype=torch.float64))
        assert isinstance(noised.sample(2, 0), torch.Tensor)
        assert np.array_equal(noised.mean, process.marginal(law, 0.5).mean)

    def test_and_each_other(self):
        weights = torch.tensor([0.3, 0.7], dtype=torch.float32)
        draws = Mixture(weights, Gamma(2.0, [0.5, 3.0])).sample(3, 0)
        assert draws.dtype == torch.float32
        assert Mixture([0.3, 0.7], Gamma(2.0, weights)).sample(3, 0).dtype == torch.float32

    def test_arrays_do_not_follow(self):
        with pytest.raises(TypeError, match="one namespace"):
            Normal(np.zeros(2), 1.0).log_prob(torch.zeros(2))


class TestMapped:
    """torch.func.vmap over points and parameters is the loop."""

    POINTS = torch.tensor([0.2, 0.9], dtype=torch.float64)
    CASES = (
        (Normal, (torch.tensor([0.5, 1.0]), torch.tensor([2.0, 0.3]))),
        (LogNormal, (torch.tensor([0.5, 1.0]), torch.tensor([2.0, 0.3]))),
        (Gamma, (torch.tensor([0.5, 3.0]), torch.tensor([2.0, 0.3]))),
        (NoncentralChi2, (torch.tensor([0.5, 3.0]), torch.tensor([2.0, 0.3]), torch.tensor([1.0, 0.1]))),
    )

    @pytest.mark.parametrize(("kind", "parameters"), CASES, ids=[kind.__name__ for kind, _ in CASES])
    @pytest.mark.parametrize("method", ["log_prob", "score", "mean", "std"])
    def test_elementwise_laws(self, kind, parameters, method):
        self.mapped_is_looped(kind, parameters, method)

    @pytest.mark.slow(ci=True)
    @pytest.mark.parametrize(("kind", "parameters"), CASES, ids=[kind.__name__ for kind, _ in CASES])
    @pytest.mark.parametrize("method", ["cdf", "sf", "icdf", "isf"])
    def test_tails_and_quantiles(self, kind, parameters, method):
        self.mapped_is_looped(kind, parameters, method)

    def mapped_is_looped(self, kind, parameters, method):
        def ask(x, *parameters):
            asked = getattr(kind(*parameters), method)
            return asked(x) if callable(asked) else asked

        values = tuple(p.double() for p in parameters)
        mapped = torch.func.vmap(ask)(self.POINTS, *values)
        looped = torch.stack([ask(*each) for each in zip(self.POINTS, *values, strict=True)])
        torch.testing.assert_close(mapped, looped, rtol=1e-10, atol=0.0)

    def test_values_are_checked_in_every_example(self):
        with pytest.raises(UnmetHypothesis, match="scale > 0"):
            torch.func.vmap(lambda s: Normal(0.0, s).log_prob(1.0))(torch.tensor([1.0, -1.0]))
        with pytest.raises(UnmetHypothesis, match="no NaN"):
            torch.func.vmap(lambda x: Normal(0.0, 1.0).log_prob(x))(torch.tensor([1.0, torch.nan]))

    @pytest.mark.slow(ci=True)
    def test_outside_of_the_support_and_under_two_transformations(self):
        x = torch.tensor([-1.0, 0.5], dtype=torch.float64)
        ask = torch.func.vmap(lambda x: Gamma(2.5, 0.4).log_prob(x))
        assert ask(x)[0] == -np.inf
        slopes = torch.func.vmap(torch.func.grad(lambda x: Gamma(2.5, 0.4).log_prob(x)))(x)
        np.testing.assert_allclose(slopes, [0.0, float(Gamma(2.5, 0.4).score(0.5))], rtol=1e-13)

    def test_laws_on_spaces_and_mixtures(self):
        means, covs = torch.as_tensor(MEANS), torch.as_tensor(COVS)
        x = torch.zeros(2, dtype=torch.float64)
        mapped = torch.func.vmap(lambda m, c: Gaussian(m, c).log_prob(x))(means, covs)
        np.testing.assert_allclose(mapped, ROWS.log_prob(np.zeros(2)), rtol=1e-13)
        weights = torch.as_tensor(WEIGHTS)
        for method in ("log_prob", "score", "cdf", "icdf"):

            def ask(w, loc, x=0.4, method=method):
                return getattr(Mixture(w, Normal(loc, 1.0)), method)(x)

            mapped = torch.func.vmap(ask)(weights, means[:2])
            looped = torch.stack([ask(w, m) for w, m in zip(weights, means, strict=False)])
            torch.testing.assert_close(mapped, looped, rtol=1e-10, atol=0.0)
        atoms = torch.func.vmap(lambda a: Discrete(a).log_prob(a[0]))(means)
        np.testing.assert_allclose(atoms.exp(), [0.5, 0.5, 1.0], rtol=1e-14)
