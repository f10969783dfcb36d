"""The trainer on the closed form: its optimum, its interval, a kill in the middle; and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from driftproof import UnmetHypothesis
from driftproof.backends.torch.adjoint import (
    AffineFlow,
    Cost,
    FlowTrainer,
    Matching,
    Task,
    closed_form,
    main,
)
from driftproof.backends.torch.adjoint.config import RECIPES as SHIPPED
from driftproof.backends.torch.adjoint.config import Recipe
from driftproof.backends.torch.adjoint.experiment import gaussian_problem, tune_gaussian
from driftproof.backends.torch.kit.entry import SMOKE
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.seeding import generator_of
from driftproof.backends.torch.rl.gaussian import GaussianModel
from driftproof.theory.adjoint import DiscreteFlow
from driftproof.theory.rewards import Linear

RECIPES = Path(__file__).parent.parent / "backends" / "torch" / "recipes" / "adjoint"
MODEL = GaussianModel((1.3, -0.2), ((0.49, 0.2), (0.2, 1.1)), (0.8, 0.1), ((1.7, -0.3), (-0.3, 0.4)))
FLOW, REWARD, TIMES = gaussian_problem(MODEL, 5)
ROWS = torch.zeros(4, dtype=torch.long)
CORNERS = 2.0**0.5 * torch.cat([torch.eye(2), -torch.eye(2)]).double()


def trainer(plan, path=None, task=None, times=TIMES, **matching):
    task = task or Task((2,), closed_form(REWARD), dtype=torch.float64)
    options = {"lam": 0.9, **matching}
    return FlowTrainer(AffineFlow(FLOW, TIMES), task, times, Matching(**options), plan, checkpoint=path)


def plan(steps=60, **options):
    return Plan(
        max_steps=steps, train_batch_size=16, learning_rate=0.1, max_grad_norm=1e3, ema_decay=0.9, **options
    )


@pytest.mark.slow(ci=True)
def test_the_optimum_lies_in_the_stated_interval(tmp_path):
    """Exact expectations: the interval has no chance in it, and shrinks with the training."""
    recipe = Recipe("Gaussian", Matching(lam=0.9), plan(120), gaussian=MODEL, steps=5)
    outcome = tune_gaussian(recipe, tmp_path, Accelerator())
    assert outcome.holds
    width = outcome.certified.high - outcome.certified.low
    assert 0.0 < width < 0.02 * (outcome.before - outcome.optimum)
    # The gap is second order in the policy: the mean is this near.
    assert max(abs(a - b) for a, b in zip(outcome.mean, outcome.best_mean, strict=True)) < 0.1


def test_the_exact_control_has_no_loss_and_the_optimal_cost():
    made = trainer(plan())
    grid = DiscreteFlow(FLOW, TIMES)
    points = torch.cat([torch.zeros(1, 2), torch.eye(2)]).double()
    with torch.no_grad():
        for k in range(5):
            u = grid.control(points, k, REWARD, 0.9)
            made.flow.gains[k] = (u[1:] - u[0]).T
            made.flow.offsets[k] = u[0]
    found = made.evaluate(CORNERS, ROWS)
    torch.testing.assert_close(found.losses, torch.zeros(4).double(), atol=1e-28, rtol=0)
    torch.testing.assert_close(found.costs.mean(), grid.objective(REWARD, 0.9), rtol=1e-12, atol=0)


@pytest.mark.slow(ci=True)
def test_killed_and_resumed_is_the_same_bit_for_bit(tmp_path):
    whole = trainer(plan(save_steps=7))
    log = whole.train().log

    path = tmp_path / "run.safetensors"
    calls = []

    def dying(x, prompts):
        calls.append(1)
        if len(calls) > 40:
            raise KeyboardInterrupt
        return closed_form(REWARD)(x, prompts)

    task = Task((2,), dying, dtype=torch.float64)
    with pytest.raises(KeyboardInterrupt):
        trainer(plan(save_steps=7), path, task).train()
    resumed = trainer(plan(save_steps=7), path)
    assert torch.equal(resumed.train().log, log)
    assert torch.equal(resumed.flow.gains, whole.flow.gains)
    assert torch.equal(resumed.flow.offsets, whole.flow.offsets)


@pytest.mark.slow(ci=True)
def test_the_log_is_a_look_at_the_evaluation():
    """Rewards are those of the batch; losses are unbiased: here over steps drawn 400 times."""
    made = trainer(plan(1))
    log = made.train().log[0]
    noise, rows, _ = made.method.draw(generator_of(0, 0), 16)
    fresh = trainer(plan(400), chosen=2)
    found = fresh.evaluate(noise, rows)
    torch.testing.assert_close(log[0].double(), found.rewards.mean(), rtol=1e-5, atol=1e-5)
    generator, seen = torch.Generator().manual_seed(5), []
    for _ in range(400):
        samples = fresh.method.samples(noise, rows, torch.rand(16, 2, generator=generator))
        signal = fresh.method.signal(samples)
        (batch,) = fresh.method.times.batches(samples, rows, 16, generator, first=True)
        seen.append(fresh.method.loss(batch, samples, signal).seen["loss"].mean().detach())
    drawn = torch.stack(seen).double()
    # Five standard errors: a false alarm in two million.
    assert abs(float(drawn.mean() - found.losses.mean())) < 5.0 * float(drawn.std()) / 20.0


@pytest.mark.parametrize("mode", ["train", "frozen", "identity"])
def test_truncated_training_leaves_alone_what_it_does_not_train(mode):
    made = trainer(plan(10), last=2, mode=mode)
    made.train()
    untouched = made.flow.offsets.detach()[:3].abs().max() == 0.0
    assert untouched == (mode != "frozen")
    assert made.flow.offsets.detach()[3:].abs().min() > 0.0


@pytest.mark.slow(ci=True)
def test_every_switch_trains():
    for options in (
        {"chosen": 2},
        {"keep": 0.5},
        {"damping": 0.5},
        {"cost": Cost("ball", 0.3)},
        {"cost": Cost("elastic", 0.1)},
        {"cost": Cost("power", 1.5)},
    ):
        made = trainer(plan(20), **options)
        before = made.evaluate(CORNERS, ROWS).rewards.mean()
        made.train()
        assert made.evaluate(CORNERS, ROWS).rewards.mean() > before, options


def test_autograd_is_the_closed_form():
    x, a = torch.randn(3, 2).double().requires_grad_(), torch.randn(3, 2).double()
    (pulled,) = torch.autograd.grad(FLOW.velocity(x, 0.7), x, a)
    torch.testing.assert_close(pulled, FLOW.vjp(x.detach(), 0.7, a), rtol=1e-13, atol=1e-14)
    call = closed_form(REWARD)
    assert torch.autograd.gradcheck(lambda x: call(x, [""] * 3), (x,))


def test_bounds_and_copies_of_the_gradient():
    x = torch.randn(6, 2).double()
    prompts = torch.zeros(6, dtype=torch.long)
    plain = Task((2,), closed_form(REWARD), dtype=torch.float64)
    rewards, slope = plain.rewards_and_gradients(x, prompts)
    torch.testing.assert_close(rewards, REWARD.value(x))
    torch.testing.assert_close(slope, REWARD.gradient(x))
    _, bounded = replace(plain, bound=0.5).rewards_and_gradients(x, prompts)
    assert bool((bounded.norm(dim=1) <= 0.5 + 1e-12).all())
    torch.testing.assert_close(bounded / bounded.norm(dim=1)[:, None], slope / slope.norm(dim=1)[:, None])
    same, copies = replace(plain, smoothing=400, noise=0.1).rewards_and_gradients(x, prompts)
    torch.testing.assert_close(same, rewards)
    # Gradients are affine: the mean over copies is off by Q times the mean of 400 noises, at most about 4 / 20
    # of 0.1 |Q| with a false alarm of 1e-4 for each of 12 entries.
    assert float((copies - slope).abs().max()) < 2.0 * 0.1 * 4.0 / 20.0


def constant(x, prompts):
    return torch.zeros(len(x))


def tuned(**changes):
    recipe = Recipe("Gaussian", Matching(lam=0.9), plan(1), gaussian=MODEL, steps=5)
    return tune_gaussian(replace(recipe, **changes), Path("unused"), Accelerator())


@pytest.mark.parametrize(
    ("call", "hypothesis"),
    [
        (lambda: Matching(lam=0.0), "lam > 0"),
        (lambda: Matching(lam=1.0, keep=0.0), "keep > 0"),
        (lambda: Matching(lam=1.0, damping=1.0), "damping < 1"),
        (lambda: Matching(lam=1.0, last=-1), "last >= 0"),
        (lambda: trainer(plan(), last=6), "last <= 5"),
        (lambda: trainer(plan(), times=(1.0,)), "at least two times"),
        (lambda: Matching(lam=1.0, mode="drop"), "mode is one of 'train', 'frozen'"),
        (lambda: Matching(lam=1.0, guidance="some"), "guidance is one of 'none'"),
        (lambda: Cost("ball", 0.0), "bound > 0"),
        (lambda: Cost("huber", 1.0), "kind is one of"),
        (lambda: Task((2,), constant, at_once=0), "at_once >= 1"),
        (lambda: Task((2,), constant, smoothing=0), "smoothing >= 1"),
        (lambda: AffineFlow(FLOW, TIMES).tuned(torch.zeros(1, 2), 0.123, {}), "t starts a step of its grid"),
        (lambda: Task((2,), constant, dtype=torch.bfloat16), "adjoints accumulate"),
        (lambda: Task((2,), constant, conditions={"prompt": torch.zeros(2, 1)}), "a row for each prompt"),
        (
            lambda: trainer(plan(), task=Task((2,), constant, dtype=torch.float64)).train(),
            "the reward has a gradient",
        ),
        (
            lambda: trainer(plan(), task=Task((2,), lambda x, p: x.sum(), dtype=torch.float64)).train(),
            "one reward for each state",
        ),
        (lambda: GaussianModel((0.0,), ((1.0,),), (1.0, 2.0), ((1.0,),)), "one space"),
        (lambda: tuned(gaussian=replace(MODEL, Q=((1.0, 0.0), (0.0, -0.1)))), "the reward is concave"),
        (
            lambda: tuned(matching=Matching(lam=0.9, cost=Cost("ball", 0.5))),
            "the running cost is quadratic",
        ),
        (lambda: Recipe("none", Matching(lam=1.0), plan()), "a table"),
    ],
)
def test_bad_input_names_the_hypothesis(call, hypothesis):
    with pytest.raises(UnmetHypothesis, match=hypothesis):
        call()


def test_rewards_without_gradient_are_named():
    """A program, and a network that looks at something else."""
    from driftproof.backends.torch.reward_gap import JPEGReward

    images = torch.rand(2, 3, 8, 8)
    elsewhere = torch.ones((), requires_grad=True)

    def blind(x, prompts):
        return elsewhere * torch.ones(len(x))

    for reward, name in ((JPEGReward(), "JPEGReward"), (blind, "blind")):
        with pytest.raises(UnmetHypothesis, match=f"has a gradient in the images .{name}"):
            Task((3, 8, 8), reward).rewards_and_gradients(images, torch.zeros(2, dtype=torch.long))


def test_a_reward_that_is_not_finite_stops_the_training():
    task = Task((2,), lambda x, p: x.sum(dim=1) / 0.0, dtype=torch.float64)
    with pytest.raises(FloatingPointError, match="not finite"):
        trainer(plan(), task=task).train()


def test_another_configuration_is_refused(tmp_path):
    path = tmp_path / "run.safetensors"
    trainer(plan(3), path).train()
    with pytest.raises(ValueError, match="another configuration"):
        trainer(plan(3), path, lam=0.5).train()


@pytest.mark.parametrize("name", ["gaussian", "flux2-klein-4b", "sit-xl-2"])
def test_the_packaged_recipes_are_valid(name):
    for smoke in (False, True):
        recipe, _ = SHIPPED.load(RECIPES / f"{name}.toml", smoke)
        assert recipe.steps > 0


def test_the_command_writes_a_report(tmp_path):
    text = (RECIPES / "gaussian.toml").read_text().replace("steps = 160", "steps = 20")
    (tmp_path / "small.toml").write_text(text)
    main(tmp_path / "small.toml", True, tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["paper"] == "adjoint" and report["summary"] == SMOKE
    assert report["tables"] and report["figures"][0]["svg"].startswith("<svg")


def test_the_loss_is_that_of_the_cost_that_is_trained():
    """A control at the bound of its ball leaves nothing to match; for the quadratic cost it would."""
    reward = Linear(torch.tensor([3.0, 0.0], dtype=torch.float64))
    task = Task((2,), closed_form(reward), dtype=torch.float64)
    made = trainer(plan(), task=task, cost=Cost("ball", 1e-3))
    noise, rows = torch.zeros(1, 2, dtype=torch.float64), torch.zeros(1, dtype=torch.long)
    assert float(made.evaluate(noise, rows).losses[0]) == pytest.approx(0.5e-6, rel=1e-9)
