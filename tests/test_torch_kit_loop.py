"""The training loop: exact to resume after a kill, one law for any number of processes, clean to stop."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from accelerate import Accelerator, DistributedType
from accelerate.state import GradientState

from driftproof import UnmetHypothesis
from driftproof.backends.torch.kit import checkpoint as checkpoints
from driftproof.backends.torch.kit.ema import EMA
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.seeding import generator_of
from driftproof.backends.torch.kit.stop import TrainingInterrupted
from driftproof.backends.torch.kit.supervised import Trained, train

PLAN = Plan(max_steps=40, train_batch_size=16, learning_rate=0.01, warmup_steps=5, save_steps=10, seed=3)


def draw(generator: torch.Generator, batch: int) -> list[torch.Tensor]:
    where = {"generator": generator, "device": generator.device}
    x = torch.randn(batch, 4, **where)
    return [x, torch.sin(x).sum(1, keepdim=True) + 0.1 * torch.randn(batch, 1, **where)]


def loss(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return ((model(x) - y) ** 2).mean()


def network() -> torch.nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        # Dropout draws from the global generator: it has to be a function of the step as well.
        return torch.nn.Sequential(
            torch.nn.Linear(4, 16), torch.nn.SiLU(), torch.nn.Dropout(0.1), torch.nn.Linear(16, 1)
        )


def run(path: Path | None = None, plan: Plan = PLAN, draw=draw, **config: object) -> Trained[torch.nn.Module]:
    return train(network(), draw, loss, plan, checkpoint=path, config=config)


def test_training_learns() -> None:
    trained = run(plan=Plan(max_steps=300, train_batch_size=64, learning_rate=0.02, ema_decay=0.95)).model
    fresh = draw(generator_of(9, 9, next(trained.parameters()).device), 1000)
    assert float(loss(trained, *fresh)) < 0.3 * float(fresh[1].var())


def test_two_runs_are_one_and_global_state_is_untouched() -> None:
    torch.manual_seed(11)
    first = run()
    torch.manual_seed(12)
    before = torch.get_rng_state()
    second = run()
    assert torch.equal(first.losses, second.losses)
    assert torch.equal(before, torch.get_rng_state())


def is_step(generator: torch.Generator, step: int) -> bool:
    return generator.initial_seed() == generator_of(PLAN.seed, step).initial_seed()


SCRIPT = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_torch_kit_loop import *

def fatal(generator, batch):
    if is_step(generator, 27):
        os.kill(os.getpid(), signal.SIGKILL)
    return draw(generator, batch)

run(Path({path!r}), draw=fatal)
"""


def test_a_killed_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    script = SCRIPT.format(tests=str(Path(__file__).parent), path=str(path))
    killed = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parent.parent, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert checkpoints.load(path)[1]["done"] == 20
    straight, resumed = run(tmp_path / "straight.safetensors"), run(path)
    assert torch.equal(straight.losses, resumed.losses)
    ours, theirs = (checkpoints.load(p)[0] for p in (tmp_path / "straight.safetensors", path))
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert list(tmp_path.glob(".*")) == []  # no partial file is left


