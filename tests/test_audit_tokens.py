"""Samplers of tokens: what is planted is named, what is right passes, and diffusers' own are what they are."""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import pytest

torch: Any = pytest.importorskip("torch")

from driftproof.theory.diffpo import discrete_ddim_law
from driftproof.validation import audit
from driftproof.validation.audits.discrete import discrete_rows, is_discrete
from driftproof.validation.audits.discrete.branches import Unlisted, branches, spread
from driftproof.validation.audits.discrete.laws import Sampler, sampled_law, total_variation
from driftproof.validation.audits.discrete.rows import _noise_is_moved
from driftproof.validation.audits.discrete.texts import COUPLED, INDEPENDENT, ONE
from tests.planted_tokens import (
    RIGHT,
    WRONG,
    BackToFront,
    Greedy,
    LowConfidence,
    Masked,
    NoToken,
    OddCounts,
    OneDraw,
    Posterior,
    Renoised,
    Tokens,
    TooFew,
)

STEPS = {OddCounts: (1, 2, 4), BackToFront: (1, 2)}
FAST = (LowConfidence, Renoised, Greedy, OneDraw, NoToken, TooFew)

pytestmark = pytest.mark.filterwarnings("ignore")


def kinds(every: Iterable[type[Any]], fast: Collection[type[Any]]) -> list[Any]:
    """Those that take a second in every run, the others where CI has time."""
    return [
        pytest.param(kind, id=kind.__name__, marks=() if kind in fast else pytest.mark.slow(ci=True))
        for kind in every
    ]


@pytest.mark.parametrize("kind", kinds(RIGHT, (Masked,)))
def test_right_ones_pass(kind: type[Any]) -> None:
    row = audit(kind(), steps=(1, 2))
    assert row.severity == "converges", row.verdict
    assert row.floor == pytest.approx(0.0, abs=1e-6)
    assert "opposite order" not in row.verdict


@pytest.mark.parametrize("kind", kinds(WRONG, FAST))
def test_planted_ones_are_named(kind: type[Any]) -> None:
    severity, said = WRONG[kind]
    row = audit(kind(), steps=STEPS.get(kind, (2,)))
    assert (row.severity, said in row.verdict) == (severity, True), row.verdict


def test_every_branch_once_and_their_chances_sum_to_1() -> None:
    def drawn() -> tuple[int, ...]:
        p = torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]])
        first = torch.multinomial(p, 1)[:, 0]
        coin = torch.bernoulli(torch.tensor([0.25])) if int(first[0]) else torch.zeros(1)
        return (*first.tolist(), int(coin), *torch.randint(0, 2, (1,)).tolist())

    found = list(branches(drawn))
    assert math.fsum(chance for chance, _, _ in found) == pytest.approx(1.0, abs=1e-15)
    outcomes = [outcome for _, outcome, _ in found]
    assert len(set(outcomes)) == len(outcomes) == 2 * 3 + 2 * 3 * 2
    assert {o: c for c, o, _ in found}[(1, 2, 1, 0)] == pytest.approx(0.5 * 0.5 * 0.25 * 0.5)
    assert [chance for chance, *_ in branches(lambda: torch.randperm(3))] == [1.0 / 6.0] * 6


def test_noise_that_is_left_open_is_the_noise_that_is_listed() -> None:
    sampler = Sampler(Posterior())
    for text in (ONE, COUPLED):
        left, listed = (sampled_law(Sampler(Posterior(), pending=p), text, 2) for p in (True, False))
        np.testing.assert_allclose(left, listed, atol=1e-15)
    assert sampled_law(sampler, ONE, 3).sum() == pytest.approx(1.0, abs=1e-12)
    assert list(spread([1 << 40, 1 << 40], {1 << 40: range(2)})) == [(0.5, (0, 0)), (0.5, (1, 1))]


def test_noise_that_is_looked_at_is_listed() -> None:
    """Sums of tokens: a number that stands for noise would be no token."""

    class Sums(Posterior):
        def propose(self, logits: Any) -> Any:
            found = super().propose(logits)
            return (found + torch.randint(0, logits.shape[-1], found.shape)) % logits.shape[-1]

    assert not _noise_is_moved(Sampler(Sums()))
    assert _noise_is_moved(Sampler(Posterior()))
    found = sampled_law(Sampler(Sums()), ONE, 1)
    np.testing.assert_allclose(found[:3], [1.0 / 3.0] * 3, atol=1e-12)


