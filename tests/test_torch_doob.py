"""Hard constraints on torch: what is learned is the exact h, and stores survive."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
for needed in ("accelerate", "diffusers", "peft", "transformers"):
    pytest.importorskip(needed)

from accelerate import Accelerator

from driftproof import UnmetHypothesis
from driftproof.backends.torch.doob import make_store
from driftproof.backends.torch.doob.config import RECIPES, Recipe, Storage
from driftproof.backends.torch.doob.exact import ChainH, guidance_share
from driftproof.backends.torch.doob.experiment import frozen_of, run
from driftproof.backends.torch.doob.method import Learner, quotient_guide
from driftproof.backends.torch.doob.models import columns
from driftproof.backends.torch.doob.report import _inside, gaussian_section, satisfaction
from driftproof.backends.torch.doob.store import size_of
from driftproof.backends.torch.kit.identity import OtherRun
from driftproof.backends.torch.kit.seeding import generator_of
from driftproof.backends.torch.rl.sampler import Sampling
from driftproof.theory.doob import half_space, log_h
from driftproof.theory.laws import Gaussian
from driftproof.theory.processes import VP

CPU = torch.device("cpu")


def small(steps: int = 6, trajectories: int = 1500, **changes: Any) -> Recipe:
    recipe, _ = RECIPES.load(RECIPES.find("gaussian"), smoke=True)
    assert recipe.gaussian is not None
    easier = replace(recipe.gaussian, level=0.8)  # some hundred of the trajectories end in it
    return replace(
        recipe,
        gaussian=easier,
        sampling=Sampling(steps),
        store=replace(recipe.store, trajectories=trajectories, shard=500),
        **changes,
    )


def parts(recipe: Recipe, folder: Path) -> tuple[Any, ChainH, Learner]:
    frozen = frozen_of(recipe, CPU)
    assert recipe.gaussian is not None
    chain, accelerator = ChainH.of(recipe.gaussian, frozen), Accelerator()
    made = make_store(
        folder / "store", frozen, recipe.store, 0, "model", accelerator, announce=lambda _: None
    )
    return frozen, chain, Learner(frozen, made, 0, folder, accelerator, {})


# -- the exact h


@pytest.mark.slow(ci=True)
def test_the_h_of_the_chain_becomes_that_of_the_data_like_one_over_the_steps() -> None:
    """Two derivations that share nothing: the recursion of the sampler's steps, and the posterior of the data."""
    x = torch.tensor([[0.3, -0.4], [1.0, 0.2], [-0.5, 0.5]], dtype=torch.float64)
    gaps = []
    for steps in (50, 200, 800):
        recipe = small(steps)
        model, frozen = recipe.gaussian, frozen_of(recipe, CPU)
        assert model is not None
        chain = ChainH.of(model, frozen)
        t = frozen.sampler.timesteps[steps // 2].expand(3)
        process, time = VP(model.decay, model.decay, 1.0), (float(t[0]) + 1.0) / model.levels
        event = half_space(np.asarray(model.normal), model.level)
        data = Gaussian(np.asarray(model.mean), np.asarray(model.cov))
        gaps.append(
            float(np.abs(chain.log_h(x, t).numpy() - log_h(process, data, event, x.numpy(), time)).max())
        )
    assert gaps[2] < 0.02
    assert gaps[0] / gaps[1] == pytest.approx(4.0, rel=0.35)
    assert gaps[1] / gaps[2] == pytest.approx(4.0, rel=0.35)


def test_the_h_of_the_chain_is_the_share_of_paths_that_end_in_the_event() -> None:
    recipe = small()
    frozen = frozen_of(recipe, CPU)
    assert recipe.gaussian is not None
    chain, n = ChainH.of(recipe.gaussian, frozen), 40_000
    generator = generator_of(1, 0)
    x = torch.tensor([[0.5, -0.6]], dtype=torch.float64).expand(n, -1)
    t = frozen.sampler.times(torch.tensor([2]))
    p = math.exp(float(chain.log_h(x[:1], t)))
    for k in range(2, frozen.sampler.n_steps):
        x = frozen.step(x, k, None, generator)
    hits = int(frozen.member(x).sum())
    from driftproof.numerics.montecarlo import binomial_test

    test = binomial_test(hits, n, p, 1e-6)
    assert test.p_value > 1e-6 and test.detectable < 0.02


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("loss", ["cross entropy", "martingale"])
def test_labels_without_noise_teach_the_exact_h(
    loss: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The minimiser of both losses of labels is h: with h itself for a label only the optimizer is left to err."""
    recipe = small()
    frozen, chain, learner = parts(recipe, tmp_path)
    labelled = learner._labelled

    def exactly(generator: Any, batch: int) -> tuple[Any, ...]:
        x, t, _ = labelled(generator, batch)
        return x, t, torch.exp(chain.log_h(x, t))

    monkeypatch.setattr(learner, "_labelled", exactly)

    def share(guide: Any) -> float:
        return guidance_share(frozen, chain, guide, chain.guide, 500, generator_of(0, 1))

    plan = replace(recipe.plan, max_steps=600, train_batch_size=256, learning_rate=0.1)
    guide = learner.learn(loss, plan).guide
    assert share(guide) < 2e-3
    assert share(lambda x, t: 0.0 * x) == 1.0, "what an untrained one scores"
    assert share(lambda x, t: 1.1 * guide(x, t)) > 5e-3, "a strength that is off by a tenth is seen"


def test_increments_regress_on_the_exact_gradient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every step of every trajectory once: the target of the covariation is sigma h times the pull, in the mean."""
    recipe = small(trajectories=20_000)
    frozen, chain, learner = parts(recipe, tmp_path)
    n, count = frozen.sampler.n_steps, recipe.store.trajectories
    every = torch.arange(count).repeat(n), torch.arange(n).repeat_interleave(count)
    monkeypatch.setattr(learner, "_places", lambda *_: every)
    x, t, target = learner._increments(chain.log_h)(generator_of(0, 0), n * count)
    sigma = columns(frozen.sampler, t, x)[1]
    exact = sigma * torch.exp(chain.log_h(x, t))[:, None] * chain.pull(x, t)
    for k in range(n):
        y, u = target[every[1] == k], exact[every[1] == k]
        slope = float((y * u).sum() / (u * u).sum())
        error = float((((y - slope * u) * u).sum(dim=1) ** 2).sum().sqrt() / (u * u).sum())
        assert error < 0.02, f"step {k}: a factor of 1.12 would not be seen"
        assert abs(slope - 1.0) < 6.0 * error, f"step {k}: {slope} +- {error}"


def test_the_quotient_of_the_exact_parts_is_the_exact_pull_and_a_number_everywhere() -> None:
    recipe = small()
    frozen = frozen_of(recipe, CPU)
    assert recipe.gaussian is not None
    chain = ChainH.of(recipe.gaussian, frozen)
    x = torch.tensor([[0.3, -0.4], [1.0, 0.2]], dtype=torch.float64)
    t = frozen.sampler.times(torch.tensor([1, 4]))

    def field(x: Any, t: Any) -> Any:
        return columns(frozen.sampler, t, x)[1] * torch.exp(chain.log_h(x, t))[:, None] * chain.pull(x, t)

    torch.testing.assert_close(quotient_guide(chain.log_h, field, frozen)(x, t), chain.pull(x, t))
    vanished = quotient_guide(lambda x, t: torch.full((2,), -800.0), lambda x, t: 0.0 * x, frozen)
    assert bool((vanished(x.float(), t) == 0.0).all())


def test_a_step_that_is_no_number_is_no_draw() -> None:
    frozen = frozen_of(small(), CPU)
    x = torch.zeros(3, 2, dtype=torch.float64)
    with pytest.raises(FloatingPointError, match="step 1 is no number"):
        frozen.step(x, 1, lambda x, t: x * torch.nan, generator_of(0, 0))


@pytest.mark.slow(ci=True)
def test_what_is_learned_is_the_exact_guidance_within_the_spread_of_seeds(tmp_path: Path) -> None:
    """From real labels and real noise, through the loop of trainings; and planted errors of the guidance are seen.

    Of four seeds intervals are 5.4 deviations wide, and twice the guidance is seen or not by the luck of their noise;
    of eight they are 1.7.
    """
    plan = replace(
        RECIPES.load(RECIPES.find("gaussian"), smoke=True)[0].plan, max_steps=150, train_batch_size=512
    )
    recipe = small(seeds=tuple(range(8)), losses=("cross entropy", "denoising"), plan=plan, evaluation=400)
    outcome = run(recipe, tmp_path, Accelerator())
    for loss in recipe.losses:
        assert _inside(outcome, loss) == "inside", loss
        assert np.mean(outcome.draws[loss].shares) < 0.2, loss
    for wrong in (2.0, 0.5, -1.0):
        planted = {name: wrong * found for name, found in outcome.probes.items()}
        for loss in recipe.losses:
            assert _inside(replace(outcome, probes=planted), loss) == "OUTSIDE", (loss, wrong)
    section = gaussian_section(outcome)
    assert "cross entropy inside" in section["summary"]
    assert len(section["tables"][0]["rows"]) == 6


def test_covariations_move_the_mean_by_what_the_event_does() -> None:
    """variance times pull is the mean of the step given the event, by importance weights."""
    recipe = small()
    frozen = frozen_of(recipe, CPU)
    assert recipe.gaussian is not None
    chain, n = ChainH.of(recipe.gaussian, frozen), 200_000
    x = torch.tensor([[0.4, -0.3]], dtype=torch.float64)
    steps = torch.tensor([2])
    t = frozen.sampler.times(steps)
    mean, std = frozen.sampler.moments(frozen.output(x, t), steps, x, 1.0)
    noise = torch.randn(n, 2, generator=generator_of(3, 0), dtype=torch.float64)
    then = mean + std * noise
    weights = torch.exp(chain.log_h(then, frozen.sampler.times(torch.full((n,), 3))) - chain.log_h(x, t))
    moved = (weights[:, None] * std * noise).mean(dim=0)
    error = (weights[:, None] * std * noise).std(dim=0) / math.sqrt(n)
    assert bool((torch.abs(moved - (std**2 * chain.pull(x, t))[0]) < 5.0 * error).all())
    assert bool((5.0 * error < 0.05 * moved.abs().max()).all())


# -- the store


def test_a_store_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    recipe = small(trajectories=1200)
    frozen, accelerator = frozen_of(recipe, CPU), Accelerator()

    def made(folder: Path, storage: Storage = recipe.store, seed: int = 0) -> Any:
        return make_store(folder, frozen, storage, seed, "model", accelerator, announce=lambda _: None)

    made(tmp_path / "a")
    whole = {file.name: file.read_bytes() for file in (tmp_path / "a").glob("shard-*")}
    assert [len(part) for _, part in sorted(whole.items())] == [
        500 * 7 * 2 * 4,
        500 * 7 * 2 * 4,
        200 * 7 * 2 * 4,
    ]
    (tmp_path / "a" / "shard-00001.bin").unlink()
    (tmp_path / "a" / "shard-00002.bin").write_bytes(b"half")
    store = made(tmp_path / "a")
    assert {file.name: file.read_bytes() for file in (tmp_path / "a").glob("shard-*")} == whole
    rows, steps = torch.tensor([0, 700, 1199]), torch.tensor([6, 0, 6])
    states = store.states(rows, steps, torch.float64)
    assert torch.equal(states[[0, 2]], store.last(torch.float64)[[0, 1199]])
    with pytest.raises(OtherRun, match="another model, grid, seed or kind"):
        made(tmp_path / "a", seed=1)


def test_half_precision_of_a_store_is_the_nearest(tmp_path: Path) -> None:
    recipe = small(trajectories=600)
    frozen, accelerator = frozen_of(recipe, CPU), Accelerator()
    stores = [
        make_store(
            tmp_path / kind,
            frozen,
            replace(recipe.store, dtype=kind),
            0,
            "",
            accelerator,
            announce=told.append,
        )
        for kind, told in (("float32", []), ("bfloat16", []))
    ]
    exact, half = (store.last(torch.float32) for store in stores)
    assert torch.equal(exact.to(torch.bfloat16).float(), half)


def test_the_size_is_told_and_refused_before_anything_is_made(tmp_path: Path) -> None:
    recipe, told = small(), list[str]()
    large = replace(recipe.store, trajectories=10**9)
    assert size_of(large, 6, (2,)) == 10**9 * 7 * 2 * 4
    with pytest.raises(UnmetHypothesis, match=r"most_gib = 1.*56 GB"):
        make_store(tmp_path / "x", frozen_of(recipe, CPU), large, 0, "", Accelerator(), announce=told.append)
    assert not (tmp_path / "x").exists()


def test_events_that_no_trajectory_reaches_are_refused(tmp_path: Path) -> None:
    recipe = small(trajectories=300)
    assert recipe.gaussian is not None
    with pytest.raises(UnmetHypothesis, match=r"some trajectories end in the event.*0 of 300"):
        parts(replace(recipe, gaussian=replace(recipe.gaussian, level=50.0)), tmp_path)


def test_recipes_that_cannot_be() -> None:
    recipe = small()
    with pytest.raises(UnmetHypothesis, match="eta > 0"):
        replace(recipe, sampling=Sampling(4, eta=0.0))
    with pytest.raises(UnmetHypothesis, match="gaussian, or image with event"):
        replace(recipe, gaussian=None)


def test_intervals_of_satisfaction_are_exact() -> None:
    from driftproof.backends.torch.doob.experiment import Draws

    told = satisfaction(Draws(torch.zeros(10, 2), torch.ones(10, dtype=torch.bool), 1.0))
    low = 0.005 ** (1.0 / 10.0)  # of ten hits in ten
    assert told == f"1.0000 [{low:.4f}, 1.0000]"
