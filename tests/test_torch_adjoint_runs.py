"""Adjoint matching over several processes and on a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from driftproof.backends.torch.adjoint import main

RECIPES = Path(__file__).parent.parent / "backends" / "torch" / "recipes" / "adjoint"

PARALLEL = """
import json, sys
from pathlib import Path
import torch
from accelerate import Accelerator
from driftproof.backends.torch.adjoint import FlowTrainer, AffineFlow, Matching, Task, closed_form
from driftproof.backends.torch.rl.gaussian import GaussianModel
from tests.small_pipelines import flow_model
from driftproof.backends.torch.adjoint.experiment import gaussian_problem
from driftproof.backends.torch.adjoint.models import prepared
from driftproof.backends.torch.kit.plan import Plan

accelerator, found = Accelerator(cpu=True), {{}}
model = GaussianModel((1.3, -0.2), ((0.49, 0.2), (0.2, 1.1)), (0.8, 0.1), ((1.7, -0.3), (-0.3, 0.4)))
problem, reward, times = gaussian_problem(model, 4)
flow, task = AffineFlow(problem, times), Task((2,), closed_form(reward), dtype=torch.float64)
trainer = FlowTrainer(flow, task, times, Matching(0.9, chosen=2), Plan(12, 16, 0.1, max_grad_norm=1e3, ema_decay=0.0),
                                 accelerator=accelerator)
found["gaussian log"] = trainer.train().log.flatten().tolist()
found["gaussian"] = flow.gains.flatten().tolist()
made = prepared(flow_model("flux2"), 3, lambda x, p: 50.0 * x.flatten(1).mean(1), accelerator.device, 0)
trainer = FlowTrainer(made.flow, made.task, made.times, Matching(0.1, last=2, mode="frozen"),
                                 Plan(3, 4, 0.01, ema_decay=0.0), accelerator=accelerator)
found["flux2 log"] = trainer.train().log.flatten().tolist()
found["flux2"] = made.flow.trainable()[1].flatten().tolist()
if accelerator.is_main_process:
    Path({out!r}).write_text(json.dumps([accelerator.num_processes, found]))
"""


@pytest.mark.slow
def test_two_processes_tune_like_one(tmp_path: Path) -> None:
    """Steps are drawn for all rows together, so that every process takes the same ones."""
    found = {}
    for processes in (1, 2):
        script, out = tmp_path / f"{processes}.py", tmp_path / f"{processes}.json"
        script.write_text(PARALLEL.format(out=str(out)))
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
        if name.endswith("log"):  # the last column is the largest norm of an adjoint on each process
            values, other = ([v for i, v in enumerate(f) if i % 5 != 4] for f in (values, found[2][name]))
        else:
            other = found[2][name]
        assert other == pytest.approx(values, rel=1e-3, abs=1e-4), name


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["flux2-klein-4b", "sit-xl-2"])
def test_a_small_model_is_tuned_on_a_gpu(name: str, tmp_path: Path) -> None:
    assert torch.cuda.is_available()
    main(RECIPES / f"{name}.toml", smoke=True, out=tmp_path)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["meta"]["device"] == "cuda"
