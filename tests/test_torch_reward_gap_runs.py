"""Policy gradients that are killed, interrupted, resumed, dealt to processes, or given what they cannot use."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("diffusers")

from driftproof import UnmetHypothesis
from driftproof.backends.torch.kit import checkpoint as checkpoints
from driftproof.backends.torch.kit.stop import TrainingInterrupted
from driftproof.backends.torch.reward_gap import main
from driftproof.backends.torch.reward_gap.config import ScalarModel
from driftproof.backends.torch.reward_gap.gaussian import GaussianDenoiser, gaussian_task
from driftproof.backends.torch.reward_gap.methods import DDPO, MixGRPO
from driftproof.backends.torch.rl.gaussian import vp_sampler
from driftproof.backends.torch.rl.sampler import Sampling
from driftproof.backends.torch.rl.trainer import RolloutTrainer
from driftproof.numerics.reward_gap import Window
from tests.gaussian_trainer import BUDGET, MODEL, SLIDING, STEPS, cpu, made

# -- kill, interrupt, resume

SCRIPT = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.test_torch_reward_gap_runs import *

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

CHECKPOINTED = replace(BUDGET, save_every=5, steps_per_generation=2, seed=3)


# The loop that saves and resumes is one for both: 8 s each.
@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("method", ["ddpo", pytest.param("mixgrpo", marks=pytest.mark.slow)])
def test_a_killed_run_resumes_bit_for_bit(tmp_path: Path, method: str) -> None:
    path, straight = tmp_path / "run.safetensors", tmp_path / "straight.safetensors"
    script = SCRIPT.format(root=str(Path(__file__).parent.parent), path=str(path), method=method)
    killed = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parent.parent, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(checkpoints.load(path)[1]["record"]["rows"]) == 10
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
    with pytest.raises(TrainingInterrupted, match="stopped after epoch 7; saved in"):
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
sys.path.insert(0, {root!r})
from tests.test_torch_reward_gap_runs import *

found = {{}}
for method in ("ddpo", "mixgrpo"):
    trainer, denoiser = made(method, replace(BUDGET, epochs=5, per_device_train_batch_size=100, per_device_rollout_batch_size=100, scale_rewards=True, steps_per_generation=2, clip_range=0.1))
    log = trainer.train()
    found[method] = [list(row.values()) for row in log.rows]
    found[method + " gap"] = [[gap.ode, gap.sde, gap.low] for _, gap in log.gaps]
if cpu().is_main_process:
    Path({out!r}).write_text(json.dumps([cpu().num_processes, found]))
"""


@pytest.mark.slow
def test_two_processes_train_like_one(tmp_path: Path) -> None:
    found = {}
    for processes in (1, 2):
        script, out = tmp_path / f"{processes}.py", tmp_path / f"{processes}.json"
        script.write_text(PARALLEL.format(root=str(Path(__file__).parent.parent), out=str(out)))
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
    recipes = Path(sys.modules[ScalarModel.__module__].__file__).parent.parent / "recipes" / "reward_gap"
    main(recipes / "mixgrpo-flux.toml", smoke=True, out=tmp_path)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["meta"]["device"] == "cuda"


# -- bad input


def test_training_without_noise_is_refused() -> None:
    for method in ("ddpo", "mixgrpo"):
        with pytest.raises(UnmetHypothesis, match="eta > 0, as a deterministic step has no log-probability"):
            made(method, eta=0.0)


def test_groups_of_one_are_refused() -> None:
    sampler = vp_sampler(MODEL.decay, MODEL.levels, Sampling(steps=STEPS))
    denoiser = GaussianDenoiser(MODEL, sampler.scheduler.alphas_cumprod)
    with pytest.raises(UnmetHypothesis, match="at least 2 samples of a prompt"):
        RolloutTrainer(MixGRPO(BUDGET), denoiser, sampler, gaussian_task(MODEL, denoiser), accelerator=cpu())


def test_a_model_of_another_prediction_is_refused() -> None:
    sampler = vp_sampler(MODEL.decay, MODEL.levels, Sampling(steps=STEPS))
    denoiser = GaussianDenoiser(MODEL, sampler.scheduler.alphas_cumprod)
    denoiser.prediction = "v_prediction"
    with pytest.raises(
        UnmetHypothesis, match="the model predicts 'v_prediction', the scheduler takes 'epsilon'"
    ):
        RolloutTrainer(DDPO(BUDGET), denoiser, sampler, gaussian_task(MODEL, denoiser), accelerator=cpu())


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
    assert len(checkpoints.load(tmp_path / "run.safetensors")[1]["record"]["rows"]) == 1
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
        ({"clip_range": 0.0}, "clip_range > 0"),
        ({"clip_range": 1.0}, "clip_range < 1"),
        ({"beta": -1.0}, "beta >= 0"),
        ({"level": 1.0}, "level < 1"),
        ({"decay": 1.1}, "decay <= 1"),
        ({"min_count": 1}, "min_count >= 2"),
        ({"pairs": 1}, "pairs >= 2"),
        ({"learning_rate": math.nan}, "learning_rate is a finite number"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(change, hypothesis: str) -> None:
    with pytest.raises(UnmetHypothesis, match=hypothesis):
        replace(BUDGET, **change)


def test_rows_that_cannot_be_dealt_are_refused() -> None:
    with pytest.raises(UnmetHypothesis, match="divide the rows"):
        made(budget=replace(BUDGET, steps_per_generation=5))


def test_a_window_wider_than_the_grid_is_refused() -> None:
    with pytest.raises(UnmetHypothesis, match="not wider"):
        made("mixgrpo", window=Window(size=STEPS + 1))


def test_equal_rewards_move_nothing() -> None:
    trainer, denoiser = made("mixgrpo", replace(BUDGET, beta=0.0, scale_rewards=True))
    trainer.task = replace(trainer.task, reward=lambda images, _: torch.full((len(images),), 0.1))
    trainer.train()
    assert (denoiser.theta.item(), denoiser.kappa.item()) == (0.0, 1.0)
