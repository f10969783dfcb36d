"""DDPO and MixGRPO on a model whose objective is exact: its gradient, its optimum, its resumption."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import array_api_compat.numpy as numpy_namespace
import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("diffusers")

from accelerate import Accelerator

from driftproof import UnmetHypothesis
from driftproof.backends.torch import checkpoint as checkpoints
from driftproof.backends.torch.reward_gap import main
from driftproof.backends.torch.reward_gap.config import Budget, GaussianModel, Sampling
from driftproof.backends.torch.reward_gap.gaussian import (
    Exact,
    GaussianDenoiser,
    gaussian_sampler,
    gaussian_task,
)
from driftproof.backends.torch.reward_gap.methods import DDPOTrainer, MixGRPOTrainer
from driftproof.backends.torch.training import TrainingInterrupted
from driftproof.numerics.reward_gap import Window
from driftproof.numerics.samplers import gddim_step
from driftproof.theory.processes import VP
from driftproof.theory.reward_gap import sampler_moments

MODEL, STEPS, BETA = GaussianModel(), 8, 0.05
CPU = Accelerator(cpu=True)
BUDGET = Budget(
    epochs=20,
    prompts=64,
    micro_batch=10**6,
    learning_rate=1e-2,
    max_grad_norm=1e6,
    scale=False,
    advantage_clip=0.0,
    beta=BETA,
    kl="path",
    history=0.9,
    pairs=64,
)
FULL, SLIDING = Window(), Window(size=3, every=1)


def made(method="ddpo", budget: Budget = BUDGET, window: Window = FULL, eta: float = 1.0, start=(0.0, 1.0)):
    """A trainer on the Gaussian model, and that model."""
    sampler = gaussian_sampler(MODEL, Sampling(steps=STEPS, eta=eta))
    denoiser = GaussianDenoiser(MODEL, sampler.scheduler.alphas_cumprod)
    if method == "ddpo":
        trainer = DDPOTrainer(denoiser, sampler, gaussian_task(MODEL, denoiser), budget, accelerator=CPU)
    else:
        budget = replace(budget, prompts=budget.prompts // 16, group=16)
        task = gaussian_task(MODEL, denoiser)
        trainer = MixGRPOTrainer(denoiser, sampler, task, budget, accelerator=CPU, stochastic=window)
    with torch.no_grad():  # after the reference was copied
        denoiser.theta.fill_(start[0])
        denoiser.kappa.fill_(start[1])
    return trainer, denoiser


def exact(kl="path", beta: float = BETA, eta: float = 1.0) -> Exact:
    trainer, denoiser = made(eta=eta)
    return Exact(MODEL, trainer.sampler, denoiser, beta, kl)


def windows(window: Window) -> list[range]:
    """Every place of the window once."""
    starts = {window.steps(STEPS, i * window.every).start: i * window.every for i in range(STEPS)}
    return [window.steps(STEPS, iteration) for iteration in starts.values()]


# -- the exact objective


def noise_of(process: VP, theta: float, kappa: float):
    """The predicted noise, written from the formula of the score: -sigma s."""

    def noise(x, t):
        alpha, sigma = process.alpha_sigma(numpy_namespace, t)
        return sigma * kappa * (x - alpha * theta) / (alpha**2 * MODEL.variance + sigma**2)

    return noise


@pytest.mark.parametrize("eta", [0.5, 1.0, 2.0])
def test_the_exact_law_is_that_of_the_steps_of_the_process(eta: float) -> None:
    """Without the scheduler: gDDIM's kernel on VP, its law read off by the theory's own probe."""
    theta, kappa = 0.4, 1.3
    process = VP(MODEL.decay, MODEL.decay, 1.0)
    reference = exact(eta=eta)
    grid = [(float(t) + 1.0) / MODEL.levels for t in reference.sampler.timesteps] + [1.0 / MODEL.levels]
    noise = noise_of(process, theta, kappa)
    for zero in (True, False):

        def step(x, t, s, z, used=0.0 if zero else eta):
            t, s = np.full_like(x, t), np.full_like(x, s)
            return gddim_step(process, x, t, s, noise(x, t), used, z)

        means, variances = sampler_moments(step, grid, 0.0, 1.0)
        expected = -((means[-1] - MODEL.target) ** 2) - variances[-1]
        assert reference.reward(theta, kappa, eta_zero=zero) == pytest.approx(expected, rel=1e-6)


def test_the_exact_divergence_is_the_sum_over_steps() -> None:
    """|c|^2 E|eps - eps_ref|^2 / (2 sigma^2) with the moments of the path, by hand."""
    theta, kappa, eta = 0.4, 1.3, 1.5
    reference = exact(eta=eta)
    levels = reference.sampler.scheduler.alphas_cumprod.double().numpy()
    places = [*reference.sampler.timesteps.tolist(), 0]
    mean, variance, total = 0.0, 1.0, 0.0
    for t, s in pairwise(places):
        (at, bt), (a, b) = ((math.sqrt(levels[i]), math.sqrt(1.0 - levels[i])) for i in (t, s))
        ratio = (at / bt) ** 2 / (a / b) ** 2
        std2 = b**2 * (1.0 - ratio ** (eta**2))
        c = math.sqrt(b**2 - std2) - a / at * bt
        spread = at**2 * MODEL.variance + bt**2
        gain, shift = kappa * bt / spread, -kappa * bt * at * theta / spread
        gain0 = bt / spread
        total += c**2 * ((gain - gain0) ** 2 * variance + ((gain - gain0) * mean + shift) ** 2) / (2.0 * std2)
        slope = a / at + c * gain
        mean, variance = slope * mean + c * shift, slope**2 * variance + std2
    objective = -((mean - MODEL.target) ** 2) - variance - BETA * total
    assert reference.objective(theta, kappa) == pytest.approx(objective, rel=1e-6)


def test_the_direction_of_the_full_window_is_the_gradient_and_its_zero_the_maximum() -> None:
    reference = exact()
    h = 1e-5
    for theta, kappa in ((0.0, 1.0), (0.5, 1.3)):
        numeric = [
            (reference.objective(theta + h, kappa) - reference.objective(theta - h, kappa)) / (2.0 * h),
            (reference.objective(theta, kappa + h) - reference.objective(theta, kappa - h)) / (2.0 * h),
        ]
        assert reference.direction(theta, kappa, windows(FULL)) == pytest.approx(numeric, abs=1e-8)
    found = minimize(
        lambda p: -reference.objective(*p), [0.1, 1.0], method="Nelder-Mead", options={"xatol": 1e-8}
    )
    assert reference.optimum(windows(FULL)) == pytest.approx(found.x, abs=1e-4)


def test_other_updates_rest_elsewhere() -> None:
    """The usual KL term and the window are no gradients of the objective: both optima differ visibly."""
    best = exact().optimum(windows(FULL))
    assert abs(exact("loss").optimum(windows(FULL))[0] - best[0]) > 0.015
    assert abs(exact().optimum(windows(SLIDING))[0] - best[0]) > 0.05


# -- the gradient that the trainers follow


def gradients(method: str, kl: str, window: Window, seeds: int = 20) -> np.ndarray:
    """The ascent direction of one epoch for each seed, as a sum over the stochastic steps."""
    rows = []
    budget = replace(BUDGET, epochs=1, prompts=1024, learning_rate=1e-12, kl=kl, pairs=2)
    for seed in range(seeds):
        trainer, denoiser = made(method, replace(budget, seed=seed), window, start=(0.4, 1.2))
        trainer.train()
        count = len(window.steps(STEPS, 0))
        rows.append([-count * denoiser.theta.grad.item(), -count * denoiser.kappa.grad.item()])
    return np.array(rows)


@pytest.mark.parametrize(
    ("method", "kl", "window"),
    [("ddpo", "path", FULL), ("ddpo", "loss", FULL), ("mixgrpo", "path", FULL), ("mixgrpo", "path", SLIDING)],
)
def test_the_expected_update_is_the_exact_direction(method: str, kl: str, window: Window) -> None:
    """Two t-tests over 20 seeds, false alarm 1e-6 together; the other way to penalise is refuted beside it."""
    found = gradients(method, kl, window)
    first = [window.steps(STEPS, 0)]
    right = exact(kl).direction(0.4, 1.2, first)
    wrong = exact("loss" if kl == "path" else "path").direction(0.4, 1.2, first)
    error = found.std(axis=0, ddof=1) / math.sqrt(len(found))
    threshold = stats.t.ppf(1.0 - 2.5e-7, len(found) - 1)
    assert (np.abs(found.mean(axis=0) - right) / error).max() < threshold
    if window is FULL:
        assert (np.abs(found.mean(axis=0) - wrong) / error).max() > threshold


def test_a_mean_over_coordinates_clips_otherwise_and_climbs_the_same_way() -> None:
    both = []
    for ratio in ("sum", "mean"):
        trainer, denoiser = made(budget=replace(BUDGET, epochs=1, ratio=ratio))
        trainer.train()
        both.append(denoiser.theta.grad.item())
    assert both[0] == pytest.approx(both[1], rel=1e-12)


def test_the_first_update_is_on_policy_and_later_ones_are_clipped() -> None:
    trainer, _ = made(budget=replace(BUDGET, epochs=3, clip=0.5))
    row = trainer.train().rows[-1]
    assert row["clip_fraction"] == 0.0
    assert row["squared_log_ratio"] == 0.0
    trainer, _ = made(budget=replace(BUDGET, epochs=3, updates=4, clip=1e-4))
    row = trainer.train().rows[-1]
    assert 0.2 < row["clip_fraction"] < 0.75  # of four updates the first clips nothing, half of the others
    assert row["squared_log_ratio"] > 1e-8


# -- the optimum


def ends(method: str, window: Window, epochs: int, budget: Budget, seeds: int) -> np.ndarray:
    rows = []
    for seed in range(seeds):
        log = made(method, replace(budget, epochs=epochs, seed=seed), window)[0].train()
        rows.append([np.mean(log.column(name)[epochs // 2 :]) for name in ("theta", "kappa")])
    return np.array(rows)


def assert_ends_at(found: np.ndarray, best: tuple[float, float], largest: float) -> None:
    """Student's interval over seeds at 1 - 1e-4 for each parameter, which must also be narrow enough to matter."""
    half = stats.t.ppf(1.0 - 5e-5, len(found) - 1) * found.std(axis=0, ddof=1) / math.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - best) <= half).all(), (found.mean(axis=0), best, half)
    assert half[0] < largest


