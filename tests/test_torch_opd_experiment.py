"""The comparison on arithmetic: its task, its rollouts, its recipes; whole runs that repeat and resume."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")
pytest.importorskip("tokenizers")
pytest.importorskip("transformers")

from accelerate import Accelerator

from driftproof import UnmetHypothesis
from driftproof.backends.torch.kit import checkpoint
from driftproof.backends.torch.kit.recipe import RecipeError
from driftproof.backends.torch.opd import main
from driftproof.backends.torch.opd.config import RECIPES, Recipe
from driftproof.backends.torch.opd.experiment import compare
from driftproof.backends.torch.opd.rollouts import rollout, token_log_probs
from driftproof.backends.torch.pretrained.arithmetic import Arithmetic, tokenizer
from driftproof.backends.torch.pretrained.qwen import ModelSize, small_qwen

RECIPE = """
title = "Toy"
digits = 1
teacher = { width = 8, layers = 1 }
student = { width = 8, layers = 1 }
teacher_training = { max_steps = 3, train_batch_size = 8, learning_rate = 1e-2 }
student_training = { max_steps = 3, train_batch_size = 8, learning_rate = 1e-2 }
distillation = { max_steps = 3, train_batch_size = 8, learning_rate = 1e-2, save_steps = 1 }

[[method]]
divergence = "forward_kl"
advantage = "sg"

