"""The theory of hard constraints: where users stand, and the errors that they read."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftproof import UnmetHypothesis
from driftproof.theory import doob
from driftproof.theory.laws import Gaussian, GaussianMixture, Normal
from driftproof.theory.processes import BESQ, VE, VP, Flow

torch = pytest.importorskip("torch")

LINE = Gaussian([0.0], [[1.0]])
PLANE = Gaussian([0.3, -0.2], [[1.5, 0.6], [0.6, 0.8]])
EVENTS = (
    doob.half_space([1.0, 2.0], 0.5),
    doob.Slab([1.0, -1.0], -0.5, 0.25),
    doob.Orthant([[1.0, 0.0], [1.0, 1.0]], [0.4, 0.1]),
    doob.Union([doob.half_space([1.0, 0.0], 1.0), doob.half_space([1.0, 1.0], -1.0, below=True)]),
)


# -- events


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("process", [VP(), VE(), Flow()])
def test_an_event_and_what_it_leaves_out_share_everything(event, process) -> None:
    x, t = np.asarray([[0.2, 0.1], [-1.0, 2.0]]), np.asarray([0.3, 0.8])
    h, rest = (np.exp(doob.log_h(process, PLANE, each, x, t)) for each in (event, event.complement()))
    np.testing.assert_allclose(h + rest, 1.0, rtol=1e-12)
    pull, push = (doob.guidance(process, PLANE, each, x, t) for each in (event, event.complement()))
    np.testing.assert_allclose(h[:, None] * pull + rest[:, None] * push, 0.0, atol=1e-11)
    assert (event.contains(x) != event.complement().contains(x)).all()
    assert event.complement().complement() is event or event.complement().complement() == event


@given(st.floats(-30.0, 30.0), st.floats(0.1, 5.0), st.floats(0.01, 100.0))
def test_the_length_of_a_normal_is_a_matter_of_units(level: float, spread: float, unit: float) -> None:
    law = Gaussian([0.2], [[spread**2]])
    found = [
        float(doob.event_log_probability(law, doob.half_space([c], c * level))) for c in (1.0, unit, -unit)
    ]
    assert found[1] == pytest.approx(found[0], rel=1e-10, abs=1e-12)
    # A negative normal turns the half-space round.
    assert math.exp(found[0]) + math.exp(found[2]) == pytest.approx(1.0, abs=1e-12)


def test_infinite_levels_are_half_spaces_and_everything() -> None:
    everything = doob.Slab([1.0])
    assert float(doob.event_log_probability(LINE, everything)) == 0.0
    assert float(doob.event_log_probability(LINE, everything.complement())) == -math.inf
    np.testing.assert_array_equal(doob.guidance(VP(), LINE, everything, [[3.0]], 0.5), [[0.0]])
    box = doob.Box([-math.inf, 0.0], [math.inf, math.inf])
    unit = Gaussian([0.0, 0.0], np.eye(2))
    assert float(doob.event_log_probability(unit, box)) == pytest.approx(-math.log(2.0), rel=1e-14)
    assert float(doob.event_log_probability(unit, box.complement())) == pytest.approx(
        -math.log(2.0), rel=1e-14
    )


def test_parallel_functionals_of_a_quadrant() -> None:
    """The bivariate law is singular: one functional follows the other, or contradicts it."""
    both = doob.Orthant([[1.0, 0.0], [2.0, 0.0]], [0.5, 3.0])
    one = doob.half_space([1.0, 0.0], 1.5)
    x = [[0.3, 0.4]]
    for f in (doob.log_h, doob.guidance):
        np.testing.assert_allclose(f(VP(), PLANE, both, x, 0.3), f(VP(), PLANE, one, x, 0.3), rtol=1e-11)
    opposite = doob.Orthant([[1.0, 0.0], [-1.0, 0.0]], [0.5, -1.5])
    band = doob.Slab([1.0, 0.0], 0.5, 1.5)
    np.testing.assert_allclose(
        doob.log_h(VP(), PLANE, opposite, x, 0.3), doob.log_h(VP(), PLANE, band, x, 0.3), rtol=1e-11
    )


def test_the_centre_of_a_ball() -> None:
    law, ball = Gaussian([1.0, 1.0], np.eye(2)), doob.Ball([1.0, 1.0], 0.5)
    at = VP().alpha(0.4) * np.ones(2)
    np.testing.assert_array_equal(doob.guidance(VP(), law, ball, at, 0.4), [0.0, 0.0])


# -- the guided process


@pytest.mark.parametrize("process", [VP(), VE(), Flow()])
def test_guidance_vanishes_in_pure_noise_and_is_steep_at_the_data(process) -> None:
    event = doob.half_space([1.0], 1.0)
    late = doob.guidance(process, LINE, event, [[0.5]], 1e-6)
    assert np.isfinite(late).all()
    assert late[0, 0] > 10.0
    end = float(np.abs(doob.guidance(process, LINE, event, [[0.5]], 1.0))[0, 0])
    assert end < 0.05
    if isinstance(process, Flow):
        assert end == 0.0
        found = float(doob.log_h(process, LINE, event, [0.5], 1.0))
        assert found == pytest.approx(float(doob.event_log_probability(LINE, event)), rel=1e-14)


def test_torch_differentiates_h_to_its_guidance() -> None:
    law = GaussianMixture(
        torch.tensor([0.3, 0.7], dtype=torch.float64),
        torch.tensor([[-1.0, 0.0], [0.8, 0.5]], dtype=torch.float64),
        torch.eye(2, dtype=torch.float64),
    )
    point = torch.tensor([[0.2, -0.3], [1.0, 2.0]], dtype=torch.float64, requires_grad=True)
    f64 = {"dtype": torch.float64}
    for event in (
        doob.half_space(torch.tensor([1.0, 2.0], **f64), 3.0),
        doob.Ball(torch.tensor([1.0, 0.0], **f64), 0.7),
        doob.Orthant(torch.tensor([[1.0, 0.0], [1.0, 1.0]], **f64), torch.tensor([0.4, 0.1], **f64)),
        doob.Box(torch.tensor([0.0, -1.0], **f64), torch.tensor([1.0, 1.0], **f64)),
    ):
        value = doob.log_h(VP(), law, event, point, 0.4)
        (slope,) = torch.autograd.grad(value.sum(), point)
        torch.testing.assert_close(
            slope, doob.guidance(VP(), law, event, point.detach(), 0.4), rtol=1e-8, atol=1e-9
        )


def test_single_precision_and_stacks_of_any_shape() -> None:
    event = doob.half_space(np.asarray([1.0, 2.0], dtype=np.float32), 0.5)
    law = Gaussian(np.asarray([0.0, 0.0], dtype=np.float32), np.eye(2, dtype=np.float32))
    x = np.zeros((3, 4, 2), dtype=np.float32)
    t = np.full((3, 4), 0.5, dtype=np.float32)
    assert doob.log_h(VP(), law, event, x, t).dtype == np.float32
    assert doob.guidance(VP(), law, event, x, t).shape == (3, 4, 2)
    far = doob.half_space(np.asarray([1.0, 0.0], dtype=np.float32), 35.0)
    assert float(doob.event_log_probability(law, far)) == pytest.approx(-616.974101, rel=1e-5)


def test_mixtures_of_one_component_are_normal() -> None:
    one = GaussianMixture([1.0], [[0.3, -0.2]], [[[1.5, 0.6], [0.6, 0.8]]])
    x = np.asarray([[0.2, 0.1], [-1.0, 2.0]])
    for event in EVENTS:
        for f in (doob.log_h, doob.guidance, doob.guided_score, doob.conditional_mean):
            np.testing.assert_allclose(f(VP(), one, event, x, 0.4), f(VP(), PLANE, event, x, 0.4), rtol=1e-13)


# -- the clock


@pytest.mark.slow(ci=True)
@given(st.floats(-37.0, 8.0), st.floats(0.0, 1.0))
def test_divergences_are_parts_of_one_whole(z: float, kept: float) -> None:
    parts = [float(f(z, kept)) for f in (doob.path_divergence, doob.start_divergence)]
    whole = -float(doob.log_interval(-z, math.inf))
    assert min(parts) >= 0.0
    assert sum(parts) == pytest.approx(whole, rel=1e-11, abs=1e-15)


@pytest.mark.slow(ci=True)
@given(st.floats(-37.0, 5.0), st.floats(0.0, 0.999))
def test_the_distance_of_the_start_obeys_pinsker(z: float, kept: float) -> None:
    distance = float(doob.start_distance(z, kept))
    assert 0.0 <= distance <= 1.0
    assert distance <= doob.total_variation_bound(float(doob.start_divergence(z, kept))) + 1e-12


@given(st.floats(-20.0, 5.0), st.floats(0.0, 1.0))
def test_labels_and_moments_make_the_probability(z: float, kept: float) -> None:
    p = math.exp(float(doob.log_interval(-z, math.inf)))
    moment = math.exp(float(doob.log_second_moment(z, kept)))
    assert float(doob.label_noise(z, kept)) == pytest.approx(p - moment, rel=1e-9, abs=1e-14 * p)


# -- errors


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: doob.Slab([0.0, 0.0], 0.0, 1.0), "no normal is 0"),
        (lambda: doob.Slab([1.0], 2.0, 1.0), "has an interior"),
        (lambda: doob.Slab([[1.0]], 0.0, 1.0), "normal (d,)"),
        (lambda: doob.Box([0.0], [0.0]), "has an interior"),
        (lambda: doob.Box([0.0], [1.0, 2.0]), "low and high (d,)"),
        (lambda: doob.Ball([0.0], -1.0), "radius"),
        (lambda: doob.Orthant([[1.0, 0.0], [0.0, 0.0]], [0.0, 0.0]), "no normals is 0"),
        (lambda: doob.Orthant([[1.0, 0.0]], [0.0]), "normals (2, d)"),
        (lambda: doob.Union([EVENTS[0]]), "two to 8 events"),
        (lambda: doob.Union([EVENTS[0], doob.Slab([1.0], 0.0)]), "one dimension"),
        (lambda: doob.Union([EVENTS[1], doob.Slab([1.0, 1.0], 0.0, 1.0)]), "parallel, or half-spaces"),
        (lambda: doob.Union([EVENTS[0], EVENTS[2]]), "parts that meet"),
        (lambda: EVENTS[0].contains([1.0]), "x (..., 2)"),
        (lambda: doob.log_h(BESQ(2.0), LINE, doob.Slab([1.0], 0.0), [0.0], 0.5), "VP, VE or Flow"),
        (lambda: doob.log_h(VP(), Normal(0.0, 1.0), doob.Slab([1.0], 0.0), [0.0], 0.5), "Gaussian or"),
        (lambda: doob.log_h(VP(), LINE, doob.Slab([1.0], 0.0), [0.0], 0.0), "t in (0, 1.0]"),
        (lambda: doob.log_h(VP(), LINE, EVENTS[0], [0.0], 0.5), "an event in R^1"),
        (lambda: doob.log_h(VP(), LINE, doob.Slab([1.0], 0.0), [[0.0], [1.0]], [0.5, 0.5, 0.5]), "t ()"),
        (lambda: doob.event_log_probability(PLANE, doob.Box([0.0, 0.0], [1.0, 1.0])), "independent"),
        (lambda: doob.event_log_probability(PLANE, doob.Ball([0.0, 0.0], 1.0)), "multiple of I"),
        (lambda: doob.require_start(VP(0.1, 1.0, 1.0), PLANE), "within 0.01 nats"),
        (lambda: doob.prior_divergence(VP(), Normal(0.0, 1.0)), "the data law is Gaussian"),
        (lambda: doob.guided_divergence_bound(Flow(), lambda t: 0.1), "0 < stop < 1.0"),
        (lambda: doob.guided_divergence_bound(VP(), lambda t: -0.1), "the error is >= 0"),
        (lambda: doob.wasserstein_bound(VP(), -1.0, lambda t: 0.1), "scale > 0"),
        (lambda: doob.total_variation_bound(-0.1), "KL >= 0"),
        (lambda: doob.floor_success_bound(-1.0, 0.0), "floor"),
        (lambda: doob.chain_twists(np.zeros((2, 3, 2)), np.zeros(3)), "log_transitions (N, S, S)"),
        (lambda: doob.log_ball(1.0, 0.0, 0), "d >= 1"),
        (lambda: doob.log_bivariate_ndtr(0.0, 0.0, 1.1), "rho in [-1, 1]"),
    ],
)
def test_errors_name_the_hypothesis(call, says: str) -> None:
    with pytest.raises(UnmetHypothesis) as error:
        call()
    assert says in str(error.value)


def test_an_event_of_another_kind_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="expected"):
        doob.log_h(VP(), LINE, "x > 0", [0.0], 0.5)  # type: ignore[arg-type]
