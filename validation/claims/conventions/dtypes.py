r"""The dtype of a result, by what kind of quantity it is."""

from __future__ import annotations

from typing import Any

import array_api_compat
import numpy as np

from driftproof.numerics.samplers import step_log_prob
from driftproof.theory.adjoint import BallCost, GaussianFlow, RegularizedFlow
from driftproof.theory.laws import Gamma, Gaussian, LogNormal, Normal
from driftproof.theory.laws.base import widened
from driftproof.theory.laws.elementwise import ElementwiseLaw
from driftproof.theory.processes import VP, AbstractProcess, Flow
from driftproof.theory.rewards import Quadratic
from driftproof.theory.score_as_action import LinearFeedback, ShiftedScore
from driftproof.theory.tweedie import posterior_mean
from driftproof.validation import claim, exact, grid, parity, rows
from driftproof.validation.mutants import wrong

from .general import EACH, PROCESSES

__all__ = ["DtypeFollowsInput"]


def chained(sample: Any, process: AbstractProcess, data: Any, rng: Any) -> tuple[Any, ...]:
    """A chain of laws: data, its noised state, a state between them; and the log-densities of the last two."""
    x0 = sample(data, (4,), rng)
    there = process.transition(x0, 0.5)
    xt = sample(there, (), rng)
    between = process.bridge(x0, xt, 0.2, 0.5)
    xs = sample(between, (), rng)
    return x0, xt, xs, there.log_prob(xt), between.log_prob(xs)


def steered(terminal_law: Any, value: Any, one: Any, rng: Any) -> tuple[Any, ...]:
    """Laws and quantities that theorems of control make: draws, actions and scores; then values and averages."""
    zero, line = 0.0 * one, one[None]
    reward = Quadratic(line, 0.5 * line[:, None])
    data = Gaussian(line, line[:, None])
    flow = GaussianFlow(line, line[:, None])
    bent = RegularizedFlow(flow, BallCost(1.0))
    tuned = ShiftedScore(VP(), data, reward, 0.5, 0.25 * line)
    fed = LinearFeedback(VP(), data, reward, 0.5, -0.25)
    x = terminal_law(flow, reward, 1.0).sample((4,), rng)
    t = zero + 0.5
    states = (
        x,
        flow.control(x, 0.5, reward, 1.0),
        bent.endpoint(x, 0.5, reward, 1.0),
        tuned.terminal_law().sample((4,), rng),
        tuned.value_gradient(x, t),
        tuned.best(),
        fed.terminal_law().sample((4,), rng),
    )
    averages = (
        value(flow, x, 0.5, reward, 1.0),
        bent.value(x, 0.5, reward, 1.0),
        tuned.value(x, t),
        tuned.policy_gradient(),
        fed.value(x, t),
    )
    return *states, *averages


STEERED = (7, 5)  # states, averages


def data_of(process: AbstractProcess, one: Any) -> Any:
    """A data law of the dtype of ``one`` that the process noises."""
    match process.support:
        case "finite":
            return Normal(0.0 * one, one)
        case "> 0":
            return LogNormal(0.0 * one, one)
    return Gamma(2.0, one)


def as_given(result: Any, x: Any) -> Any:
    """A result in the dtype of what was given."""
    return array_api_compat.array_namespace(x).astype(result, x.dtype)


BITS = rows("dtype, bits", ((np.float16, 16), (np.float32, 32), (np.float64, 64)))
X = np.asarray([0.5, 2.0])


