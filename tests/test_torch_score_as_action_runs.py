"""Runs of score as action from outside: two processes, a killed process, a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")

ROOT = Path(__file__).parent.parent

SCRIPT = """
import json
from dataclasses import replace
from pathlib import Path

import torch
from accelerate import Accelerator
from driftproof.backends.torch.reward_gap.config import Sampling
from driftproof.backends.torch.score_as_action import ActorCriticTrainer, Budget, QuadraticCritic
from driftproof.backends.torch.rl.gaussian import GaussianModel
from driftproof.backends.torch.score_as_action.gaussian import gaussian_parts

torch.set_num_threads(1)
CPU = Accelerator(cpu=True)
found = {{}}
for actor in {actors!r}:
    denoiser, sampler, task = gaussian_parts(GaussianModel(), Sampling(4))
    budget = Budget(epochs={epochs}, prompts=32, per_device_train_batch_size=64, per_device_rollout_batch_size=64, learning_rate=1e-2, beta=0.5, standardise=True, steps_per_generation=2)
    trainer = ActorCriticTrainer(
        denoiser, QuadraticCritic(2, 4, 0.9), sampler, task, budget, actor, accelerator=CPU
    )
    log = trainer.train(Path({checkpoint!r}) / f"{{actor}}.safetensors" if {checkpoint!r} else None)
    found[actor] = [log.column("reward"), *(p.tolist() for p in denoiser.parameters())]
if CPU.is_main_process:
    Path({out!r}).write_text(json.dumps([CPU.num_processes, found]))
"""


def script(
    folder: Path, name: str, actors: tuple[str, ...], epochs: int, checkpoint: str = ""
) -> tuple[Path, Path]:
    path, out = folder / f"{name}.py", folder / f"{name}.json"
    path.write_text(
        SCRIPT.format(actors=actors, epochs=epochs, checkpoint=checkpoint, out=str(out)), encoding="utf-8"
    )
    return path, out


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_two_processes_train_like_one(tmp_path):
    found = {}
    for processes in (1, 2):
        path, out = script(tmp_path, str(processes), ("pathwise", "advantage"), 3)
        # On one machine accelerate starts several CPU processes only through its GPU launcher (torchrun).
        launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1"]
        launch += ["--multi_gpu"] if processes > 1 else ["--cpu"]
        launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
        launch += ["--num_processes", str(processes), "--num_cpu_threads_per_process", "1"]
        subprocess.run([*launch, str(path)], check=True, env=ENVIRONMENT, timeout=240)
        count, found[processes] = json.loads(out.read_text(encoding="utf-8"))
        assert count == processes
    for name, values in found[1].items():
        for one, two in zip(values, found[2][name], strict=True):
            assert np.allclose(one, two, rtol=1e-9, atol=1e-11), name


@pytest.mark.slow
def test_a_killed_process_goes_on_where_it_was(tmp_path):
    """SIGKILL at any moment, and the same command again: the weights are those of the run that was left alone."""
    whole, expected = script(tmp_path, "whole", ("ppo",), 60)
    subprocess.run([sys.executable, str(whole)], check=True, env=ENVIRONMENT, timeout=120)
    folder = tmp_path / "checkpoints"
    path, out = script(tmp_path, "killed", ("ppo",), 60, str(folder))
    process = subprocess.Popen([sys.executable, str(path)], env=ENVIRONMENT)
    while not (folder / "ppo.safetensors").exists() and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not out.exists(), "it was over before it was killed: nothing was tested"
    subprocess.run([sys.executable, str(path)], check=True, env=ENVIRONMENT, timeout=120)
    assert json.loads(out.read_text(encoding="utf-8")) == json.loads(expected.read_text(encoding="utf-8"))


@pytest.mark.gpu
def test_both_models_train_on_a_gpu(tmp_path):
    from driftproof.backends.torch.score_as_action import main

    main(None, smoke=True, out=tmp_path)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["meta"]["device"] == "cuda"