def test_ddpo_ends_at_the_exact_optimum() -> None:
    """0.33, begun at 0: false alarm 2e-4; an end that is 0.1 away would not pass."""
    found = ends("ddpo", FULL, 150, replace(BUDGET, prompts=512, learning_rate=2e-2), seeds=5)
    assert_ends_at(found, exact().optimum(windows(FULL)), 0.1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "kl", "window"),
    [("ddpo", "path", FULL), ("ddpo", "loss", FULL), ("mixgrpo", "path", FULL), ("mixgrpo", "path", SLIDING)],
)
def test_every_trainer_ends_at_its_own_optimum(method: str, kl: str, window: Window) -> None:
    """False alarm 2e-4 each; the optimum of the usual KL term is 0.02 away from that of the path."""
    budget = replace(BUDGET, prompts=2048, learning_rate=5e-3, kl=kl)
    found = ends(method, window, 700, budget, seeds=6)
    assert_ends_at(found, exact(kl).optimum(windows(window)), 0.02)


def test_the_measured_gap_covers_the_exact_one() -> None:
    """One interval at 1 - 1e-6 for 4096 pairs."""
    trainer, _ = made(budget=replace(BUDGET, level=1.0 - 1e-6), start=(0.5, 1.4))
    gap = trainer.measure(4096)
    reference = exact()
    ode, sde = (reference.reward(0.5, 1.4, eta_zero=zero) for zero in (True, False))
    assert gap.low <= ode - sde <= gap.high
    assert gap.high - gap.low < 0.2
    assert gap.ode == pytest.approx(ode, abs=0.1)


