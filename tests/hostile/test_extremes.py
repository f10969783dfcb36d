"""Extreme values for every law, process and step: no NaN, no foreign error, no endless loop, nothing outside."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest

from driftproof.numerics.samplers import METHODS, forward, reverse, sample
from driftproof.numerics.tweedie.losses import kl_weight
from driftproof.theory.laws import (
    Discrete,
    Gamma,
    GammaMixedChi2,
    Gaussian,
    GaussianMixture,
    LogNormal,
    Mixture,
    NoncentralChi2,
    Normal,
)
from driftproof.theory.laws.bessel_count import BesselCount
from driftproof.theory.laws.bridges import SquaredBesselBridge
from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, Flow
from driftproof.theory.special import hyp1f1_ratio
from driftproof.validation.inventory import of_kind

from .extremes import (
    MODERATE,
    NONNEGATIVE,
    ORDERS,
    POINTS,
    POSITIVE,
    REAL,
    SHAPES,
    TINY,
    Faults,
    grid,
    inside,
)

Attack = Callable[..., None]

ELEMENTWISE: dict[type[Any], dict[str, Any]] = {
    Normal: {"loc": REAL, "scale": POSITIVE},
    LogNormal: {"loc": REAL, "scale": POSITIVE},
    Gamma: {"shape": POSITIVE, "scale": POSITIVE},
    NoncentralChi2: {"df": SHAPES, "nc": NONNEGATIVE, "scale": POSITIVE},
    GammaMixedChi2: {"df": SHAPES, "shape": SHAPES, "mixing": POSITIVE, "scale": POSITIVE},
    BesselCount: {"nu": ORDERS, "z": NONNEGATIVE},
    SquaredBesselBridge: {"delta": SHAPES, "left": NONNEGATIVE, "right": NONNEGATIVE, "scale": POSITIVE},
}
OTHERS = {Discrete, Gaussian, GaussianMixture, Mixture}  # of their own tests below
PROCESSES: dict[type[Any], tuple[Any, ...]] = {
    VP: (VP(), VP(1e-8, 1e-8, 1e3), VP(1e3, 1e3, 1e-3)),
    VE: (VE(), VE(1e-100, 1e100, 1.0), VE(1.0, 1.0 + 2.3e-16, 1.0)),
    Flow: (Flow(),),
    GBM: (GBM(0.3, 0.8), GBM(-1e3, 1e-8), GBM(0.0, 1e3)),
    BESQ: (BESQ(1e-3), BESQ(1.0), BESQ(2.0), BESQ(3.0), BESQ(1e4)),
    CIR: (CIR(1.5, 0.4, 1.0), CIR(1e-8, 1.0, 1e-3), CIR(1e3, 1e-3, 10.0), CIR(2.0, 1e3, 0.1)),
}
STATES = {"finite": REAL, "> 0": POSITIVE, ">= 0": NONNEGATIVE}


def test_every_law_and_process_is_attacked() -> None:
    assert {entry.value for entry in of_kind("law")} == {*ELEMENTWISE, *OTHERS}
    assert {entry.value for entry in of_kind("process")} == set(PROCESSES)


def moderate(*values: Any) -> bool:
    """Whether squares and products of the numbers are still numbers."""
    return all(v == 0.0 or MODERATE[0] <= abs(v) <= MODERATE[1] for value in values for v in np.ravel(value))


def law_under_attack(faults: Faults, label: str, law: Any, *, strict: bool = True) -> None:
    """Every method of a law, at every point of its support.

    Arguments:
        strict: Densities and moments answer as well; where the numbers of a law have no squares, only draws must.
    """
    points = POINTS[getattr(law, "support", "finite")]
    if isinstance(law, BesselCount):
        points = np.floor(points)
    if strict:
        scale = float(getattr(law, "scale", 1.0))  # Bessel arguments hold the point in units of the scale
        with np.errstate(over="ignore", under="ignore"):
            near = points[[moderate(x, x / scale) for x in points]]
        faults.ask(f"{label}: log_prob", lambda: law.log_prob(near))
        if not isinstance(law, BesselCount):
            faults.ask(f"{label}: score", lambda: law.score(near))
        mean, variance = (
            faults.ask(f"{label}: mean", lambda: law.mean),
            faults.ask(f"{label}: variance", lambda: law.variance),
        )
        if mean is not None and variance is not None:
            faults.check(f"{label}: variance {variance}", bool((variance >= 0).all()))
    draws = faults.ask(f"{label}: sample", lambda: law.sample((3,), 0))
    if draws is not None:
        faults.check(f"{label}: draws {draws} outside", inside(draws, getattr(law, "support", "finite")))
        if strict and mean is not None and variance is not None and np.isfinite(mean + variance).all():
            faults.check(f"{label}: infinite draws", bool(np.isfinite(draws).all()))


def made(faults: Faults, label: str, make: Callable[[], Any]) -> list[Any]:
    """The law that ``make`` makes; none where it is refused."""
    laws: list[Any] = []

    def keep() -> float:
        laws.append(make())
        return 0.0

    faults.ask(label, keep)
    return laws


def attack_laws(family: type[Any], most: int) -> Faults:
    faults = Faults()
    for values in grid(ELEMENTWISE[family], most):
        label = f"{family.__name__}({', '.join(f'{k}={v:.17g}' for k, v in values.items())})"
        for law in made(faults, label, functools.partial(family, **values)):
            law_under_attack(faults, label, law, strict=moderate(*values.values()))
    return faults


STEPS: dict[str, Callable[..., Any]] = {
    "sample_transition": lambda p, x0, xt, s, t: forward.sample_transition(p, x0, t, 0),
    "sample_with_count": lambda p, x0, xt, s, t: forward.sample_with_count(p, x0, t, 0)[0],
    "sample_bridge": lambda p, x0, xt, s, t: forward.sample_bridge(p, x0, xt, s, t, 0),
    "bridge_step": lambda p, x0, xt, s, t: reverse.bridge_step(p, xt, t, s, x0, 0),
    "matched_bridge_step": lambda p, x0, xt, s, t: reverse.matched_bridge_step(p, xt, t, s, abs(x0), 0),
    "noncentral_step": lambda p, x0, xt, s, t: reverse.noncentral_step(p, xt, t, s, abs(x0), 0),
}


def attack_process(process: Any, most: int) -> Faults:
    faults, states = Faults(), STATES[process.support]
    times = [t for t in POSITIVE if t <= min(process.last_time, 1e300)]
    for given in grid({"x0": states, "t": times, "xt": states, "part": (1e-16, 1e-3, 0.5, 1.0 - 1e-3)}, most):
        attack_place(faults, process, given["x0"], given["xt"], given["t"] * given["part"], given["t"])
    return faults


def attack_place(faults: Faults, process: Any, x0: float, xt: float, s: float, t: float) -> None:
    """All laws of a process at two states and two times, and all steps between them."""
    label, states = f"{process!r}, x0={x0!r}, xt={xt!r}, s={s!r}, t={t!r}", STATES[process.support]
    data = Discrete(np.asarray([states[1], states[-1]]))
    laws = {
        "transition": lambda: process.transition(x0, t),
        "marginal": lambda: process.marginal(data, t),
        "bridge": lambda: process.bridge(x0, xt, s, t),
    }
    for name, make in laws.items():
        for law in made(faults, f"{label}: {name}", make):
            strict = moderate(x0, xt, s, t, *law.parameters.values())
            law_under_attack(faults, f"{label}: {name}", law, strict=strict)
    for name, step in STEPS.items():
        draws = faults.ask(f"{label}: {name}", functools.partial(step, process, x0, xt, s, t))
        if draws is not None:
            faults.check(f"{label}: {name} {draws} outside", inside(draws, process.support))


@pytest.mark.parametrize("family", ELEMENTWISE, ids=lambda family: family.__name__)
def test_laws(family: type[Any], attack: Attack) -> None:
    """A short form; the whole grid is below."""
    faults = attack_laws(family, 30)
    attack(f"extremes of {family.__name__}", faults.tries, faults.found)


@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.__name__)
def test_processes(process: type[Any], attack: Attack) -> None:
    faults = attack_process(PROCESSES[process][-1], 8)
    attack(f"extremes of {process.__name__}", faults.tries, faults.found)


@pytest.mark.hostile
@pytest.mark.parametrize("family", ELEMENTWISE, ids=lambda family: family.__name__)
def test_laws_at_length(family: type[Any], attack: Attack) -> None:
    faults = attack_laws(family, 4000)
    attack(f"extremes of {family.__name__}, at length", faults.tries, faults.found)


@pytest.mark.hostile
@pytest.mark.parametrize("process", [p for ps in PROCESSES.values() for p in ps], ids=repr)
def test_processes_at_length(process: Any, attack: Attack) -> None:
    faults = attack_process(process, 1000)
    attack(f"extremes of {process!r}, at length", faults.tries, faults.found)


GAUSSIAN = (VP, VE, Flow)
ADMITS = {  # the processes on which a method runs; the others take Gaussian ones
    "euler_maruyama": tuple(PROCESSES),
    "heun": tuple(PROCESSES),
    "gddim": (*GAUSSIAN, GBM),
    "ddim": (*GAUSSIAN, GBM),
    "flow_sde": (Flow,),
    "log_euler": (GBM,),
    "truncated_euler": (BESQ, CIR),
    "noncentral": (BESQ, CIR),
    "matched_bridge": (BESQ, CIR),
    "bridge": tuple(PROCESSES),
}


def attack_sampler(name: str, thin: int) -> Faults:
    """Whole runs of three steps from extreme states, by networks that return 0 and the state."""
    faults, row = Faults(), METHODS[name]
    eta = 1.0 if row.eta is None else row.eta
    for process in (p for kind in ADMITS.get(name, GAUSSIAN) for p in PROCESSES[kind]):
        start = np.asarray(STATES[process.support][::thin])
        last = 0.9 * min(process.last_time, 1.0)
        for share in (0.0, 1.0):
            label = f"{name}, {process!r}, network {share:g} min(|x|, 1000)"
            run = functools.partial(
                sample,
                process,
                lambda x, t, share=share: share * np.minimum(np.abs(x), 1e3),
                [last, 0.5 * last, 0.1 * last],
                eta,
                0,
                name,
                start=start,
                kind=row.wants,
            )
            ends = faults.ask(label, run)
            if ends is not None:
                faults.check(f"{label}: {ends} outside", inside(ends, process.support))
    return faults


@pytest.mark.parametrize("name", METHODS)
def test_samplers(name: str, attack: Attack) -> None:
    faults = attack_sampler(name, 4)
    attack(f"extremes of whole runs, {name}", faults.tries, faults.found)


@pytest.mark.hostile
@pytest.mark.parametrize("name", METHODS)
def test_samplers_at_length(name: str, attack: Attack) -> None:
    faults = attack_sampler(name, 1)
    attack(f"extremes of whole runs, {name}, at length", faults.tries, faults.found)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_bessel_counts_of_every_order_and_argument(dtype: Any, attack: Attack) -> None:
    """All decades at once; z near 1e-161 (1e-22 in float32) rejected for ever."""
    limits = np.finfo(dtype)
    decades = np.logspace(np.log10(float(limits.tiny)) - 5.0, np.log10(float(limits.max)) - 1e-6, 400)
    z = np.concatenate([[0.0, limits.smallest_subnormal], decades]).astype(dtype)
    faults = Faults()
    for nu in (*ORDERS, 1e10):
        draws = faults.ask(f"nu = {nu}", lambda nu=nu: BesselCount(nu, z).sample((4,), 1))
        if draws is not None:
            faults.check(
                f"nu = {nu}: draws",
                bool((np.isfinite(draws) & (draws >= 0) & (draws == np.floor(draws))).all()),
            )
            faults.check(
                f"nu = {nu}: P(N > 0) is 0 there",
                bool((draws[:, z < np.sqrt(limits.tiny * (1.0 + nu))] == 0).all()),
            )
    attack(f"Bessel counts, {np.dtype(dtype).name}", faults.tries * z.size * 4, faults.found)


@pytest.mark.parametrize(("nu", "z"), [(0.0, 1e14), (0.5, 1e16), (1e10, 1e17), (3.0, 1e100)])
def test_large_counts_have_the_moments_of_the_normal_limit(nu: float, z: float) -> None:
    """Mean and deviation by fifty digits, to six of their standard errors (2e-9 each)."""
    with mpmath.workdps(50):
        mode = (mpmath.sqrt(mpmath.mpf(nu) ** 2 + mpmath.mpf(z) ** 2) - nu) / 2
        deviation = mpmath.sqrt(mode * (mode + nu) / (2 * mode + nu))
        draws = [mpmath.mpf(float(n)) for n in BesselCount(nu, np.full(2000, z)).sample((), 4)]
        gaps = np.asarray([float((n - mode) / deviation) for n in draws])
    spacing = float(np.spacing(float(mode)) / deviation)  # beyond 1e31 one unit in the last place is wider
    assert abs(gaps.mean()) < 6.0 / np.sqrt(2000) + spacing
    assert abs(gaps.std() - 1.0) < 6.0 / np.sqrt(4000) + spacing


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_values_at_the_ends() -> None:
    """By mpmath, where intermediate squares, means or densities are no numbers, and the value is."""
    v = mpmath.mpf(1e-50) ** 2
    with mpmath.workdps(60):
        want = mpmath.exp(920 + v) * mpmath.expm1(v)
    assert float(LogNormal(460.0, 1e-50).variance) == pytest.approx(float(want), rel=1e-12)
    assert float(LogNormal(-1e154, 1e16).variance) == 0.0 and float(LogNormal(1e16, TINY).variance) == np.inf
    assert float(Gamma(1.0, TINY).log_prob(1.0)) == -np.inf and float(Gamma(3.0, TINY).score(0.0)) == np.inf
    with mpmath.workdps(50):  # a = 2, b = 26 at x = 24: the second partial sum of the expansion is 0
        ratio = mpmath.hyp1f1(2, 26, 5) / mpmath.hyp1f1(1, 25, 5)
    assert float(hyp1f1_ratio(1.0, 25.0, 5.0)) == pytest.approx(float(ratio), rel=1e-14)


@pytest.mark.parametrize(("delta", "score"), [(0.5, -np.inf), (2.0, None), (3.0, np.inf)])
def test_mixtures_of_the_half_line_at_zero(delta: float, score: float | None) -> None:
    """P(k | 0) is the limit, whether the densities are 0 or infinite there."""
    law = Mixture([0.3, 0.7], NoncentralChi2(delta, np.asarray([0.0, 4.0]), 1.0))
    want = np.asarray([0.3, 0.7 * np.exp(-2.0)])  # the densities begin as e^{-nc/2} times one power
    want = want / want.sum()
    assert law.responsibilities(0.0) == pytest.approx(want, rel=1e-12)
    # At delta = 2 the score is that of exponentials, with the slope nc / 4 of the series.
    slope = float(want @ np.asarray([-0.5, -0.5 + 1.0]))
    assert float(law.score(0.0)) == (pytest.approx(slope, rel=1e-12) if score is None else score)


def test_the_weight_of_geometric_noise_does_not_square_the_state() -> None:
    x = np.asarray([1e-30, 1.0, 1e30], dtype=np.float32)
    weight = kl_weight(GBM(0.3, 0.5), x, np.float32(1.0) * np.ones_like(x), "log_score")
    assert weight == pytest.approx(0.25, rel=1e-5)


def test_gaussians_on_the_plane(attack: Attack) -> None:
    faults = Faults()
    for size in (1e-300, 1e-150, 1e-8, 1.0, 1e8, 1e150, 1e300):
        for center in (0.0, 1e-300, 1.0, 1e300):
            label, mean = f"size {size}, center {center}", np.asarray([center, -center])
            cov = size * np.asarray([[2.0, 1.0], [1.0, 2.0]])
            for law in made(faults, label, functools.partial(Gaussian, mean, cov)):
                law_under_attack_at(faults, label, law, mean)
            means = np.stack([mean, -mean])
            for law in made(
                faults, label, functools.partial(GaussianMixture, np.asarray([0.25, 0.75]), means, cov)
            ):
                law_under_attack_at(faults, f"{label}, mixture", law, mean)
    attack("extremes of Gaussians", faults.tries, faults.found)


def law_under_attack_at(faults: Faults, label: str, law: Any, point: Any) -> None:
    answers = {
        "log_prob": lambda: law.log_prob(point),
        "score": lambda: law.score(point),
        "variance": lambda: law.variance,
        "sample": lambda: law.sample((3,), 0),
    }
    for name, ask in answers.items():
        faults.ask(f"{label}: {name}", ask)
