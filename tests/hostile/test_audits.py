"""Audits beside each other, and beside somebody who draws: nobody sees anybody."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from driftproof._namespace import UnmetHypothesis
from driftproof.validation import audit
from driftproof.validation.audits.noise import intercepted
from tests.hostile.conftest import Attack
from tests.toy_schedulers import Ancestral, Louder, Noisy, OtherGrid, Repeated, Toy

torch = pytest.importorskip("torch")

TOYS: tuple[type[Toy], ...] = (Toy, Ancestral, Noisy, OtherGrid, Repeated, Louder)


class Seeded(Ancestral):
    """Noise from generators of its own, each seeded by torch's: as a Brownian tree does it."""

    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        seed = int(torch.randint(0, 2**63 - 1, []))
        t, s = self.sigmas[timestep], self.sigmas[timestep + 1]
        up = (s**2 * (t**2 - s**2) / t**2).sqrt()
        noise = torch.randn(sample.shape, generator=torch.Generator().manual_seed(seed), dtype=sample.dtype)
        return (sample + ((s**2 - up**2).sqrt() - t) * model_output + up * noise,)


class InPlace(Ancestral):
    """The same noise, by normal_()."""

    def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
        t, s = self.sigmas[timestep], self.sigmas[timestep + 1]
        up = (s**2 * (t**2 - s**2) / t**2).sqrt()
        noise = torch.empty_like(sample).normal_()
        return (sample + ((s**2 - up**2).sqrt() - t) * model_output + up * noise,)


def found(scheduler: type[Toy], steps: tuple[int, ...] = (5, 10)) -> str:
    """Every digit of a row."""
    try:
        return repr(asdict(audit(scheduler(), steps=steps, fast=True)))
    except Exception as error:  # noqa: BLE001  # any error is a fault, and named
        return f"{scheduler.__name__}: {error!r}"


def beside(attack: Attack, threads: int, rounds: int) -> None:
    """Audits in threads while another one draws: what is not as when each runs alone."""
    own = torch.Generator().manual_seed(7)
    expected = torch.randn(1000, generator=own)
    alone = [found(toy) for toy in TOYS]
    faults: list[str] = []
    elsewhere: list[str] = []
    draws, over = [0], threading.Event()

    def draw() -> None:
        while not over.wait(1e-3):
            draws[0] += 1
            try:
                seen = torch.randn(1000, generator=torch.Generator().manual_seed(7))
                if not torch.equal(seen, expected):
                    elsewhere.append("other numbers were drawn")
                torch.rand(3), torch.normal(0.0, 1.0, (3,)), torch.randn(3), torch.randperm(3)
            except Exception as error:  # noqa: BLE001  # any error is a fault, and named
                elsewhere.append(f"a draw raised {error!r}")

    other = threading.Thread(target=draw)
    other.start()
    try:
        with ThreadPoolExecutor(threads) as pool:
            work = [toy for _ in range(rounds) for toy in TOYS]
            for toy, row in zip(work, pool.map(found, work), strict=True):
                if row != alone[TOYS.index(toy)]:
                    faults.append(f"{toy.__name__} gave another row in a thread: {row}")
    finally:
        over.set()
        other.join()
    attack(f"draws beside audits in {threads} threads", draws[0], elsewhere)
    attack(f"audits in {threads} threads, beside a thread that draws", rounds * len(TOYS), faults)


@pytest.mark.slow(ci=True)
def test_audits_in_threads_are_the_audits(attack: Attack) -> None:
    beside(attack, 4, 1)


@pytest.mark.hostile
def test_audits_in_many_threads_are_the_audits(attack: Attack) -> None:
    beside(attack, 4, 4)
    beside(attack, 16, 32)


@pytest.mark.slow(ci=True)
def test_an_audit_does_not_move_the_generator_of_torch(attack: Attack) -> None:
    faults = []
    for toy in (Ancestral, Seeded, InPlace):
        before, names = torch.get_rng_state(), (torch.randn, torch.normal, torch.Tensor.normal_)
        row = audit(toy(), steps=(5, 10, 20), fast=True)
        if not torch.equal(before, torch.get_rng_state()):
            faults.append(f"{toy.__name__} moved it")
        if names != (torch.randn, torch.normal, torch.Tensor.normal_):
            faults.append(f"{toy.__name__} left a function of torch replaced")
        if row.std_error != audit(Ancestral(), steps=(5, 10, 20), fast=True).std_error:
            faults.append(f"{toy.__name__}: {row.verdict}")
    attack("the generator of the process", 3, faults)


def test_every_other_draw_is_refused(attack: Attack) -> None:
    """Whatever torch marks as drawing, by its own generator or by one of the sampler's."""
    mine = torch.Generator()
    x = torch.full((4,), 0.5)
    draws: dict[str, Callable[[], Any]] = {
        "rand": lambda: torch.rand(4),
        "rand of a generator": lambda: torch.rand(4, generator=mine),
        "rand_like": lambda: torch.rand_like(x),
        "uniform_": lambda: x.clone().uniform_(),
        "normal of mean and deviation": lambda: torch.normal(0.5, 2.0, (4,)),
        "normal of tensors": lambda: torch.normal(x, x),
        "normal_ of another deviation": lambda: x.clone().normal_(0.0, 2.0),
        "normal_ of a generator and a mean": lambda: x.clone().normal_(1.0, 1.0, generator=mine),
        "bernoulli": lambda: torch.bernoulli(x),
        "multinomial": lambda: torch.multinomial(x, 2),
        "randperm": lambda: torch.randperm(4),
        "exponential_": lambda: x.clone().exponential_(),
        "cauchy_": lambda: x.clone().cauchy_(),
        "log_normal_": lambda: x.clone().log_normal_(),
        "geometric_": lambda: x.clone().geometric_(0.5),
        "poisson": lambda: torch.poisson(x),
        "gamma": lambda: torch.distributions.Gamma(x, x).sample(),
        "dropout": lambda: torch.nn.functional.dropout(x),
        "random_": lambda: x.clone().random_(),
        "noise of another size": lambda: torch.randn(3),
        "complex noise": lambda: torch.randn(4, dtype=torch.complex64),
    }
    faults = []
    state = torch.get_rng_state()
    for name, call in draws.items():
        try:
            with intercepted(lambda key: np.arange(4.0), 4, torch.Generator()):
                faults.append(f"{name} passed: {call()}")
        except UnmetHypothesis:
            pass
    if not torch.equal(state, torch.get_rng_state()):
        faults.append("a refused draw moved the generator of torch")
    attack("draws that the probe cannot answer", len(draws) + 1, faults)


def test_standard_normals_are_answered_however_they_are_asked_for() -> None:
    mine, x = torch.Generator(), torch.zeros(2, 2, dtype=torch.float64)
    with intercepted(lambda key: np.arange(4.0), 4, torch.Generator()):
        answers = [
            torch.randn(4, dtype=torch.float64),
            torch.randn((2, 2), generator=mine, dtype=torch.float64),
            torch.randn_like(x),
            x.clone().normal_(),
            torch.empty(4, dtype=torch.float64).normal_(generator=mine),
            torch.empty(4, dtype=torch.float64).normal_(0.0, 1.0),
            torch.nn.init.normal_(x.clone()),
            torch.randn(4, dtype=torch.float64, out=torch.empty(4, dtype=torch.float64)),
        ]
    for answer in answers:
        np.testing.assert_array_equal(answer.reshape(-1).numpy(), np.arange(4.0))