def test_the_training_raises_the_reward() -> None:
    trainer, _ = made(budget=replace(BUDGET, epochs=120, prompts=256, evaluate_every=60))
    log = trainer.train()
    assert [epochs for epochs, _ in log.gaps] == [0, 60, 120]
    assert log.gaps[-1][1].ode > log.gaps[0][1].ode + 0.3


# -- kill, interrupt, resume

SCRIPT = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_torch_reward_gap import *

trainer, denoiser = made({method!r}, CHECKPOINTED, SLIDING)
task, calls = trainer.task, []
def fatal(images, prompts):
    calls.append(0)
    if len(calls) == 2 + 13:  # two rewards of the first measurement, then one an epoch
        os.kill(os.getpid(), signal.SIGKILL)
    return task.reward(images, prompts)
trainer.task = replace(task, reward=fatal)
trainer.train(Path({path!r}))
"""

CHECKPOINTED = replace(BUDGET, save_every=5, updates=2, seed=3)


@pytest.mark.parametrize("method", ["ddpo", "mixgrpo"])
def test_a_killed_run_resumes_bit_for_bit(tmp_path: Path, method: str) -> None:
    path, straight = tmp_path / "run.safetensors", tmp_path / "straight.safetensors"
    script = SCRIPT.format(tests=str(Path(__file__).parent), path=str(path), method=method)
    killed = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parent.parent, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(checkpoints.load(path)[1]["rows"]) == 10
    resumed = made(method, CHECKPOINTED, SLIDING)[0].train(path)
    again = made(method, CHECKPOINTED, SLIDING)[0].train(straight)
    assert resumed.rows == again.rows
    assert resumed.gaps == again.gaps
    ours, theirs = (checkpoints.load(p)[0] for p in (path, straight))
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert list(tmp_path.glob(".*")) == []


def test_a_finished_run_is_loaded_and_not_trained_again(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    first = made()[0].train(path)
    trainer, denoiser = made()
    trainer.task = replace(trainer.task, reward=lambda *_: pytest.fail("sampled again"))
    assert trainer.train(path).rows == first.rows
    assert denoiser.theta.item() == first.rows[-1]["theta"]


def test_ctrl_c_saves_and_the_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    trainer, _ = made()
    reward, calls = trainer.task.reward, []

    def interrupted(images, prompts):
        calls.append(0)
        if len(calls) == 2 + 7:
            os.kill(os.getpid(), signal.SIGINT)
        return reward(images, prompts)

    trainer.task = replace(trainer.task, reward=interrupted)
    with pytest.raises(TrainingInterrupted, match="stopped after step 7; saved in"):
        trainer.train(path)
    assert made()[0].train(path).rows == made()[0].train().rows


def test_a_checkpoint_of_another_budget_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    made()[0].train(path)
    with pytest.raises(ValueError, match="another configuration"):
        made(budget=replace(BUDGET, beta=0.1))[0].train(path)


# -- processes and devices

PARALLEL = """
import json, sys
sys.path.insert(0, {tests!r})
from test_torch_reward_gap import *

