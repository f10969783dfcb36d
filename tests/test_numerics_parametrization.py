"""One table of eight parametrizations: against posterior means in closed form, at both ends, in every precision."""

import math

import mpmath
import numpy as np
import pytest
import torch

from driftproof import UnmetHypothesis
from driftproof.numerics.samplers.parametrization import (
    DIFFUSERS,
    admitted,
    convert,
    data_and_noise,
    from_score,
    output_of,
    to_score,
)
from driftproof.numerics.tweedie import kl_weight, target
from driftproof.theory.laws import Gamma, LogNormal
from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, Flow

MEAN, VARIANCE = 0.7, 0.3  # of Gaussian data
END = 2.0**-18
CASES = (
    *((VP(0.1, 20.0, 1.0), t) for t in (END, 0.3, 1.0)),
    *((VE(0.01, 50.0, 1.0), t) for t in (END, 0.5, 1.0)),
    *((Flow(), t) for t in (END, 0.4, 1.0 - END)),
    *((GBM(0.1, 0.6), t) for t in (END, 0.5, 4.0)),
    *((CIR(1.2, 0.8, 0.9), t) for t in (END, 0.5, 4.0)),
    *((BESQ(3.0), t) for t in (END, 0.5, 4.0)),
)
IDS = [f"{type(process).__name__}-{t:.3g}" for process, t in CASES]


def gaussian(process, x, t):
    """The posterior means of Gaussian data, of which every output is made by its definition."""
    alpha, sigma = (float(level) for level in process.alpha_sigma(np, np.asarray(t)))
    total = alpha**2 * VARIANCE + sigma**2
    data = MEAN + alpha * VARIANCE / total * (x - alpha * MEAN)
    noise = sigma * (x - alpha * MEAN) / total
    return {
        "epsilon": noise,
        "sample": data,
        "v_prediction": alpha * noise - sigma * data,
        "flow_prediction": noise - data,
        "score": -(x - alpha * MEAN) / total,
    }


def outputs(process, x, t):
    """Every output of a process, where the law of its data has a score in closed form."""
    if isinstance(process, VP | VE | Flow):
        return gaussian(process, x, t)
    if isinstance(process, GBM):
        score = process.marginal(LogNormal(0.2, 0.5), t).score(x)
        log_score = 1.0 + x * score
        return {"score": score, "log_score": log_score, "epsilon": -math.sqrt(0.36 * t) * log_score}
    data = Gamma(0.5 * process.delta, 0.7)  # stays a gamma law: its score is that of the law at t
    score = process.marginal(data, t).score(x)
    rho = float(process.decay_rho(np, np.asarray(t))[1])
    count = x * score - process.nu + 0.5 * x / rho
    return {"score": score, "log_score": 1.0 + x * score, "count": count, "ratio": 2.0 * rho * count / x}


def rounding(epsilon, process, x, t, output, kind, wanted):
    """How far one relative rounding of state, time and output moves a conversion, to first order."""
    plain = np.asarray(convert(process, x, t, output, kind, wanted))
    step = 2.0**-20
    moved = np.abs(plain)
    for inputs in ((x * (1 + step), t, output), (x, t * (1 - step), output), (x, t, output * (1 + step))):
        moved = moved + np.abs(np.asarray(convert(process, *inputs, kind, wanted)) - plain) / step
    return 16.0 * epsilon * moved


@pytest.mark.parametrize(("process", "t"), CASES, ids=IDS)
def test_every_output_becomes_every_other_and_comes_back(process, t):
    """With an error of a few roundings of what enters, however near to the data or to pure noise."""
    x = np.asarray([0.02, 0.6, 1.9])
    known = outputs(process, x, t)
    assert set(known) == set(admitted(process))
    unit = np.finfo(np.float64).eps
    for kind, output in known.items():
        for wanted, expected in known.items():
            got = convert(process, x, t, output, kind, wanted)
            # The expected numbers carry the roundings of their own formulae, as large as those of the way back.
            own = np.abs(convert(process, x, t, np.abs(output) * 16 * unit + output, kind, wanted) - got)
            allowed = rounding(unit, process, x, t, output, kind, wanted) + own + 64 * unit * np.abs(expected)
            assert np.all(np.abs(got - expected) <= allowed), (kind, wanted, got, expected, allowed)
        assert to_score(process, x, t, output, kind) == pytest.approx(
            np.asarray(convert(process, x, t, output, kind, "score")), rel=0.0, abs=0.0
        )
        assert from_score(process, x, t, known["score"], kind) == pytest.approx(
            np.asarray(convert(process, x, t, known["score"], "score", kind)), rel=0.0, abs=0.0
        )


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("process", "t"), CASES, ids=IDS)
def test_single_and_half_precision_round_and_no_more(process, t, dtype):
    """Half precision is computed in float32: the result is rounded once."""
    x = torch.tensor([0.125, 0.625, 1.875], dtype=dtype)
    time = torch.tensor(t, dtype=torch.float32)
    for kind, exact in outputs(process, x.double().numpy(), t).items():
        output = torch.as_tensor(exact).to(dtype)
        for wanted in admitted(process):
            got = convert(process, x, time, output, kind, wanted)
            assert got.dtype == dtype
            given = (x.double().numpy(), float(time), output.double().numpy(), kind, wanted)
            want = np.asarray(convert(process, *given))
            last = 0.0 if dtype == torch.float32 else 2.0**-8
            allowed = rounding(2.0**-23, process, *given) + last * np.abs(want)
            assert np.all(np.abs(got.double().numpy() - want) <= allowed), (kind, wanted, got, want)