def test_draws_of_real_numbers_are_refused_by_name() -> None:
    class Gumbel(Tokens):
        def step(self, model_output: Any, timestep: Any, sample: Any) -> Any:
            noise = -torch.log(-torch.log(torch.rand(model_output.shape)))
            return ((model_output + noise).argmax(dim=-1),)

    assert is_discrete(Gumbel())
    with pytest.raises(Unlisted, match=r"draws real numbers \(rand\), which cannot be listed"):
        audit(Gumbel())
    (row,) = discrete_rows(Gumbel, "Gumbel")
    assert row.severity == "unsupported"


@pytest.mark.parametrize(
    "draw",
    [
        lambda x: torch.empty_like(x).random_(0, 2),
        lambda x: x.double().bernoulli_(0.5).long(),
        lambda x: torch.randint_like(x, 0, 2),
        lambda x: x * 0 + np.random.randint(2),  # noqa: NPY002  # as others draw
        lambda x: x * 0 + random.randrange(2),
        lambda x: torch.bernoulli(torch.zeros(x.shape), 0.5).long(),
    ],
)
def test_draws_by_other_means_are_no_certainties(draw: Any) -> None:
    with pytest.raises(Unlisted, match=r"it draws by other means|bernoulli"):
        list(branches(lambda: draw(torch.zeros(1, 2, dtype=torch.long))))


def test_draws_from_the_generator_that_is_handed_in_are_seen() -> None:
    class Hidden(Tokens):
        def step(self, model_output: Any, timestep: Any, sample: Any, generator: Any = None) -> Any:
            with torch._C.DisableTorchFunctionSubclass(), torch._C.DisableTorchFunction():
                return (torch.empty_like(sample).random_(0, 2, generator=generator),)

    with pytest.raises(Unlisted, match="it draws by other means"):
        audit(Hidden(), steps=(1,))


def test_the_distance_is_the_one_of_the_laws() -> None:
    law = np.zeros((4, 4))
    law[0, 0] = 1.0
    assert total_variation(law, INDEPENDENT) == pytest.approx(1.0 - 0.35)


# -- diffusers


@pytest.mark.slow(ci=True)
def test_schedulers_of_images_are_not_discrete() -> None:
    library = pytest.importorskip("diffusers")
    assert not is_discrete(library.DDIMScheduler)
    assert not is_discrete(library.FlowMatchEulerDiscreteScheduler())
    assert is_discrete(library.DiscreteDDIMScheduler)


def test_an_entropy_bound_that_renoises_after_its_last_step() -> None:
    library = pytest.importorskip("diffusers")
    row = audit(library.EntropyBoundScheduler(), steps=(2,))
    assert row.severity == "diverges"
    assert "1 of 2 tokens is uniformly random, the other at temperature 0.6" in row.verdict
    assert row.laws["two independent tokens"]["total_variation"][-1] == pytest.approx(0.223, abs=1e-3)


def test_eight_tokens_of_which_each_is_right_with_probability_85_per_cent() -> None:
    """.530 of the modal token, and at the entropy bound of the page .85: the noise of the last step."""
    library = pytest.importorskip("diffusers")
    scheduler = library.EntropyBoundScheduler()
    scheduler.set_timesteps(8)
    logits = torch.log(torch.tensor([0.85, 0.05, 0.05, 0.05])).expand(1, 8, 4)
    generator = torch.Generator().manual_seed(0)
    step = scheduler.step(logits, 7, torch.zeros(1, 8, dtype=torch.long), generator=generator)
    k = int(step.accepted_index.sum())
    p = float(torch.softmax(step.pred_logits, dim=-1)[0, 0, 0])
    assert (k * p + (8 - k) / 4.0) / 8.0 == pytest.approx(0.5292, abs=5e-5)


def test_discrete_ddim_as_installed_is_the_law_of_the_theory() -> None:
    library = pytest.importorskip("diffusers")
    for steps, temperature in ((2, 0.0), (3, 1.0), (8, 0.0)):
        sampler = Sampler(library.DiscreteDDIMScheduler(), {"temperature": temperature}, pending=True)
        want = discrete_ddim_law(np.log(ONE.law), steps, temperature)
        np.testing.assert_allclose(sampled_law(sampler, ONE, steps)[:3], want, atol=1e-6)


@pytest.mark.slow(ci=True)
def test_every_setting_of_the_three() -> None:
    library = pytest.importorskip("diffusers")
    said = {
        name: {
            str(row.severity) for row in discrete_rows(getattr(library, name), f"diffusers.{name}", (1, 2))
        }
        for name in ("EntropyBoundScheduler", "DiscreteDDIMScheduler", "BlockRefinementScheduler")
    }
    assert said == {
        "EntropyBoundScheduler": {"diverges", "conditional"},
        "DiscreteDDIMScheduler": {"conditional", "converges", "unsupported"},
        "BlockRefinementScheduler": {"diverges", "conditional"},
    }