def test_a_finished_run_is_loaded_and_not_trained_again(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    first = run(path)
    again = run(path, draw=lambda generator, batch: pytest.fail("trained again"))
    assert torch.equal(first.losses, again.losses)
    assert all(
        torch.equal(a, b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True)
    )


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"
    run(path, width=16)
    with pytest.raises(ValueError, match="width: 16 there, 32 here"):
        run(path, width=32)


def test_a_gradient_that_is_not_finite_stops_before_the_step() -> None:
    """The square root of a norm at zero: its value is finite, its slope is not."""
    model = network()
    before = [weight.detach().clone() for weight in model.parameters()]

    def rough(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (0.0 * model(x)).square().sum().sqrt()

    with pytest.raises(FloatingPointError, match="the gradient of step 0 is nan; nothing was updated"):
        train(model, draw, rough, PLAN)
    assert all(torch.equal(weight, old) for weight, old in zip(model.parameters(), before, strict=True))


def test_a_loss_that_is_not_finite_stops_before_the_step(tmp_path: Path) -> None:
    def poisoned(generator: torch.Generator, batch: int) -> list[torch.Tensor]:
        x, y = draw(generator, batch)
        return [x, y * (float("nan") if is_step(generator, 7) else 1.0)]

    model = network()
    with pytest.raises(FloatingPointError, match="the loss of step 7 is nan; nothing was updated"):
        train(model, poisoned, loss, PLAN)
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())


def test_ctrl_c_saves_and_the_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "run.safetensors"

    def interrupted(generator: torch.Generator, batch: int) -> list[torch.Tensor]:
        if is_step(generator, 13):
            os.kill(os.getpid(), signal.SIGINT)
        return draw(generator, batch)

    with pytest.raises(TrainingInterrupted, match="stopped after step 14; saved in"):
        run(path, draw=interrupted)
    assert torch.equal(run(path).losses, run().losses)


@pytest.mark.parametrize("kind", ["FSDP", "DEEPSPEED", "MEGATRON_LM"])
def test_sharded_weights_are_refused(kind: str) -> None:
    sharded = SimpleNamespace(gradient_accumulation_steps=1, distributed_type=DistributedType[kind])
    with pytest.raises(UnmetHypothesis, match="every process has all weights"):
        train(network(), draw, loss, PLAN, accelerator=sharded)


def test_an_accelerator_that_scales_the_loss_is_refused() -> None:
    """It would divide every loss by 4: gradients below the clip range would be a quarter of themselves."""
    GradientState._reset_state()
    try:
        accelerator = Accelerator(cpu=True, gradient_accumulation_steps=4)
        model = network()
        before = [weight.clone() for weight in model.parameters()]
        with pytest.raises(UnmetHypothesis, match="a step takes its whole batch"):
            train(model, draw, loss, PLAN, accelerator=accelerator)
        assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    finally:
        GradientState._reset_state()


def test_plans_and_generators() -> None:
    for wrong in (
        {"max_steps": 0},
        {"train_batch_size": -1},
        {"learning_rate": 0.0},
        {"ema_decay": 1.0},
        {"max_grad_norm": float("nan")},
    ):
        with pytest.raises(UnmetHypothesis):
            Plan(**{"max_steps": 1, "train_batch_size": 1, "learning_rate": 1.0, **wrong})
    generators = [generator_of(seed, step) for seed in range(20) for step in range(20)]
    assert len({generator.initial_seed() for generator in generators}) == 400
    # Not the seeds alone: the CPU's generator ignores the high half of its seed.
    assert len({int(torch.randint(1 << 62, (1,), generator=generator)) for generator in generators}) == 400
    assert PLAN.rate(4) == PLAN.learning_rate
    assert 0.0 < PLAN.rate(39) < 1e-3 * PLAN.learning_rate * 10


def test_ema_is_the_recursion() -> None:
    layer = torch.nn.Linear(2, 1, bias=False)
    ema, expected = EMA(layer, decay=0.9), layer.weight.detach().clone()
    for step in range(200):
        with torch.no_grad():
            layer.weight += 1.0
        ema.update(layer, step)
        keep = min(0.9, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * layer.weight.detach()
    assert torch.allclose(ema.averaged(layer).weight, expected, rtol=1e-6)
    with pytest.raises(UnmetHypothesis):
        EMA(layer, decay=1.0)


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    with pytest.raises(FileNotFoundError):
        checkpoints.load(path)
    path.write_bytes(b"\x00" * 64)
    with pytest.raises(ValueError, match="is damaged"):
        checkpoints.load(path)
    from safetensors.torch import save_file

    save_file({"w": torch.ones(1)}, path)
    with pytest.raises(ValueError, match="expected the format"):
        checkpoints.load(path)


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    checkpoints.save(path, {"w": torch.ones(1)}, {"step": 1})
    with pytest.raises(TypeError):
        checkpoints.save(path, {"w": torch.zeros(1)}, {"step": object()})
    assert checkpoints.load(path)[1] == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


PARALLEL = """
import json, sys
sys.path.insert(0, {tests!r})
from test_torch_kit_loop import *
from accelerate import Accelerator

accelerator = Accelerator(cpu=True)
model = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.SiLU(), torch.nn.Linear(16, 1))
with torch.no_grad():
    for p in model.parameters():
        p.copy_(torch.linspace(-1, 1, p.numel()).reshape(p.shape))
result = train(model, draw, loss, PLAN, accelerator=accelerator)
if accelerator.is_main_process:
    Path({out!r}).write_text(json.dumps([accelerator.num_processes, result.losses.tolist()]))
"""


def launched(script: Path, processes: int) -> None:
    # On one machine accelerate starts several CPU processes only through its GPU launcher (torchrun).
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines", "1"]
    launch += ["--multi_gpu"] if processes > 1 else ["--cpu"]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    launch += ["--num_processes", str(processes), "--num_cpu_threads_per_process", "1"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    subprocess.run([*launch, str(script)], check=True, env=environment, timeout=240)


@pytest.mark.slow
def test_two_processes_see_the_losses_of_one(tmp_path: Path) -> None:
    trajectories = {}
    for processes in (1, 2):
        script, out = tmp_path / f"{processes}.py", tmp_path / f"{processes}.json"
        script.write_text(PARALLEL.format(tests=str(Path(__file__).parent), out=str(out)))
        launched(script, processes)
        count, trajectories[processes] = json.loads(out.read_text())
        assert count == processes
    assert trajectories[2] == pytest.approx(trajectories[1], rel=1e-4, abs=1e-5)


STOPPED = """
import json, sys
sys.path.insert(0, {tests!r})
from test_torch_kit_loop import *
from accelerate import Accelerator

accelerator, found = Accelerator(cpu=True), []
here, straight = Path({out!r}) / "a.safetensors", Path({out!r}) / "b.safetensors"

def scheduled(generator, batch):
    if accelerator.process_index == 1 and is_step(generator, 13):
        os.kill(os.getpid(), signal.SIGTERM)
    return draw(generator, batch)

def one(path, draw):
    return train(network(), draw, loss, PLAN, checkpoint=path, accelerator=accelerator)

try:
    one(here, scheduled)
except TrainingInterrupted as stop:
    found += [stop.step, stop.status]
resumed, expected = one(here, draw), one(straight, draw)
found += [torch.equal(resumed.losses, expected.losses)]
found += [all(torch.equal(a, b) for a, b in zip(resumed.model.parameters(), expected.model.parameters()))]
if accelerator.is_main_process:
    here.write_bytes(b"damaged")
    checkpoints.previous_of(here).unlink()
accelerator.wait_for_everyone()
try:
    one(here, draw)
except (ValueError, OSError) as error:
    found += [type(error).__name__]
(Path({out!r}) / f"{{accelerator.process_index}}.json").write_text(json.dumps(found))
"""


@pytest.mark.slow
def test_two_processes_stop_resume_and_refuse_together(tmp_path: Path) -> None:
    """One of them gets the signal to stop; the first alone writes, and what fails for it fails for both."""
    script = tmp_path / "stopped.py"
    script.write_text(STOPPED.format(tests=str(Path(__file__).parent), out=str(tmp_path)))
    launched(script, 2)
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert found == [[14, 143, True, True, "CheckpointError"], [14, 143, True, True, "OSError"]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_an_average_of_half_precision_arrives(dtype: torch.dtype) -> None:
    """A weight jumps from 0 to 1: after k updates the average is 1 - decay^k."""
    layer = torch.nn.Linear(1, 1, bias=False).to(dtype)
    layer.weight.data.zero_()
    ema = EMA(layer, 0.999)
    layer.weight.data.fill_(1.0)
    for step in range(100_000, 102_000):
        ema.update(layer, step)
    # Each update rounds once: 2,000 half ulps of numbers below 1, and what decays of them.
    assert float(ema.state["weight"]) == pytest.approx(1 - 0.999**2000, abs=1000 * 2.0**-24)
    twin = ema.averaged(layer)
    assert twin.weight.dtype == dtype and float(twin.weight) == pytest.approx(1 - 0.999**2000, rel=2.0**-8)
