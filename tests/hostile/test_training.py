"""Trainings that are killed, stopped, resumed with other recipes, run twice, or given damaged files.

The trainers are those of ``trainers.py``; ``training_worker.py`` holds the attacks on processes.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")


from driftproof.backends.torch.kit.identity import OtherRun
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.kit.recipe import RecipeError, build, read
from driftproof.backends.torch.kit.stop import TrainingInterrupted, session
from tests.hostile.trainers import ACTOR, PLAN, POLICY, TRAINERS

# -- processes

ROOT = Path(__file__).parent.parent.parent
LINES = {
    "kills": "kill -9 at a random moment, twice, and resume: equal bits",
    "stops": "SIGINT, SIGTERM, SIGHUP, --stop-after: saved, its status, equal bits",
    "folders": "a second run in one folder; then its lock is stale",
    "disk": "a full disk: one line, the checkpoint before is whole",
}
CAUSES = {"kills": 2, "stops": 4}  # of each try


def attacked(folder: Path, attacks: list[str], tries: int, *names: str) -> dict[str, list[str]]:
    command = [sys.executable, "-m", "tests.hostile.training_worker", ",".join(attacks), str(tries)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(folder), *names],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.slow(ci=True)
def test_processes_that_die(tmp_path: Path, attack: Callable[..., None]) -> None:
    """The short form; stops, locks and full disks of one process are in the tests of the kit and of checkpoints."""
    found = attacked(tmp_path, ["kills"], 1, "loop")
    attack(LINES["kills"], CAUSES["kills"], found["kills"])


@pytest.mark.hostile
@pytest.mark.parametrize("name", TRAINERS)
@pytest.mark.parametrize(("kind", "tries"), [("kills", 20), ("stops", 3), ("folders", 2), ("disk", 2)])
def test_processes_of_every_trainer_that_die(
    tmp_path: Path, attack: Callable[..., None], name: str, kind: str, tries: int
) -> None:
    found = attacked(tmp_path, [kind], tries, name)
    attack(f"{LINES[kind]} ({name})", tries * CAUSES.get(kind, 1), found[kind])


# -- other recipes

BASE = {
    "loop": PLAN,
    "adjoint": PLAN,
    "dpo": PLAN,
    "ddpo": POLICY,
    "mixgrpo": POLICY,
    "pathwise": ACTOR,
    "ppo": ACTOR,
}
LENGTH = 3
OTHER_CHOICES = {
    "ratio": "sum",
    "kl": "path",
    "baseline": "group",
    "normalise": "prompt",
    "lr_scheduler_type": {"cosine": "constant_with_warmup", "constant": "cosine"},
}


def another(name: str, value: Any) -> Any:
    """A value of the same type that the field may have as well."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        other = OTHER_CHOICES[name]
        return other[value] if isinstance(other, dict) else other
    if isinstance(value, int):
        return value * 2 if value else 1
    return value * 0.5 if value else 0.125


def configuration(name: str) -> Any:
    from driftproof.backends.torch.reward_gap.config import Budget
    from driftproof.backends.torch.score_as_action.config import Budget as ActorBudget

    if BASE[name] is PLAN:
        return Plan(max_steps=LENGTH, **PLAN)
    group = {"num_generations": 4} if name == "mixgrpo" else {}
    return (Budget if BASE[name] is POLICY else ActorBudget)(epochs=LENGTH, **{**BASE[name], **group})


def of_role(name: str, role: str) -> Iterator[tuple[str, Any]]:
    made = configuration(name)
    for field in fields(made):
        if field.metadata.get("role", "law") == role:
            yield field.name, another(field.name, getattr(made, field.name))


