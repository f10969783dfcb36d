"""Forwards of every trainer that is none of rollouts of images, counted where a network is asked: one that is added fails here.

Counted are rows, of the network that is trained and of that which is frozen, for each row of a step. Those of rollouts
are counted at dispatch, in ``tests/test_torch_rl_forwards.py``.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
for needed in ("accelerate", "diffusers", "peft", "transformers"):
    pytest.importorskip(needed)

from accelerate import Accelerator
from torch import Tensor, nn

from driftproof.backends.torch.art.gaussian import gaussian_flow
from driftproof.backends.torch.art.measuring import measure, run_solver
from driftproof.backends.torch.diffpo import Method, Settings, Trainer
from driftproof.backends.torch.doob import make_store
from driftproof.backends.torch.doob.config import GaussianData, Loss, Storage
from driftproof.backends.torch.doob.method import Learner, gradient_guide
from driftproof.backends.torch.doob.models import Frozen, gaussian_model
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.supervised import train
from driftproof.backends.torch.rich_po import (
    GaussianPairs,
    GaussianSource,
    Objective,
    PreferenceTrainer,
    ShiftedGaussian,
)
from driftproof.backends.torch.rich_po.gaussian import noising_of
from driftproof.backends.torch.rich_po.objective import compare, drawn, winner_reach
from driftproof.backends.torch.rl.sampler import Sampling

STEPS, ROWS = 5, 8
PLAN = Plan(max_steps=2, train_batch_size=ROWS, learning_rate=1e-3)


def counted(network: nn.Module, name: str, rows: Counter[str]) -> nn.Module:
    """The network, which counts; so do its copies."""

    def count(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        rows[name] += len(args[0])

    network.register_forward_hook(count)
    return network


def test_a_forward_that_is_added_is_seen() -> None:
    rows = Counter[str]()
    network = counted(nn.Linear(1, 1), "network", rows)

    def draw(generator: torch.Generator, batch: int) -> tuple[Tensor]:
        return (torch.randn(batch, 1, generator=generator),)

    for times in (1, 2):
        rows.clear()
        train(network, draw, lambda net, x, n=times: sum(net(x).mean() for _ in range(n)), PLAN)
        assert rows["network"] == times * PLAN.max_steps * ROWS


# -- doob


def learner(folder: Path, rows: Counter[str]) -> tuple[Frozen, Learner]:
    model = GaussianData((0.0, 0.0), ((1.0, 0.0), (0.0, 1.0)), (1.0, 0.0), 0.3, levels=50)
    frozen, count, cpu = gaussian_model(model, Sampling(STEPS)), 60, Accelerator(cpu=True)
    counted(frozen.denoiser, "frozen", rows)
    store = make_store(folder / "store", frozen, Storage(count), 0, "", cpu, announce=lambda _: None)
    assert rows == {"frozen": STEPS * count}
    made = Learner(frozen, store, 0, folder, cpu, {})
    log_h, field = made._new_log_h, made._field
    made._new_log_h = lambda: counted(log_h(), "log h", rows)  # type: ignore[method-assign]
    made._field = lambda of: counted(field(of), "field", rows)  # type: ignore[method-assign]
    rows.clear()
    return frozen, made


@pytest.mark.parametrize(
    ("loss", "asked"),
    [
        ("cross entropy", {"log h": 1}),
        ("martingale", {"log h": 1}),
        ("denoising", {"field": 1, "frozen": 1}),  # the score of the data at the noised state
        # The h of before and after a step, after a training of its own, and the mean of that step.
        ("covariation", {"log h": 1 + 2, "field": 1, "frozen": 1}),
    ],
)
def test_doob(loss: Loss, asked: dict[str, int], tmp_path: Path) -> None:
    rows = Counter[str]()
    learner(tmp_path, rows)[1].learn(loss, PLAN)
    assert rows == {name: each * PLAN.max_steps * ROWS for name, each in asked.items()}


def test_draws_of_doob(tmp_path: Path) -> None:
    """The model and the gradient of log h, once a step."""
    rows = Counter[str]()
    frozen, made = learner(tmp_path, rows)
    guide = gradient_guide(counted(made._new_log_h(), "guide", rows))
    frozen.sample(ROWS, torch.Generator().manual_seed(0), guide, "mean")
    assert rows == {"frozen": STEPS * ROWS, "guide": STEPS * ROWS, "log h": STEPS * ROWS}


# -- art


@pytest.mark.parametrize(
    ("options", "a_step", "ends"),
    [
        ({}, 4, 1),  # a slope for the step and for the error before it, Heun's other one, two differences
        ({"solver": "heun"}, 5, 0),  # a step, its second slope, and two halves that share the first slope
        ({"carried": True}, 4 + 2, 0),  # and all but the first fine step again, with a gradient, and Euler's to 0
    ],
)  # fmt: skip
def test_art(options: dict[str, Any], a_step: int, ends: int) -> None:
    flow, fine, rows = gaussian_flow(0.5, "flow", width=2), 6, Counter[str]()
    plain = flow.denoiser

    class Counting:
        prediction = plain.prediction

        def __call__(self, x: Tensor, t: Tensor, condition: Any = None) -> Tensor:
            rows["network"] += len(x)
            return plain(x, t, condition)

    flow.denoiser = Counting()
    found = measure(flow, ROWS, fine, torch.Generator().manual_seed(0), **options)
    assert rows["network"] == ROWS * (a_step * (fine - 1) + ends)
    assert found.evaluations >= rows["network"]  # a backward pass counts, too


@pytest.mark.parametrize(("solver", "forwards"), [("euler", STEPS), ("heun", 2 * STEPS - 1)])
def test_solvers_of_art(solver: Any, forwards: int) -> None:
    flow = gaussian_flow(0.5, "flow", width=2)
    run_solver(flow.velocity({}), torch.zeros(ROWS, 2), torch.linspace(1.0, 0.0, STEPS + 1).numpy(), solver)
    assert flow.evaluations == ROWS * forwards


# -- diffpo


class OneAtATime(nn.Module):
    """Uniform tokens of which a bound of 0 reveals one at a time, so that a rollout has as many calls as positions."""

    mask_token, vocabulary, length = 2, 2, 3

    def __init__(self, rows: Counter[str]) -> None:
        super().__init__()
        self.bias, self.rows = nn.Parameter(torch.zeros(2, dtype=torch.float64)), rows

    def logits(self, z: Tensor, attention_mask: Tensor) -> Tensor:
        self.rows["gradient" if torch.is_grad_enabled() else "rollout"] += len(z)
        return self.bias.expand(*z.shape, 2)

    def draw(self, generator: Any, count: int) -> tuple[Tensor, Tensor]:
        z = torch.full((count, self.length), self.mask_token)
        return z, torch.ones_like(z)

    def reward(self, z: Tensor, x: Tensor) -> Tensor:
        return x.double().sum(dim=1)


@pytest.mark.parametrize(
    ("loss", "trains", "iterations", "forwards"),
    [
        ("diffu_grpo", "model", 1, 1),  # the ratio's other side is what the first pass gave
        ("diffu_grpo", "model", 3, 3),
        ("wd1", "model", 1, 1),
        ("diffpo", "model", 1, 2),  # two times
        ("diffpo", "joint", 2, 4),
        ("coupled_grpo", "model", 1, 2),  # a mask and the other one
        ("gdpo", "model", 1, 2),  # two nodes
        ("trace", "model", 1, 3),  # as many as the rollout
        ("diffpo", "sampler", 1, 0),
    ],
)
def test_diffpo(loss: Any, trains: Any, iterations: int, forwards: int) -> None:
    rows = Counter[str]()
    model = OneAtATime(rows)
    settings = Settings(Method(loss, trains), (0.0, 0.0), samples=2, iterations=iterations)
    trainer = Trainer(model, model, settings, PLAN, Accelerator(cpu=True))
    trainer.advance(0)
    expected = {"rollout": model.length * ROWS, "gradient": forwards * ROWS}
    assert rows == {name: count for name, count in expected.items() if count}


# -- preferences


def test_preferences() -> None:
    """Winner and loser, of the model and of the reference; what winners can give asks the reference about winners alone."""
    model = GaussianPairs((0.3,), ((1.0,),), (0.7,), (0.95, 0.3))
    rows, denoiser = Counter[str](), ShiftedGaussian(model)
    source, noising, objective = GaussianSource(model), noising_of(model), Objective(0.7)
    trainer = PreferenceTrainer(
        denoiser, source, noising, objective, PLAN, at_once=3, accelerator=Accelerator(cpu=True)
    )
    counted(denoiser, "model", rows)
    kept = trainer.reference
    trainer.reference = lambda x, t, c: (rows.update(reference=len(x)), kept(x, t, c))[1]  # type: ignore[func-returns-value]
    trainer.advance(0)
    assert rows == {"model": 2 * ROWS, "reference": 2 * ROWS}
    rows.clear()
    generator = torch.Generator().manual_seed(0)
    batch = drawn(generator, source.draw(generator, ROWS), noising, objective)
    found = winner_reach(trainer.reference, batch, noising, objective, model.prediction)
    assert rows == {"reference": ROWS}
    seen = compare(denoiser, kept, batch, noising, objective, model.prediction).seen
    torch.testing.assert_close(found, seen["winner reach"])
