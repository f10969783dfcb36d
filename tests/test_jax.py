"""jax, the third namespace: every public function compiled, mapped and differentiated, as numpy and torch have it.

The functions themselves are traced, not their kernels: shapes and dtypes are checked while jax traces, values where
there are numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np
import pytest

from driftproof import UnmetHypothesis, check_values
from driftproof._namespace import holds, known
from driftproof.theory.laws import Gamma, Gaussian, Mixture, NoncentralChi2, Normal
from driftproof.theory.laws.bessel_count import BesselCount
from driftproof.theory.special import gammaln, mills
from driftproof.validation.inventory import of_kind
from tests.namespace_calls import CALLS
from tests.parity import checks
from tests.parity.cases import table
from tests.parity.rows import Sample
from tests.parity.subjects import Subject, subjects
from tests.parity.traced import UNTRACEABLE
from tests.test_namespaces import leaves

jax = pytest.importorskip("jax")
jnp = jax.numpy
pytestmark = pytest.mark.usefixtures("double_precision_of_jax")

SUBJECTS, ROWS = subjects(), table()
FUNCTIONS = {entry.name: entry for entry in of_kind("function")}
KNOWN = sorted((SUBJECTS.keys() & ROWS.keys()) - UNTRACEABLE.keys())
DETERMINISTIC = [name for name in KNOWN if not SUBJECTS[name].capabilities.random]
DIFFERENTIABLE = [name for name in DETERMINISTIC if SUBJECTS[name].capabilities.differentiates != ()]
REPRESENTATIVE = [
    "theory.special.normal.mills",
    "theory.tweedie.first_order.conditional_score",
    "numerics.samplers.gddim.gddim_step",
]
# Two are over the bound, by a factor of 2.6 and of 1.2 where it was seen: lgamma, which the bound leaves out and of
# which XLA's is off by some ten roundings, and the logarithm of a normal tail, of which the reason is not known.
OFF = {"theory.special.gamma.gammaln": 4.0, "theory.special.normal.log_ndtr": 4.0}


def compiled(subject: Subject, sample: Sample, **more: Any) -> list[np.ndarray]:
    """What the jitted public function returns."""
    given = {k: jnp.asarray(v) for k, v in checks.arrays_of(sample).items()}
    rest = {k: v for k, v in sample.items() if k not in given}

    def function(*values: Any) -> Any:
        return checks.tuple_of(subject(**{**rest, **more, **dict(zip(given, values, strict=True))}))

    return [np.asarray(result) for result in jax.jit(function)(*given.values())]


def near(name: str, sample: Sample, ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    """Within the bound between two correct computations, for a compiler that contracts and reorders."""

    def allowed() -> list[np.ndarray]:
        bounds = checks.bounds_of(SUBJECTS[name], ROWS[name], sample, ours, everything=True)
        return [OFF.get(name, 1.0) * part for part in bounds]

    checks.within(ours, theirs, allowed, sample)


def jit_is_numpy(name: str) -> None:
    subject, row = SUBJECTS[name], ROWS[name]
    sample = row.samples[0]
    if subject.capabilities.random:
        key = jax.random.key(3)
        first, again = compiled(subject, sample, rng=key), compiled(subject, sample, rng=key)
        like = checks.tuple_of(checks.call(subject, row, sample))
        for one, other, ours in zip(first, again, like, strict=True):
            assert one.shape == ours.shape and np.isfinite(one).all() and (one == other).all()
        return
    near(name, sample, checks.run(subject, row, sample, np.asarray), compiled(subject, sample))


def vmap_is_the_loop(name: str) -> None:
    subject, row = SUBJECTS[name], ROWS[name]
    sample = row.samples[0]
    given = {k: jnp.asarray(v) for k, v in checks.arrays_of(sample).items()}
    mapped = [k for k in given if k not in row.shared]
    fixed = {k: given[k] for k in row.shared if k in given}
    rest = {k: v for k, v in sample.items() if k not in given}
    chosen = {k: sample[k][:3] for k in mapped}
    if row.whole:
        other = {k: sample[k][::-1] for k in mapped}
        try:
            checks.call(subject, row, {**sample, **other})
        except UnmetHypothesis:  # a grid that falls, say: a case of its own is not made by turning it round
            other = {k: sample[k] for k in mapped}
        chosen = {k: np.stack([sample[k], other[k]]) for k in mapped}

    def function(*values: Any) -> Any:
        return checks.tuple_of(subject(**{**rest, **fixed, **dict(zip(mapped, values, strict=True))}))

    batch = [jnp.asarray(v.copy()) for v in chosen.values()]
    together = [np.asarray(part) for part in jax.jit(jax.vmap(function))(*batch)]
    if not row.whole:  # its arrays are a batch of cases already
        cases = {**sample, **chosen}
        near(name, cases, checks.run(subject, row, cases, np.asarray), together)
        return
    for k in range(batch[0].shape[0]):
        one = {**sample, **{name: value[k] for name, value in chosen.items()}}
        near(name, one, checks.run(subject, row, one, np.asarray), [part[k] for part in together])


def gradient_is_that_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    subject, row = SUBJECTS[name], ROWS[name]
    arguments, named = checks.gently(row, row.samples[0]), subject.capabilities.differentiates
    smooth = [k for k in checks.arrays_of(arguments) if named is None or k in named]

    def total(xp: Any, convert: Callable[..., Any]) -> Callable[..., Any]:
        fixed = {k: convert(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()}

        def function(*values: Any) -> Any:
            parts = checks.tuple_of(subject(**{**fixed, **dict(zip(smooth, values, strict=True))}))
            weighed = [part * convert(np.cos(np.arange(part.reshape(-1).shape[0]))).reshape(part.shape)
                       for part in parts if "float" in str(part.dtype)]  # fmt: skip
            return sum(part.sum() for part in weighed)

        return function

    points = [torch.as_tensor(arguments[k]).clone().requires_grad_() for k in smooth]
    value = total(torch, torch.as_tensor)(*points)
    slopes = (
        torch.autograd.grad(value, points, allow_unused=True) if value.requires_grad else [None] * len(points)
    )
    which = tuple(range(len(smooth)))
    found = jax.jit(jax.grad(total(jnp, jnp.asarray), argnums=which))(
        *(jnp.asarray(arguments[k]) for k in smooth)
    )
    for place, slope, got in zip(smooth, slopes, found, strict=True):
        want = np.zeros_like(arguments[place]) if slope is None else slope.numpy()
        # Two programs for one derivative at generic points: a loss of seven of sixteen digits is an error.
        np.testing.assert_allclose(
            np.asarray(got), want, rtol=1e-9, atol=1e-12 * max(1.0, np.abs(want).max())
        )


@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_compiled_mapped_and_differentiated(name: str) -> None:
    jit_is_numpy(name)
    vmap_is_the_loop(name)
    gradient_is_that_of_torch(name)


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("name", KNOWN)
def test_jit_is_numpy(name: str) -> None:
    jit_is_numpy(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_vmap_is_the_loop(name: str) -> None:
    vmap_is_the_loop(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_gradient_is_that_of_torch(name: str) -> None:
    gradient_is_that_of_torch(name)


@pytest.mark.parametrize("name", UNTRACEABLE)
def test_what_cannot_be_traced_says_so(name: str) -> None:
    more = {"rng": jax.random.key(0)} if SUBJECTS[name].capabilities.random else {}
    with pytest.raises(jax.errors.ConcretizationTypeError):
        compiled(SUBJECTS[name], ROWS[name].samples[0], **more)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name, entry in FUNCTIONS.items() if "torch" in entry.namespaces and name in CALLS]
)
def test_what_is_no_kernel_takes_its_arrays_too(name: str) -> None:
    """Not traced: equal numbers, as arrays of jax or of numpy as the function states."""
    expected = leaves(CALLS[name](lambda value: np.asarray(value, dtype=np.float64)))
    found = list(leaves(CALLS[name](lambda value: jnp.asarray(value, dtype=jnp.float64))))
    wanted = {"numpy"} if FUNCTIONS[name].value.capabilities.results == "numpy" else {"jax", "jaxlib"}
    arrays = [part for part in found if array_api_compat.is_array_api_obj(part)]
    assert {type(part).__module__.partition(".")[0] for part in arrays} <= wanted
    for ours, theirs in zip(found, expected, strict=True):
        # Conditions are below 1e3; what iterates stops at 1e-10, or at the same iterate.
        np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-9, atol=1e-9)


class TestBoundary:
    def test_values_are_checked_where_there_are_numbers(self) -> None:
        with pytest.raises(UnmetHypothesis, match="x > 0"):
            gammaln(jnp.asarray([1.0, -1.0]))
        traced = jax.jit(gammaln)(jnp.asarray([3.0, 1.0]))
        assert np.allclose(traced, [np.log(2.0), 0.0], atol=1e-15)

    def test_kinds_are_checked_while_tracing(self) -> None:
        with pytest.raises(TypeError, match="expected a real floating array for x"):
            jax.jit(gammaln)(jnp.asarray([1, 2]))
        with pytest.raises(TypeError, match="one dtype"):
            jax.jit(lambda x: NoncentralChi2(3.0, x, 1.0).log_prob(x.astype(jnp.float32)))(jnp.ones(2))

    def test_nan_is_refused_where_there_are_numbers(self) -> None:
        with pytest.raises(UnmetHypothesis, match="NaN"):
            mills(jnp.asarray([np.nan]))

    @pytest.mark.parametrize("judge", [holds, known])
    def test_other_errors_are_not_taken_for_tracing(self, judge: Callable[[Any], bool]) -> None:
        class Odd:
            def __bool__(self) -> bool:
                raise ValueError("odd")

        with pytest.raises(ValueError, match="odd"):
            judge(Odd())
        with pytest.raises(ValueError, match="ambiguous"):
            judge(np.ones(2))


class TestValuesThatAreAskedFor:
    """Hypotheses on values, which a traced function cannot see, are carried along as its checks."""

    @pytest.mark.parametrize("change", [lambda f: f, jax.vmap, lambda f: jax.grad(lambda x: f(x).sum())])
    def test_an_unmet_hypothesis_is_named_and_a_met_one_is_not(self, change: Callable[..., Any]) -> None:
        asked = jax.jit(check_values(change(gammaln)))
        error, _ = asked(jnp.asarray([1.0, -1.0]))
        with pytest.raises(ValueError, match="gammaln: unmet hypothesis: x > 0"):
            error.throw()
        error, value = asked(jnp.asarray([1.0, 3.0]))
        error.throw()
        assert np.isfinite(value).all()

    def test_no_number_is_refused_too(self) -> None:
        error, _ = jax.jit(check_values(mills))(jnp.asarray([np.nan]))
        with pytest.raises(ValueError, match="mills: unmet hypothesis: z has no NaN"):
            error.throw()

    def test_one_without_words_of_its_own_is_told_by_its_line(self) -> None:
        def density(cov: Any) -> Any:
            return Gaussian(jnp.zeros(2), cov).log_prob(jnp.zeros(2))

        asked = jax.jit(check_values(density))
        error, value = asked(jnp.eye(2))
        assert error.get() is None and np.isclose(value, -np.log(2.0 * np.pi))
        error, _ = asked(jnp.asarray([[1.0, 2.0], [2.0, 1.0]]))
        assert re.search(r"unmet hypothesis: that of gaussian\.py, line \d+ \(if ", error.get())

    def test_nothing_is_checked_that_is_not_asked_for(self) -> None:
        assert "check" not in str(jax.make_jaxpr(gammaln)(jnp.ones(2)))


class TestKeys:
    @pytest.mark.parametrize(
        ("law", "same", "other"),
        [
            (lambda j: Normal(j(1.0), 2.0), Normal(1.0, 2.0), Normal(1.0, 2.3)),
            *(
                pytest.param(*case, marks=pytest.mark.slow(ci=True))
                for case in (
                    (lambda j: Gamma(j(0.3), 2.0), Gamma(0.3, 2.0), Gamma(0.35, 2.0)),
                    (
                        lambda j: NoncentralChi2(3.0, j(2.0), 0.5),
                        NoncentralChi2(3.0, 2.0, 0.5),
                        NoncentralChi2(3.0, 2.5, 0.5),
                    ),
                    (
                        lambda j: Mixture(j([0.3, 0.7]), Normal(j([-2.0, 1.0]), j([0.5, 1.0]))),
                        Mixture([0.3, 0.7], Normal([-2.0, 1.0], [0.5, 1.0])),
                        Normal(0.1, 1.6),
                    ),
                )
            ),
        ],
        ids=["normal", "gamma", "noncentral", "mixture"],
    )
    def test_draws_follow_the_law(self, law: Callable[[Any], Any], same: Any, other: Any) -> None:
        """Kolmogorov's distance of 20,000 draws is within Massart's bound at 1e-9, and outside for a wrong law.

        Numpy judges: the distribution functions of jax are compared with its own elsewhere.
        """
        n = 20_000
        bound = math.sqrt(math.log(2e9) / (2.0 * n))
        draws = np.sort(np.asarray(law(jnp.asarray).sample((n,), jax.random.key(1))))
        steps = np.arange(n + 1) / n
        for asked, right in ((same, True), (other, False)):
            values = np.asarray(asked.cdf(draws))
            distance = max((steps[1:] - values).max(), (values - steps[:-1]).max())
            assert bool(distance < bound) is right, (asked, distance, bound)

    def test_old_keys_draw_too(self) -> None:
        law, n = Normal(jnp.asarray(1.0), 2.0), 1000
        draws = np.asarray(law.sample((n,), jax.random.PRNGKey(3)))
        assert abs(draws.mean() - 1.0) < 6.0 * 2.0 / math.sqrt(n) and np.unique(draws).size == n

    def test_counts_are_not_those_of_jax(self) -> None:
        """Its own have 1.3 times the standard deviation at this rate."""
        from driftproof._random import source

        rate = 1e9
        draws = np.asarray(source(jax.random.key(2)).poisson(jnp.full((4000,), rate)))
        assert abs(draws.std() / rate**0.5 - 1.0) < 6.0 / 8000**0.5
        theirs = np.asarray(jax.random.poisson(jax.random.key(2), rate, (4000,)), dtype=float)
        assert theirs.std() / rate**0.5 > 1.2, "jax draws counts well by now: take its own"

    @pytest.mark.slow(ci=True)
    def test_the_same_key_is_the_same_draws_traced_or_not(self) -> None:
        def draw(key: Any) -> Any:
            law = NoncentralChi2(0.5, jnp.asarray([0.0, 40.0]), 1.0)
            return law.sample((3,), key)

        key = jax.random.key(5)
        assert (np.asarray(draw(key)) == np.asarray(jax.jit(draw)(key))).all()
        assert jax.vmap(draw)(jax.random.split(key, 4)).shape == (4, 3, 2)

    def test_where_a_key_does_not_fit(self) -> None:
        with pytest.raises(TypeError, match="beside numpy arrays, got a key of jax"):
            Normal(np.zeros(2), 1.0).sample((3,), jax.random.key(0))
        with pytest.raises(TypeError, match="a key of jax or an int"):
            Normal(0.0, 1.0).sample((3,), jnp.zeros(2))

    def test_no_rejection_is_traced(self) -> None:
        with pytest.raises(jax.errors.ConcretizationTypeError):
            jax.jit(lambda key: BesselCount(0.5, jnp.asarray(2.0)).sample((2,), key))(jax.random.key(0))
