"""OPD+ on published models: recipes, adapters, and distillations that are stopped, damaged and go on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")
datasets = pytest.importorskip("datasets")
trl = pytest.importorskip("trl")
if not hasattr(trl, "DistillationTrainer"):
    pytest.skip("this TRL has no DistillationTrainer", allow_module_level=True)

from driftproof.backends.torch.kit.identity import OtherRun
from driftproof.backends.torch.kit.lock import RunWarning
from driftproof.backends.torch.kit.moved import RoundingWarning
from driftproof.backends.torch.kit.recipe import RecipeError
from driftproof.backends.torch.kit.stop import TrainingInterrupted, session
from driftproof.backends.torch.opd import main
from driftproof.backends.torch.opd.config import Published
from driftproof.backends.torch.opd.published import distil
from driftproof.backends.torch.opd.trainer import OPDPlusTrainer
from driftproof.backends.torch.pretrained.arithmetic import Arithmetic, tokenizer
from driftproof.backends.torch.pretrained.qwen import ModelSize, small_qwen

TINY = ModelSize(width=16, layers=1)


def prompts(count: int = 12) -> Any:
    spelt, _ = Arithmetic(digits=1).encode(Arithmetic(digits=1).pairs("train")[:count])
    return datasets.Dataset.from_dict({"prompt": tokenizer().batch_decode(spelt)})


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("published")
    for seed, name in enumerate(("student", "teacher")):
        small_qwen(TINY, seed).save_pretrained(place / name)
        tokenizer().save_pretrained(place / name)
    prompts().rename_column("prompt", "question").save_to_disk(place / "data")
    return place


RECIPE = """
title = "Published"

[published]
student = "{place}/student"
teacher = "{place}/teacher"
dataset = "{place}/data"
prompt_column = "question"

[published.arguments]
divergence = "forward_kl"
use_cpu = true
bf16 = false
report_to = "none"
save_strategy = "no"
disable_tqdm = true
logging_steps = 1
max_steps = 50
per_device_train_batch_size = 4
learning_rate = 1e-2
max_completion_length = 4