def refusals(name: str, folder: Path) -> tuple[int, list[str]]:
    path = folder / f"{name}.safetensors"
    TRAINERS[name](path, LENGTH)
    before, tries, faults = path.read_bytes(), 0, []
    part = "plan" if BASE[name] is PLAN else "budget"
    cases = [(f"{part}.{key}", {"changes": {key: value}}) for key, value in of_role(name, "law")]
    if name == "pathwise":
        cases = [case for case in cases if case[0] != "budget.num_iterations"]  # for ppo alone
    more: dict[str, list[tuple[str, dict[str, Any]]]] = {
        "loop": [("width", {"width": 16})],
        "ddpo": [("sampler.eta", {"eta": 0.7})],
        "mixgrpo": [("window.size", {"window": window_of(size=3, every=1)})],
        "ppo": [("critic.memory", {"memory": 0.5})],
        "dpo": [("objective.beta", {"beta": 0.5})],
        "adjoint": [
            (f"matching.{key}", {"matching": {key: value}})
            for key, value in {"lam": 0.5, "chosen": 1, "keep": 0.5, "damping": 0.25, "last": 1}.items()
        ],
    }
    for field, options in [*cases, *more.get(name, [])]:
        tries += 1
        try:
            TRAINERS[name](path, LENGTH, **options)
            faults.append(f"{name}.{field}: accepted")
        except OtherRun as error:
            if f"({field}: " not in str(error) or " there, " not in str(error):
                faults.append(f"{name}.{field}: {error}")
    if path.read_bytes() != before:
        faults.append(f"{name}: a refusal changed the checkpoint")
    return tries, faults


def window_of(**options: int) -> Any:
    from driftproof.numerics.reward_gap import Window

    return Window(**options)


def continuations(name: str, folder: Path) -> tuple[int, list[str]]:
    """Stopped after a step, and resumed with another value of a field that only says how it is run."""
    tries, faults = 0, []
    expected = TRAINERS[name](folder / f"{name}-straight.safetensors", LENGTH)
    half = folder / f"{name}-half.safetensors"
    with pytest.raises(TrainingInterrupted), session(stop_after=1e-9):
        TRAINERS[name](half, LENGTH)
    bits = half.read_bytes()
    for field, value in of_role(name, "how"):
        tries += 1
        path = folder / f"{name}-{field}.safetensors"
        path.write_bytes(bits)
        found = TRAINERS[name](path, LENGTH, changes={field: value})
        rounding = (
            {"rtol": 1e-4, "atol": 1e-6} if field.endswith("_batch_size") else {"rtol": 0.0, "atol": 0.0}
        )
        for (key, ours), theirs in zip(found[0].items(), expected[0].values(), strict=True):
            if not torch.allclose(ours, theirs, **rounding):
                faults.append(f"{name}.{field}: other weights {key}")
        if not torch.allclose(found[1], expected[1], **rounding):
            faults.append(f"{name}.{field}: another log")
    return tries, faults


@pytest.mark.parametrize("name", ["loop", pytest.param("rest", marks=pytest.mark.hostile)])
def test_other_recipes(tmp_path: Path, attack: Callable[..., None], name: str) -> None:
    for one in ["loop"] if name == "loop" else list(TRAINERS)[1:]:
        attack(f"another field of the law: refused and named ({one})", *refusals(one, tmp_path))
        attack(f"another field of how: equal results ({one})", *continuations(one, tmp_path))


@pytest.mark.hostile
@pytest.mark.parametrize("name", ["ddpo", "mixgrpo", "ppo", "adjoint"])
def test_a_longer_run_of_every_trainer(tmp_path: Path, attack: Callable[..., None], name: str) -> None:
    constant = {"changes": {"lr_scheduler_type": "constant_with_warmup"}} if name == "adjoint" else {}
    TRAINERS[name](tmp_path / "a.safetensors", 3, **constant)
    with session(extend=True):
        weights, log = TRAINERS[name](tmp_path / "a.safetensors", 5, **constant)
    expected, straight = TRAINERS[name](tmp_path / "b.safetensors", 5, **constant)
    other = [key for key in weights if not torch.equal(weights[key], expected[key])]
    attack(
        f"an extended run is the longer one ({name})",
        1,
        other + ([] if torch.equal(log, straight) else ["log"]),
    )


def test_a_longer_run(tmp_path: Path, attack: Callable[..., None]) -> None:
    """With ``extend``, and a schedule that has no end, the extended run is the longer one; else it is refused."""
    path, straight, faults = tmp_path / "a.safetensors", tmp_path / "b.safetensors", []
    constant = {"changes": {"lr_scheduler_type": "constant_with_warmup"}}
    TRAINERS["loop"](path, 4, **constant)
    for extend, length, why in ((False, 6, "--extend makes"), (True, 3, "can grow, not shrink")):
        with pytest.raises(OtherRun, match=r"plan\.max_steps: 4 there") as refused, session(extend=extend):
            TRAINERS["loop"](path, length, **constant)
        faults += [] if why in str(refused.value) else [str(refused.value)]
    with session(extend=True):
        weights, losses = TRAINERS["loop"](path, 6, **constant)
    expected, log = TRAINERS["loop"](straight, 6, **constant)
    if not torch.equal(losses, log) or any(not torch.equal(weights[k], expected[k]) for k in weights):
        faults.append("another run than the longer one")
    falling = tmp_path / "c.safetensors"
    TRAINERS["loop"](falling, 4)
    with pytest.raises(OtherRun, match=r"step \d had the learning rate"), session(extend=True):
        TRAINERS["loop"](falling, 6)
    attack("a longer run: refused, or the longer run bit for bit", 4, faults)