[[method]]
divergence = "jsd"
advantage = "centered"
"""


def toy(tmp_path: Path, text: str = RECIPE, smoke: bool = False) -> Recipe:
    path = tmp_path / "toy.toml"
    path.write_text(text, encoding="utf-8")
    return RECIPES.load(path, smoke)[0]


# -- rollouts


def fixed(probabilities: list[list[float]]):
    """A model whose next token depends on the last one alone, with these probabilities."""
    table = torch.log(torch.tensor(probabilities))
    return lambda input_ids: SimpleNamespace(logits=table[input_ids])


def test_inversion_gives_every_token_its_share_of_the_noise() -> None:
    probabilities = [0.0, 0.5, 0.125, 0.0, 0.25, 0.125, 0.0]
    model = fixed([probabilities] * 7)
    n = 64
    middles = ((torch.arange(n) + 0.5) / n)[:, None]
    tokens, mask = rollout(model, torch.zeros(n, 1, dtype=torch.long), middles, 1, eos=6)
    shares = torch.bincount(tokens[:, 0], minlength=7) / n
    assert shares.tolist() == probabilities
    assert mask.all()
    # The ends of [0, 1) are no exception: a token of probability 0 is never sampled.
    ends = torch.tensor([[0.0], [1.0 - 2.0**-24]])
    tokens, _ = rollout(model, torch.zeros(2, 1, dtype=torch.long), ends, 1, eos=6)
    assert tokens[:, 0].tolist() == [1, 5]


def test_rollouts_follow_the_chain_and_end_with_it() -> None:
    # 0 goes to 1, 1 to 2 (the end), 2 to 0: without the mask the chain would go on.
    model = fixed([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    prompts = torch.tensor([[1, 0], [0, 1], [1, 2]])
    for noise in (torch.full((3, 4), 0.3), None):  # None: the likeliest token
        tokens, mask = rollout(model, prompts, noise, 4, eos=2)
        assert tokens.tolist() == [[1, 2, 0, 1], [2, 0, 1, 2], [0, 1, 2, 0]]
        assert mask.int().tolist() == [[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]]


def test_log_probs_are_those_that_the_rollout_sampled_from() -> None:
    """The shift by one: token n is scored at the state that it was sampled at."""
    model = small_qwen(ModelSize(width=8, layers=1), seed=0).eval()
    prompts, _ = Arithmetic(digits=1).encode(torch.tensor([[4, 8], [9, 9]]))
    noise = torch.tensor([[0.1, 0.6, 0.9], [0.8, 0.2, 0.4]])
    tokens, _ = rollout(model, prompts, noise, 3, int(tokenizer().eos_token_id))
    table = token_log_probs(model, prompts, tokens).exp().cumsum(-1)
    above = table.gather(-1, tokens[..., None])[..., 0]
    below = torch.where(tokens > 0, table.gather(-1, (tokens - 1).clamp(min=0)[..., None])[..., 0], 0.0)
    assert bool(((below <= noise + 1e-5) & (noise - 1e-5 <= above)).all())
    assert bool((above - below < 0.5).all())  # the check could have failed


# -- the task


@pytest.mark.parametrize("digits", [1, 2])
def test_sums_are_spelt_and_split_without_overlap(digits: int) -> None:
    task = Arithmetic(digits=digits)
    train, held_out = task.pairs("train"), task.pairs("held_out")
    as_sets = [{tuple(pair) for pair in part.tolist()} for part in (train, held_out)]
    assert not as_sets[0] & as_sets[1]
    assert len(as_sets[0]) + len(as_sets[1]) == 10 ** (2 * digits)
    assert len(held_out) == int(0.2 * 10 ** (2 * digits))
    prompts, answers = task.encode(held_out)
    assert prompts.shape[1] == task.prompt_length
    assert answers.shape[1] == task.answer_length
    for (a, b), prompt, answer in zip(held_out.tolist(), prompts, answers, strict=True):
        question = f"{a:0{digits}}+{b:0{digits}}="
        assert tokenizer().decode(prompt) == question
        assert tokenizer().decode(answer) == f"{a + b:0{digits + 1}}<eos>"
        assert tokenizer()(question)["input_ids"] == prompt.tolist()


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_steps_are_sums_that_hold_and_the_last_one_is_the_answer(digits: int) -> None:
    task = Arithmetic(digits=digits, steps=True)
    pairs = task.pairs("held_out")[:200]
    prompts, answers = task.encode(pairs)
    assert answers.shape[1] == task.answer_length
    for (a, b), prompt, answer in zip(pairs.tolist(), prompts, answers, strict=True):
        chain = (tokenizer().decode(prompt) + tokenizer().decode(answer).removesuffix("<eos>")).split("=")
        assert len(chain) == digits + 1 and chain[0] == f"{a:0{digits}}+{b:0{digits}}"
        assert all(sum(map(int, link.split("+"))) == a + b for link in chain)
    assert bool(task.right(answers, answers).all())
    slips = answers.clone()
    slips[:, 0] = 2  # a wrong step alone is forgiven, a wrong sum is not
    assert bool(task.right(slips, answers).all()) == (digits > 1)
    slips[:, -2] = (answers[:, -2] + 1) % 10
    assert not bool(task.right(slips, answers).any())


def test_a_task_that_does_not_exist_is_refused() -> None:
    for wrong in ({"digits": 0}, {"digits": 4}, {"held_out": 0.0}, {"held_out": 1.0}):
        with pytest.raises(UnmetHypothesis):
            Arithmetic(**wrong)
    with pytest.raises(UnmetHypothesis, match="part is train or held_out"):
        Arithmetic().pairs("test")


# -- recipes


def test_packaged_recipes_load(tmp_path: Path) -> None:
    for path in RECIPES.packaged():
        assert RECIPES.load(path, smoke=False)[0].published is None
        smoke, full = (RECIPES.load(path, smoke)[0] for smoke in (True, False))
        assert smoke.distillation and full.distillation
        assert smoke.distillation.max_steps < full.distillation.max_steps
    published = RECIPES.load(RECIPES.packaged()[0].with_name("qwen3-8b.toml"), smoke=True)[0].published
    assert published is not None
    assert published.student == "Qwen/Qwen3-8B-Base"
    assert published.arguments["divergence"] == "jsd"
    assert published.arguments["max_steps"] == 2


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('title = "Toy"\n', "", "missing key 'title'"),
        ('title = "Toy"', 'title = "Toy"\nrate = 1', "unknown key 'rate'"),
        ('advantage = "sg"', 'advantage = "exact"', "method.0.advantage: expected one of"),
        ('"forward_kl"', '"backward_kl"', "backward_kl"),
        ("digits = 1", "digits = 1.5", "digits: expected an integer, got 1.5"),
        ("digits = 1", "seeds = []", "seeds: expected >= 1 items"),
        ("digits = 1", "seeds = [1, 1]", "seeds: expected distinct values"),
        ("digits = 1", "clip = -1.0", "clip: expected > 0"),
        ("teacher = { width = 8", "teacher = { width = 9", "even width"),
        ("teacher = {", "mentor = {", "unknown key 'mentor'"),
        (
            "distillation = { max_steps = 3",
            "distillation = { max_steps = 0",
            "distillation.max_steps: expected > 0",
        ),
        ('"jsd"\nadvantage = "centered"', '"forward_kl"\nadvantage = "sg"', "comes twice"),
        ("digits = 1", "published = 3", "published: expected a table"),
        ("digits = 1", 'published = {student = "s"}', "missing key 'published.teacher'"),
    ],
)
def test_a_recipe_that_cannot_be_run_is_refused(tmp_path: Path, old: str, new: str, match: str) -> None:
    assert old in RECIPE
    with pytest.raises(RecipeError, match=match):
        toy(tmp_path, RECIPE.replace(old, new))


def test_models_of_the_zoo_come_with_their_sizes() -> None:
    recipe = RECIPES.load(RECIPES.find("sums-in-steps"), False)[0]
    assert recipe.zoo and recipe.teacher is None and recipe.student_training is None
    for others in ({"digits": 1}, {"teacher": ModelSize(8, 1)}):
        with pytest.raises(UnmetHypothesis, match="zoo brings sizes"):
            replace(recipe, **others)


def test_a_recipe_needs_all_of_its_parts() -> None:
    with pytest.raises(UnmetHypothesis, match="a part is missing"):
        Recipe(title="empty")


# -- whole runs


def test_a_run_repeats_bit_for_bit_and_resumes(tmp_path: Path) -> None:
    recipe, accelerator = toy(tmp_path), Accelerator(cpu=True)
    first = compare(recipe, tmp_path / "a", accelerator)
    assert compare(recipe, tmp_path / "b", accelerator) == first
    # One method is lost and one is finished: what is missing is made again, and is the same.
    lost = tmp_path / "a" / "student-0-jsd-centered.safetensors"
    kept = tmp_path / "a" / "student-0-forward_kl-sg.safetensors"
    tensors, metadata = checkpoint.load(lost)
    written = kept.stat().st_mtime_ns
    lost.unlink()
    assert compare(recipe, tmp_path / "a", accelerator) == first
    assert kept.stat().st_mtime_ns == written
    again, metadata_again = checkpoint.load(lost)
    assert all(torch.equal(again[name], value) for name, value in tensors.items())
    # Only the time that it took may differ, and with it the length of the file.
    assert {**metadata_again, "seconds": metadata["seconds"]} == metadata
    before, (teacher, *students) = first
    assert [row.label for row in students] == ["forward_kl, sg", "jsd, centered"]
    assert teacher.kl == (0.0,)
    assert all(row.kl[0] > 0.0 and row.kl != before.kl for row in students)
    assert all(0.0 <= row.accuracy[0] <= 1.0 for row in (before, teacher, *students))


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    recipe, accelerator = toy(tmp_path), Accelerator(cpu=True)
    recipe = replace(recipe, method=recipe.method[:1])
    compare(recipe, tmp_path / "a", accelerator)
    with pytest.raises(ValueError, match="clip"):
        compare(replace(recipe, clip=3.0), tmp_path / "a", accelerator)


def test_the_command_writes_a_report(tmp_path: Path) -> None:
    toy(tmp_path)
    main(tmp_path / "toy.toml", smoke=False, out=tmp_path / "out")
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["paper"] == "opd"
    assert [row[0] for row in report["tables"][0]["rows"]] == [
        "before",
        "teacher",
        "forward_kl, sg",
        "jsd, centered",
    ]
    assert list((tmp_path / "out").glob(".*")) == []


# -- processes

PARALLEL = """
import json, sys
sys.path.insert(0, {tests!r})
from test_torch_opd_experiment import *
from driftproof.backends.torch import checkpoint as checkpoints
from driftproof.backends.torch.opd.config import Method
from driftproof.backends.torch.opd.experiment import _distil
from driftproof.backends.torch.kit.plan import Plan

accelerator = Accelerator(cpu=True)
size, task = ModelSize(width=16, layers=1), Arithmetic(digits=1)
student, teacher = small_qwen(size, seed=0), small_qwen(size, seed=1).eval()
plan = Plan(max_steps=6, train_batch_size=4, learning_rate=1e-2, ema_decay=0.0)
found = {{}}
for divergence, advantage in (("jsd", "centered"), ("forward_kl", "sg")):
    method = Method(divergence, advantage)
    place = Path({out!r}).with_name(f"{{accelerator.num_processes}}-{{divergence}}")
    _distil(student, teacher, task, method, 6.0, plan, place, accelerator)
    tensors, _ = checkpoints.load(place.with_suffix(".safetensors"))
    found[divergence] = tensors["losses"].tolist()
    found[divergence + " head"] = tensors["model.lm_head.weight"].flatten()[:50].tolist()
if accelerator.is_main_process:
    Path({out!r}).write_text(json.dumps([accelerator.num_processes, found]))
"""


@pytest.mark.slow
def test_two_processes_distil_like_one(tmp_path: Path) -> None:
    """Completions of different lengths: a mean of the means over each process would not agree."""
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
        assert found[2][name] == pytest.approx(values, rel=1e-4, abs=1e-5), name