[smoke.published.arguments]
max_steps = 2
"""


def test_published_models_are_distilled_and_saved(published: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(place=published), encoding="utf-8")
    main(recipe, smoke=True, out=tmp_path / "out")
    log = json.loads((tmp_path / "out" / "log.json").read_text(encoding="utf-8"))["log"]
    assert sum("opd/kl" in row for row in log) == 2
    load = transformers.AutoModelForCausalLM.from_pretrained
    before, after = load(published / "student"), load(tmp_path / "out" / "student")
    assert not torch.equal(before.lm_head.weight, after.lm_head.weight)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "out" / "student").eos_token == "<eos>"


def test_published_models_with_an_adapter(published: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    (tmp_path / "recipe.toml").write_text(
        RECIPE.format(place=published).replace(
            "[smoke.published.arguments]",
            '[published.lora]\nr = 2\ntarget_modules = ["q_proj"]\n\n[smoke.published.arguments]',
        ),
        encoding="utf-8",
    )
    main(tmp_path / "recipe.toml", smoke=True, out=tmp_path / "out")
    log = json.loads((tmp_path / "out" / "log.json").read_text(encoding="utf-8"))["log"]
    assert all(row["grad_norm"] > 0.0 for row in log if "grad_norm" in row)
    saved = {path.name for path in (tmp_path / "out" / "student").iterdir()}
    assert "adapter_model.safetensors" in saved
    assert "model.safetensors" not in saved


def test_published_runs_that_cannot_be(published: Path, tmp_path: Path) -> None:
    run = Published(
        student="no/such/model",
        teacher="no/such/model",
        dataset=str(published / "data"),
        prompt_column="question",
    )
    for changed, match in (
        (
            {"arguments": {"divergense": "jsd"}},
            "unknown key 'published.arguments.divergense' .did you mean 'divergence'",
        ),
        (
            {"prompt_column": "text", "arguments": {"use_cpu": True, "bf16": False}},
            r"no column 'text' \(but question\)",
        ),
    ):
        bad = Published(**{name: getattr(run, name) for name in run.__slots__} | changed)
        with pytest.raises(RecipeError, match=match):
            distil(bad, tmp_path / "out")


# -- stopped, damaged, resumed


def published_run(place: Path, **changes: Any) -> Published:
    settings: dict[str, Any] = {
        "divergence": "forward_kl",
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "save_steps": 2,
        "disable_tqdm": True,
        "logging_steps": 1,
        "max_steps": 5,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "learning_rate": 1e-2,
        "max_completion_length": 4,
    }
    return Published(
        student=str(place / "student"),
        teacher=str(place / "teacher"),
        dataset=str(place / "data"),
        prompt_column="question",
        arguments={**settings, **changes},
    )


@pytest.mark.slow(ci=True)
def test_a_distillation_that_is_stopped_and_damaged_goes_on(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit, over epochs of two steps, from the older checkpoint where the newer is damaged."""
    straight = distil(published_run(published), tmp_path / "straight")["log"]
    step = OPDPlusTrainer.training_step

    def stopped_by_the_scheduler(self: Any, *given: Any, **options: Any) -> Any:
        if self.state.global_step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *given, **options)

    with (
        monkeypatch.context() as patch,
        pytest.raises(TrainingInterrupted, match="SIGTERM: stopped after step 3") as stop,
    ):
        patch.setattr(OPDPlusTrainer, "training_step", stopped_by_the_scheduler)
        distil(published_run(published), tmp_path / "out")
    assert stop.value.status == 143
    folder = tmp_path / "out" / "trainer"
    assert {entry.name for entry in folder.iterdir() if entry.is_dir()} == {"checkpoint-2", "checkpoint-3"}

    for changes, named in (
        ({"divergence": "jsd"}, "arguments.divergence: 'forward_kl' there, 'jsd' here"),
        ({"learning_rate": 1e-3}, "arguments.learning_rate"),
        ({"max_steps": 6}, "max_steps: 5 there, 6 here"),
    ):
        with pytest.raises(OtherRun, match=named):
            distil(published_run(published, **changes), tmp_path / "out")
    with pytest.raises(OtherRun, match=r"cannot be extended .* had the learning rate"), session(extend=True):
        distil(published_run(published, max_steps=6), tmp_path / "out")

    file = folder / "checkpoint-3" / "optimizer.pt"
    bits = bytearray(file.read_bytes())
    bits[len(bits) // 2] ^= 1
    file.write_bytes(bits)
    with pytest.warns(RunWarning, match=r"checkpoint-3 is damaged \(optimizer.pt is not what was written\)"):
        resumed = distil(published_run(published, save_steps=3), tmp_path / "out")["log"]
    numbers = [
        [
            {k: v for k, v in row.items() if "time" not in k and "per_second" not in k}
            for row in log
            if "loss" in row
        ]
        for log in (straight, resumed)
    ]
    assert numbers[0] == numbers[1]
    ours, theirs = (
        (tmp_path / name / "student" / "model.safetensors").read_bytes() for name in ("straight", "out")
    )
    assert ours == theirs


def test_a_checkpoint_that_nothing_could_resume_is_refused(published: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="save_only_model: expected false"):
        distil(published_run(published, save_only_model=True), tmp_path)


@pytest.fixture(scope="module")
def in_half(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models as most are published: in bfloat16."""
    place = tmp_path_factory.mktemp("half")
    for name in ("student", "teacher"):
        model = transformers.AutoModelForCausalLM.from_pretrained(published / name)
        model.to(torch.bfloat16).save_pretrained(place / name)
        tokenizer().save_pretrained(place / name)
    prompts().rename_column("prompt", "question").save_to_disk(place / "data")
    return place


def moved(place: Path, out: Path, **changes: Any) -> float:
    """The share of weights that a step at 1e-6 moves."""
    arguments = {
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": 1,
        "max_steps": 2,
        "learning_rate": 1e-6,
        "lr_scheduler_type": "constant",
        "max_completion_length": 4,
        "save_strategy": "no",
    }
    own = {key: changes.pop(key) for key in ("dtype", "attn_implementation") if key in changes}
    run = Published(
        str(place / "student"),
        str(place / "teacher"),
        str(place / "data"),
        prompt_column="question",
        arguments={**arguments, **changes},
        **own,
    )
    return float(next(row["moved"] for row in distil(run, out)["log"] if "moved" in row))


@pytest.mark.slow(ci=True)
def test_weights_are_single_precision_unless_asked_otherwise(in_half: Path, tmp_path: Path) -> None:
    assert moved(in_half, tmp_path / "single") > 0.9
    with pytest.warns(RoundingWarning, match="bfloat16 the rest of the updates round to nothing"):
        assert moved(in_half, tmp_path / "half", dtype="bfloat16") < 0.5
    with pytest.warns(RoundingWarning, match="bfloat16"):
        assert moved(in_half, tmp_path / "kwargs", model_init_kwargs={"dtype": "bfloat16"}) < 0.5


def test_the_attention_that_is_asked_for_is_loaded(
    in_half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    load = transformers.AutoModelForCausalLM.from_pretrained

    def watched(name: str, **options: Any) -> Any:
        seen.append(options)
        return load(name, **options)

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", watched)
    moved(in_half, tmp_path, attn_implementation="eager", model_init_kwargs={"trust_remote_code": True})
    assert [o["attn_implementation"] for o in seen] == ["eager", "eager"]
    assert not any(o["trust_remote_code"] for o in seen) and all(o["use_safetensors"] for o in seen)
    assert [o["dtype"] for o in seen] == ["float32", "auto"]