# -- recipes

RECIPES: dict[str, tuple[str, str]] = {
    "smoke is no table": ("smoke = 3", "smoke: expected a table, got 3"),
    "smoke is a list": ("smoke = [1]", "smoke: expected a table"),
    "deep arrays": ("a = " + "[" * 20000 + "]" * 20000, "nested more deeply"),
    "deep tables": ("[" + ".".join("a" * 300) + "]\nb = 1", "nested more than"),
    "deep keys": (".".join("a" * 300) + " = 1", "nested more than"),
    "digits": ("max_steps = " + "9" * 5000, "digits"),
    "not UTF-8": ("max_steps = 1 # \udcff", "utf-8"),
    "no TOML": ("max_steps = = 1", "Invalid value"),
    "a large batch": (
        "max_steps = 1\ntrain_batch_size = 1000000000000\nlearning_rate = 1.0",
        r"\.toml: train_batch_size: expected a number up to",
    ),
    "a large rate": (
        "max_steps = 1\ntrain_batch_size = 1\nlearning_rate = 1" + "0" * 400,
        r"\.toml: learning_rate: expected a number",
    ),
    "a long text": (
        "max_steps = '" + "x" * 10**6 + "'\ntrain_batch_size = 1\nlearning_rate = 1.0",
        r"recipe: max_steps: expected an integer",
    ),
}


def test_recipes_that_cannot_be_read(tmp_path: Path, attack: Callable[..., None]) -> None:
    faults = []
    for name, (text, match) in RECIPES.items():
        path = tmp_path / "recipe.toml"
        path.write_text(text, encoding="utf-8", errors="surrogateescape")
        with pytest.raises(RecipeError, match=match) as error:
            build(Plan, read(path))
        if len(str(error.value)) > 500 or "\n" in str(error.value):
            faults.append(f"{name}: {error.value}")
    attack("recipes that cannot be read: one line with the key", len(RECIPES), faults)


# -- TRL

DISTIL = """
import sys
import time
from pathlib import Path
from tests.test_torch_opd_published import TINY, distil, prompts, published_run, small_qwen, tokenizer

place, out = Path(sys.argv[1]), Path(sys.argv[2])
if not place.exists():
    for seed, name in enumerate(("student", "teacher")):
        small_qwen(TINY, seed).save_pretrained(place / name)
        tokenizer().save_pretrained(place / name)
    prompts().rename_column("prompt", "question").save_to_disk(place / "data")
distil(published_run(place, max_steps=12, save_steps=1), out)
"""


@pytest.mark.hostile
def test_a_distillation_that_is_killed(tmp_path: Path, attack: Callable[..., None]) -> None:
    """At random moments between its first checkpoint and its end, some of them while one is written."""
    pytest.importorskip("trl")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": ROOT, "env": environment}

    def command(out: str) -> list[str]:
        return [sys.executable, "-c", DISTIL, str(tmp_path / "models"), str(tmp_path / out)]

    subprocess.run(command("straight"), check=True, **quiet)
    rng, faults, tries = random.Random(2), [], 3
    for i in range(tries):
        first = tmp_path / str(i) / "trainer" / "checkpoint-1"
        process = subprocess.Popen(command(str(i)), **quiet)
        while not first.exists() and process.poll() is None:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 2.0))
        process.kill()
        process.wait()
        subprocess.run(command(str(i)), check=True, **quiet)
        ours, theirs = (
            (tmp_path / name / "student" / "model.safetensors").read_bytes() for name in ("straight", str(i))
        )
        if ours != theirs:
            faults.append(f"try {i}: other weights")
    attack("kill -9 of a distillation in TRL, and resume: equal bytes", tries, faults)