def test_nothing_but_the_table_is_admitted():
    assert admitted(VP()) == ("epsilon", "sample", "v_prediction", "flow_prediction", "score")
    assert admitted(GBM(0.1, 0.3)) == ("epsilon", "score", "log_score")
    assert admitted(BESQ(3.0)) == ("score", "log_score", "count", "ratio")
    assert set(DIFFUSERS) < set(admitted(Flow()))


PURE, CLEAN = (Flow(), 1.0), (Flow(), 0.0)  # alpha = 0 and sigma = 0


@pytest.mark.parametrize(
    ("end", "kind", "wanted", "value"),
    [
        (PURE, "sample", "epsilon", 2.0),
        (PURE, "sample", "flow_prediction", 1.5),
        (PURE, "flow_prediction", "sample", 1.5),
        (PURE, "flow_prediction", "epsilon", 2.0),
        (PURE, "v_prediction", "sample", -0.5),
        (PURE, "epsilon", "score", -0.5),
        (PURE, "score", "epsilon", -0.5),
        (PURE, "sample", "score", -2.0),
        (CLEAN, "epsilon", "sample", 2.0),
        (CLEAN, "epsilon", "flow_prediction", -1.5),
        (CLEAN, "flow_prediction", "epsilon", 2.5),
        (CLEAN, "flow_prediction", "sample", 2.0),
        (CLEAN, "v_prediction", "epsilon", 0.5),
    ],
)
def test_what_is_defined_at_the_ends_is_a_number(end, kind, wanted, value):
    process, t = end
    assert float(convert(process, 2.0, t, 0.5, kind, wanted)) == value


@pytest.mark.parametrize(
    ("end", "kind", "wanted", "words"),
    [
        (PURE, "epsilon", "sample", "alpha > 0 for kind epsilon to become sample"),
        (PURE, "epsilon", "v_prediction", "alpha > 0"),
        (PURE, "score", "flow_prediction", "alpha > 0 for kind score"),
        (CLEAN, "sample", "epsilon", "sigma > 0 for kind sample to become epsilon"),
        (CLEAN, "sample", "v_prediction", "sigma > 0"),
        (CLEAN, "epsilon", "score", "sigma > 0 for kind epsilon to become score"),
        (CLEAN, "score", "sample", "sigma > 0 for kind score"),
        ((CIR(1.0, 1.0, 0.5), 0.0), "count", "ratio", "t > 0"),
        ((GBM(0.1, 0.3), 0.0), "epsilon", "score", "t > 0"),
        ((VP(), 0.5), "count", "score", "parametrization of VP is one of epsilon, sample"),
        ((CIR(1.0, 1.0, 0.5), 0.5), "epsilon", "score", "parametrization of CIR is one of score, log_score"),
        ((GBM(0.1, 0.3), 0.5), "v_prediction", "score", "parametrization of GBM"),
        ((VP(), 0.5), "velocity", "score", "kind"),
    ],
)
def test_what_is_undefined_is_refused_with_its_reason(end, kind, wanted, words):
    process, t = end
    with pytest.raises((UnmetHypothesis, TypeError), match=words):
        convert(process, 2.0, t, 0.5, kind, wanted)


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction", "flow_prediction", "score"])
def test_data_and_noise_have_an_inverse(kind):
    x0, eps = np.asarray([0.5, -2.0]), np.asarray([1.0, 0.25])
    x = 0.75 * x0 + 0.25 * eps
    made = output_of(x0, eps, 0.75, 0.25, kind)
    assert np.stack(data_and_noise(x, made, 0.75, 0.25, kind)) == pytest.approx(
        np.stack([x0, eps]), rel=1e-15
    )


@pytest.mark.parametrize("kind", ["sample", "v_prediction", "flow_prediction"])
def test_targets_and_weights_of_diffusers_words(kind):
    """The target is the output that means the data point; the weight is the one of the score, by the chain rule."""
    process, x0, x, t = VP(), 0.4, 0.9, 0.6
    alpha, sigma = (float(level) for level in process.alpha_sigma(np, np.asarray(t)))
    noise = (x - alpha * x0) / sigma
    known = {"sample": x0, "v_prediction": alpha * noise - sigma * x0, "flow_prediction": noise - x0}
    assert float(target(process, x0, x, t, kind)) == pytest.approx(known[kind], rel=1e-14)
    slope = mpmath.diff(lambda out: float(to_score(process, x, t, float(out), kind)), known[kind], h=0.25)
    want = float(kl_weight(process, x, t, "score")) * float(slope) ** 2
    assert float(kl_weight(process, x, t, kind)) == pytest.approx(want, rel=1e-10)