@claim(
    "CONVENTION-DTYPE-1",
    "The dtype follows the input, by kind of quantity",
    r"""\text{float32 in, float32 out; numbers alone are float64; half precision is computed in float32: states,
        draws and scores follow the input, log-densities, divergences, statistics and averages stay float32}""",
    covers=[
        posterior_mean,
        step_log_prob,
        ElementwiseLaw.sample,
        GaussianFlow.terminal_law,
        GaussianFlow.value,
    ],
)
class DtypeFollowsInput:
    @exact(0.0)
    def bits_of_the_result(posterior_mean):
        for dtype, bits in ((np.float32, 32), (np.float64, 64), (np.float16, 16)):
            x = X.astype(dtype)
            yield f"{bits} bits", np.finfo(posterior_mean(Flow(), x, 0.5, x).dtype).bits, bits
        yield "numbers", np.finfo(posterior_mean(Flow(), 1.0, 0.5, -1.0).dtype).bits, 64

    # Where a step forgets the precision of the caller, the next one is given two of them and says so.
    @exact(0.0, breaks_on=(TypeError,), over=grid(EACH, BITS))
    def bits_along_a_chain_of_laws(sample, process, dtype, bits):
        found = chained(sample, process, data_of(process, np.ones((), dtype=dtype)), np.random.default_rng(0))
        return [np.finfo(v.dtype).bits for v in found], [bits] * 3 + [max(bits, 32)] * 2

    @exact(0.0, breaks_on=(TypeError,), over=BITS)
    def bits_along_chains_of_control(terminal_law, value, dtype, bits):
        states, averages = STEERED
        found = steered(terminal_law, value, np.ones((), dtype=dtype), np.random.default_rng(0))
        return [np.finfo(v.dtype).bits for v in found], [bits] * states + [max(bits, 32)] * averages

    @exact(2e-2, scale=0.0, over=rows("dtype", (np.float16, np.float32)))
    def a_log_ratio_over_many_coordinates(step_log_prob, dtype):
        """65536 coordinates, each of two log-densities 1.4e4, rounded in float32 at 2^-10: a bit over 1e-2 of 1."""
        mean, noise, apart = np.random.default_rng(0).normal(size=(3, 1, 65536))
        m, std = mean.astype(dtype), np.full((1, 1), 0.3, dtype=dtype)
        x, other = (m + 0.3 * noise).astype(dtype), (m + 1e-2 * apart).astype(dtype)

        def log_ratio(x, other, m, std):
            return step_log_prob(x, other, std) - step_log_prob(x, m, std)

        given = (x, other, m, std)
        return log_ratio(*given), log_ratio(*(part.astype(np.float64) for part in given))

    @parity(0.0)
    def torch_keeps_its_dtypes(posterior_mean, sample, terminal_law, value):
        import torch

        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
            x, wide = torch.tensor([0.5, 2.0], dtype=dtype), torch.promote_types(dtype, torch.float32)
            yield str(dtype), float(posterior_mean(Flow(), x, 0.5, -x).dtype == dtype), 1.0
            for process in PROCESSES:
                data = data_of(process, torch.ones((), dtype=dtype))
                found = chained(sample, process, data, torch.Generator().manual_seed(0))
                right = [v.dtype == want for v, want in zip(found, [dtype] * 3 + [wide] * 2, strict=True)]
                yield f"{type(process).__name__}, {dtype}", [float(r) for r in right], [1.0] * 5
            states, averages = STEERED
            rng = torch.Generator().manual_seed(0)
            found = steered(terminal_law, value, torch.ones((), dtype=dtype), rng)
            wanted = [dtype] * states + [wide] * averages
            right = [v.dtype == want for v, want in zip(found, wanted, strict=True)]
            yield f"control, {dtype}", [float(r) for r in right], [1.0] * len(right)

    refuses = [
        (TypeError, posterior_mean, Flow(), other, 0.5, X)
        for other in (np.asarray([1, 2]), X + 1j, X.astype(np.float32))
    ]

    mutants = {
        "laws of theorems forget": wrong(GaussianFlow.terminal_law, lambda value: widened(value)),
        "values cast back": wrong(GaussianFlow.value, lambda value, x: as_given(value, x)),
        "always double": {
            posterior_mean: lambda *given: np.asarray(posterior_mean(*given), dtype=np.float64)
        },
        "always single": {
            posterior_mean: lambda *given: np.asarray(posterior_mean(*given), dtype=np.float32)
        },
        "draws in the precision of the parameters": wrong(
            ElementwiseLaw.sample, self=lambda self: widened(self)
        ),
        "log-densities cast back": {
            step_log_prob: lambda x, mean, std: step_log_prob(x, mean, std).astype(x.dtype)
        },
    }
