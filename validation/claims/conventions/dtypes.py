r"""The dtype of a result, by what kind of quantity it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from driftproof.numerics.samplers import step_log_prob
from driftproof.theory.adjoint import BallCost, GaussianFlow, RegularizedFlow
from driftproof.theory.laws import Gamma, Gaussian, LogNormal, Normal
from driftproof.theory.laws.base import widened
from driftproof.theory.processes import VP, AbstractProcess, Flow
from driftproof.theory.rewards import Quadratic
from driftproof.theory.score_as_action import LinearFeedback, ShiftedScore
from driftproof.theory.tweedie import posterior_mean
from driftproof.validation import Thing, boundary, claim, exact, parity, raises

from .general import PROCESSES, Labels

__all__ = ["DtypeFollowsInput"]


def chained(process: AbstractProcess, data: Any, rng: Any) -> tuple[Any, ...]:
    """A chain of laws: data, its noised state, a state between them; and the log-densities of the last two."""
    x0 = data.sample((4,), rng)
    there = process.transition(x0, 0.5)
    xt = there.sample((), rng)
    between = process.bridge(x0, xt, 0.2, 0.5)
    xs = between.sample((), rng)
    return x0, xt, xs, there.log_prob(xt), between.log_prob(xs)


def steered(one: Any, rng: Any) -> tuple[Any, ...]:
    """Laws and quantities that theorems of control make: draws, actions and scores; then values and averages."""
    zero, line = 0.0 * one, one[None]
    reward = Quadratic(line, 0.5 * line[:, None])
    data = Gaussian(line, line[:, None])
    flow = GaussianFlow(line, line[:, None])
    bent = RegularizedFlow(flow, BallCost(1.0))
    tuned = ShiftedScore(VP(), data, reward, 0.5, 0.25 * line)
    fed = LinearFeedback(VP(), data, reward, 0.5, -0.25)
    x = flow.terminal_law(reward, 1.0).sample((4,), rng)
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
        flow.value(x, 0.5, reward, 1.0),
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


def log_ratio(x: Any, mean: Any, other: Any, std: Any) -> Any:
    """The log-ratio of two Gaussian steps at x: of sums over all coordinates."""
    return step_log_prob(x, other, std) - step_log_prob(x, mean, std)


def _thing(**changed: Any) -> SimpleNamespace:
    right = {"posterior_mean": posterior_mean, "chained": chained, "steered": steered, "log_ratio": log_ratio}
    return SimpleNamespace(**right | changed)


@claim(
    "CONVENTION-DTYPE-1",
    paper="conventions",
    title="The dtype follows the input, by kind of quantity",
    statement=r"""\text{float32 in, float32 out; numbers alone are float64; half precision is computed in float32: states,
        draws and scores follow the input, log-densities, divergences, statistics and averages stay float32}""",
    vouches=[posterior_mean, step_log_prob],
)
class DtypeFollowsInput:
    thing = _thing()

    @exact(tolerance=0.0)
    def bits_of_the_result(thing: Thing) -> Labels:
        for dtype, bits in ((np.float32, 32), (np.float64, 64), (np.float16, 16)):
            x = np.asarray([0.5, 2.0], dtype=dtype)
            yield f"{bits} bits", np.finfo(thing.posterior_mean(Flow(), x, 0.5, x).dtype).bits, bits
        yield "numbers", np.finfo(thing.posterior_mean(Flow(), 1.0, 0.5, -1.0).dtype).bits, 64

    # Where a step forgets the precision of the caller, the next one is given two of them and says so.
    @exact(tolerance=0.0, breaks_on=(TypeError,))
    def bits_along_a_chain_of_laws(thing: Thing) -> Labels:
        for process in PROCESSES:
            for dtype, bits in ((np.float16, 16), (np.float32, 32), (np.float64, 64)):
                data = data_of(process, np.ones((), dtype=dtype))
                found = thing.chained(process, data, np.random.default_rng(0))
                want = [bits] * 3 + [max(bits, 32)] * 2
                yield f"{type(process).__name__}, {bits} bits", [np.finfo(v.dtype).bits for v in found], want

    @exact(tolerance=0.0, breaks_on=(TypeError,))
    def bits_along_chains_of_control(thing: Thing) -> Labels:
        states, averages = STEERED
        for dtype, bits in ((np.float16, 16), (np.float32, 32), (np.float64, 64)):
            found = thing.steered(np.ones((), dtype=dtype), np.random.default_rng(0))
            want = [bits] * states + [max(bits, 32)] * averages
            yield f"{bits} bits", [np.finfo(v.dtype).bits for v in found], want

    @exact(tolerance=2e-2, scale=0.0)
    def a_log_ratio_over_many_coordinates(thing: Thing) -> Labels:
        """65536 coordinates, each of two log-densities 1.4e4, rounded in float32 at 2^-10: a bit over 1e-2 of 1."""
        rng = np.random.default_rng(0)
        mean, noise, apart = rng.normal(size=(3, 1, 65536))
        for dtype in (np.float16, np.float32):
            m, std = mean.astype(dtype), np.full((1, 1), 0.3, dtype=dtype)
            x, other = (m + 0.3 * noise).astype(dtype), (m + 1e-2 * apart).astype(dtype)
            wide = [v.astype(np.float64) for v in (x, m, other, std)]
            yield str(np.dtype(dtype)), thing.log_ratio(x, m, other, std), thing.log_ratio(*wide)

    @parity(tolerance=0.0)
    def torch_keeps_its_dtypes(thing: Thing) -> Labels:
        import torch

        for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
            x = torch.tensor([0.5, 2.0], dtype=dtype)
            yield str(dtype), float(thing.posterior_mean(Flow(), x, 0.5, -x).dtype == dtype), 1.0
            for process in PROCESSES:
                data = data_of(process, torch.ones((), dtype=dtype))
                found = thing.chained(process, data, torch.Generator().manual_seed(0))
                wide = dtype if dtype == torch.float64 else torch.float32
                right = [v.dtype == want for v, want in zip(found, [dtype] * 3 + [wide] * 2, strict=True)]
                yield f"{type(process).__name__}, {dtype}", [float(r) for r in right], [1.0] * 5
            states, averages = STEERED
            found = thing.steered(torch.ones((), dtype=dtype), torch.Generator().manual_seed(0))
            wanted = [dtype] * states + [wide] * averages
            right = [v.dtype == want for v, want in zip(found, wanted, strict=True)]
            yield f"control, {dtype}", [float(r) for r in right], [1.0] * len(right)

    @boundary()
    def integers_and_mixtures_are_refused(thing: Thing) -> Labels:
        x = np.asarray([0.5, 2.0])
        for wrong in (np.asarray([1, 2]), x + 1j, x.astype(np.float32)):
            yield raises(TypeError, posterior_mean, Flow(), wrong, 0.5, x)  # type: ignore[misc]

    mutants = {
        "laws of theorems forget": _thing(
            steered=lambda one, rng: (
                GaussianFlow(one[None], one[None, None]).law_of(one[None], one[None, None]).cov[0],
                *steered(one, rng)[1:],
            )
        ),
        "values cast back": _thing(
            steered=lambda one, rng: tuple(
                v.astype(one.dtype) if isinstance(v, np.ndarray) else v.to(one.dtype)
                for v in steered(one, rng)
            )
        ),
        "always double": _thing(
            posterior_mean=lambda p, x, t, s: np.asarray(posterior_mean(p, x, t, s), dtype=np.float64)
        ),
        "always single": _thing(
            posterior_mean=lambda p, x, t, s: np.asarray(posterior_mean(p, x, t, s), dtype=np.float32)
        ),
        "draws in the precision of the parameters": _thing(
            chained=lambda process, data, rng: chained(process, widened(data), rng)
        ),
        "log-densities cast back": _thing(
            log_ratio=lambda x, mean, other, std: (
                step_log_prob(x, other, std).astype(x.dtype) - step_log_prob(x, mean, std).astype(x.dtype)
            ),
        ),
    }