found = {{}}
for method in ("ddpo", "mixgrpo"):
    trainer, denoiser = made(method, replace(BUDGET, epochs=5, micro_batch=100, scale=True))
    log = trainer.train()
    found[method] = [list(row.values()) for row in log.rows]
    found[method + " gap"] = [[gap.ode, gap.sde, gap.low] for _, gap in log.gaps]
if CPU.is_main_process:
    Path({out!r}).write_text(json.dumps([CPU.num_processes, found]))
"""


@pytest.mark.slow
def test_two_processes_train_like_one(tmp_path: Path) -> None:
    found = {}
    for processes in (1, 2):
        script, out = tmp_path / f"{processes}.py", tmp_path / f"{processes}.json"
        script.write_text(PARALLEL.format(tests=str(Path(__file__).parent), out=str(out)))
        # On one machine accelerate starts several CPU processes only through its GPU launcher (torchrun).
        launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1"]
        launch += ["--multi_gpu"] if processes > 1 else ["--cpu"]
        launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
        launch += ["--num_processes", str(processes), "--num_cpu_threads_per_process", "1"]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
        subprocess.run([*launch, str(script)], check=True, env=environment, timeout=240)
        count, found[processes] = json.loads(out.read_text())
        assert count == processes
    for name, values in found[1].items():
        assert np.allclose(values, found[2][name], rtol=1e-9, atol=1e-11), name


@pytest.mark.gpu
def test_a_pipeline_trains_on_a_gpu(tmp_path: Path) -> None:
    recipes = Path(sys.modules[GaussianModel.__module__].__file__).parent.parent / "recipes" / "reward_gap"
    main(recipes / "mixgrpo-flux.toml", smoke=True, out=tmp_path)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["meta"]["device"] == "cuda"


# -- bad input


def test_training_without_noise_is_refused() -> None:
    for method in ("ddpo", "mixgrpo"):
        with pytest.raises(UnmetHypothesis, match="eta > 0: a deterministic step has no log-probability"):
            made(method, eta=0.0)


def test_groups_of_one_are_refused() -> None:
    sampler = gaussian_sampler(MODEL, Sampling(steps=STEPS))
    denoiser = GaussianDenoiser(MODEL, sampler.scheduler.alphas_cumprod)
    with pytest.raises(UnmetHypothesis, match="at least 2 samples of a prompt"):
        MixGRPOTrainer(denoiser, sampler, gaussian_task(MODEL, denoiser), BUDGET, accelerator=CPU)


def test_a_model_of_another_prediction_is_refused() -> None:
    sampler = gaussian_sampler(MODEL, Sampling(steps=STEPS))
    denoiser = GaussianDenoiser(MODEL, sampler.scheduler.alphas_cumprod)
    denoiser.prediction = "v_prediction"
    with pytest.raises(
        UnmetHypothesis, match="the model predicts 'v_prediction', the scheduler takes 'epsilon'"
    ):
        DDPOTrainer(denoiser, sampler, gaussian_task(MODEL, denoiser), BUDGET, accelerator=CPU)


def test_a_reward_that_is_not_finite_stops_before_the_update(tmp_path: Path) -> None:
    trainer, denoiser = made()
    calls = []

    def poisoned(images, prompts):
        calls.append(0)
        values = torch.zeros(len(images))
        values[3] = float("nan") if len(calls) == 4 else 0.0
        return values

    trainer.task = replace(trainer.task, reward=poisoned)
    with pytest.raises(FloatingPointError, match=r"1 of 64 are not finite \(3: nan for 'a number'\)"):
        trainer.train(tmp_path / "run.safetensors")
    assert len(checkpoints.load(tmp_path / "run.safetensors")[1]["rows"]) == 1
    assert denoiser.theta.isfinite()


def test_a_reward_of_another_shape_is_refused() -> None:
    trainer, _ = made()
    trainer.task = replace(trainer.task, reward=lambda images, prompts: images)
    with pytest.raises(UnmetHypothesis, match="one reward for each image"):
        trainer.train()


@pytest.mark.parametrize(
    ("change", "hypothesis"),
    [
        ({"epochs": 0}, "epochs > 0"),
        ({"clip": 0.0}, "clip in"),
        ({"clip": 1.0}, "clip in"),
        ({"beta": -1.0}, "beta >= 0"),
        ({"level": 1.0}, "level in"),
        ({"history": 1.1}, "history <= 1"),
        ({"least": 1}, "least >= 2"),
        ({"pairs": 1}, "pairs >= 2"),
        ({"learning_rate": math.nan}, "learning_rate > 0"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(change, hypothesis: str) -> None:
    with pytest.raises(UnmetHypothesis, match=hypothesis):
        replace(BUDGET, **change)


def test_rows_that_cannot_be_dealt_are_refused() -> None:
    with pytest.raises(UnmetHypothesis, match="divide the rows"):
        made(budget=replace(BUDGET, updates=5))


def test_a_window_wider_than_the_grid_is_refused() -> None:
    with pytest.raises(UnmetHypothesis, match="not wider"):
        made("mixgrpo", window=Window(size=STEPS + 1))


def test_equal_rewards_move_nothing() -> None:
    trainer, denoiser = made("mixgrpo", replace(BUDGET, beta=0.0, scale=True))
    trainer.task = replace(trainer.task, reward=lambda images, _: torch.full((len(images),), 0.1))
    trainer.train()
    assert (denoiser.theta.item(), denoiser.kappa.item()) == (0.0, 1.0)
