"""OPD+ in TRL: whole trainings of tiny models, and the loss of a batch against its definition."""

from __future__ import annotations

import re
from collections import Counter
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

from driftproof import UnmetHypothesis
from driftproof.backends.torch.opd import full_vocabulary_loss, opd_loss
from driftproof.backends.torch.opd.trainer import OPDPlusConfig, OPDPlusTrainer
from driftproof.backends.torch.pretrained.arithmetic import Arithmetic, tokenizer
from driftproof.backends.torch.pretrained.qwen import ModelSize, small_qwen

TINY = ModelSize(width=16, layers=1)


def prompts(count: int = 12) -> Any:
    spelt, _ = Arithmetic(digits=1).encode(Arithmetic(digits=1).pairs("train")[:count])
    return datasets.Dataset.from_dict({"prompt": tokenizer().batch_decode(spelt)})


def arguments(out: Path, **changes: Any) -> OPDPlusConfig:
    settings: dict[str, Any] = {
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
        "logging_steps": 1,
        "max_steps": 2,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "max_completion_length": 5,
        "seed": 3,
    }
    return OPDPlusConfig(str(out), **{**settings, **changes})


def trainer(out: Path, teacher: Any = None, **changes: Any) -> OPDPlusTrainer:
    return OPDPlusTrainer(
        model=small_qwen(TINY, seed=0),
        teacher_model=teacher if teacher is not None else small_qwen(TINY, seed=1),
        args=arguments(out, **changes),
        train_dataset=prompts(),
        processing_class=tokenizer(),
    )


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize(
    "form",
    [
        {"loss_form": "sampled", "divergence": "jsd", "gradient_accumulation_steps": 2},
        {"loss_form": "sampled", "divergence": "forward_kl", "advantage": "sg", "gamma": 0.5},
        {"loss_form": "full", "divergence": "normalized_gjsd(0.1)", "temperature": 0.7, "top_p": 0.9},
    ],
    ids=["exact", "stop-gradient", "full"],
)
def test_two_steps_of_every_form(tmp_path: Path, form: dict[str, Any]) -> None:
    run = trainer(tmp_path, **form)
    head = run.model.lm_head.weight.detach().clone()
    teacher = {name: p.detach().clone() for name, p in run.teacher_model.named_parameters()}
    run.train()
    steps = [row for row in run.state.log_history if "loss" in row]
    assert len(steps) == 2
    assert all(
        torch.isfinite(torch.tensor([row["loss"], row["grad_norm"], row["entropy"]])).all() for row in steps
    )
    assert all(row["grad_norm"] > 0.0 for row in steps)
    logged = {name.removeprefix("opd/") for name in steps[0] if name.startswith("opd/")}
    expected = {"divergence", "clip_fraction", "sign_agreement", "effective_sample_size", "kl"}
    assert logged == (expected if form["loss_form"] == "sampled" else {"divergence"})
    assert not torch.equal(run.model.lm_head.weight, head)
    assert all(torch.equal(p, teacher[name]) for name, p in run.teacher_model.named_parameters())


def batch_of(run: OPDPlusTrainer) -> dict[str, Any]:
    run.model.train()
    batch = run._generate_and_score_completions([{"prompt": p} for p in run.train_dataset["prompt"][:6]])
    # Completions of different lengths, and a row of the batch with padding on both sides.
    batch["completion_mask"] = batch["completion_mask"].clone()
    batch["completion_mask"][1, 2:] = 0
    batch["completion_mask"][3, 1:] = 0
    batch["num_items_in_batch"] = batch["completion_mask"].sum()
    return batch


def logits_of(model: Any, batch: dict[str, Any]) -> Any:
    """Through the whole model: no hidden states, no chunks."""
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    length = batch["completion_ids"].shape[1]
    return model(input_ids=ids, attention_mask=attention).logits[:, -length - 1 : -1].float()


def gradients(model: Any, loss: Any) -> dict[str, Any]:
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("form", ["sampled", "full"])
def test_the_loss_of_a_batch_is_its_definition(tmp_path: Path, form: str) -> None:
    temperature = 0.7
    run = trainer(tmp_path, divergence="jsd", loss_form=form, temperature=temperature, clip_log_ratio=2.0)
    batch = batch_of(run)
    mask = batch["completion_mask"]
    ours = run.compute_loss(run.model, batch)
    got = gradients(run.model, ours)

    logits, teacher_logits = logits_of(run.model, batch), logits_of(run.teacher_model, batch).detach()
    if form == "full":
        byhand = full_vocabulary_loss(logits, teacher_logits, mask, divergence="jsd", temperature=temperature)
    else:
        chosen = batch["completion_ids"][..., None]
        logp, logq = (
            torch.log_softmax(table / temperature, -1).gather(-1, chosen)[..., 0]
            for table in (logits, teacher_logits)
        )
        byhand = opd_loss(logp, logq, mask, divergence="jsd", clip=2.0).loss
        # And once more without our kernels: A_c of the Jensen-Shannon divergence, written out.
        delta = (logq - logp.detach()).clamp(-2.0, 2.0)
        advantage = 0.5 * (torch.nn.functional.softplus(delta) - torch.log(torch.tensor(2.0)))
        written_out = -(advantage * logp * mask).sum() / mask.sum()
        torch.testing.assert_close(byhand, written_out, rtol=1e-5, atol=1e-7)
    want = gradients(run.model, byhand)
    torch.testing.assert_close(ours, byhand, rtol=1e-5, atol=1e-7)
    assert set(got) == set(want)
    for name in want:
        torch.testing.assert_close(got[name], want[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("form", ["sampled", "full"])
def test_parts_of_a_batch_add_up_to_it(tmp_path: Path, form: str) -> None:
    """Accumulation and processes: rows of different lengths, divided by the tokens of all of them."""
    run = trainer(tmp_path, divergence="forward_kl", loss_form=form, clip_log_ratio=3.0)
    batch = batch_of(run)
    whole = gradients(run.model, run.compute_loss(run.model, batch))
    parts = []
    for rows in (slice(0, 2), slice(2, 6)):
        part = {k: v if k == "num_items_in_batch" else v[rows] for k, v in batch.items()}
        parts.append(gradients(run.model, run.compute_loss(run.model, part)))
    for name in whole:
        torch.testing.assert_close(parts[0][name] + parts[1][name], whole[name], rtol=1e-4, atol=1e-6)
    # The mean of the two means is another number: the test could have failed.
    count = batch["completion_mask"][:2].sum(), batch["completion_mask"][2:].sum()
    assert 2 * count[0] != count[0] + count[1]


def test_what_is_not_sampled_from_the_student_is_refused(tmp_path: Path) -> None:
    for truncation in ({"top_p": 0.9}, {"top_k": 5}, {"min_p": 0.1}, {"repetition_penalty": 1.1}):
        with pytest.raises(UnmetHypothesis, match="sampled from the student itself"):
            arguments(tmp_path, **truncation)
        assert arguments(tmp_path, loss_form="full", **truncation).loss_form == "full"


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"divergence": "chi"}, "chi"),
        ({"divergence": "alpha"}, "alpha"),
        ({"advantage": "pathwise"}, "advantage is one of"),
        ({"loss_form": "topk"}, "loss_form is one of"),
        ({"gamma": 1.5}, "gamma in"),
        ({"clip_log_ratio": -1.0}, "clip_log_ratio > 0"),
        ({"temperature": 0.0}, "temperature > 0"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(tmp_path: Path, wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(UnmetHypothesis, match=match):
        arguments(tmp_path / "new", **wrong)
    assert not (tmp_path / "new").exists()


def test_generation_options_do_not_change_the_law_behind_our_back(tmp_path: Path) -> None:
    for options in ({"top_p": 0.9}, {"temperature": 0.6}, '{"do_sample": false}'):
        with pytest.raises(UnmetHypothesis, match="leave the law of the samples alone"):
            arguments(tmp_path, generation_kwargs=options)
    assert arguments(tmp_path, generation_kwargs={"max_new_tokens": 3}).divergence == "reverse_kl"


def test_models_that_the_loss_does_not_fit_are_refused(tmp_path: Path) -> None:
    softcapped = small_qwen(TINY, seed=1)
    softcapped.config.final_logit_softcapping = 30.0
    with pytest.raises(UnmetHypothesis, match=r"teacher are linear .*final_logit_softcapping = 30\.0"):
        trainer(tmp_path, teacher=softcapped)
    with pytest.raises(UnmetHypothesis, match="a teacher_model is given"):
        OPDPlusTrainer(small_qwen(TINY, seed=0), args=arguments(tmp_path), processing_class=tokenizer())
    with pytest.raises(TypeError, match="OPDPlusConfig, got DistillationConfig"):
        OPDPlusTrainer(
            small_qwen(TINY, seed=0),
            small_qwen(TINY, seed=1),
            args=trl.DistillationConfig(str(tmp_path), use_cpu=True, bf16=False, report_to="none"),
            train_dataset=prompts(),
            processing_class=tokenizer(),
        )


def test_another_vocabulary_is_refused(tmp_path: Path) -> None:
    config = small_qwen(TINY, seed=1).config
    config.vocab_size += 1
    with pytest.raises(ValueError, match="vocab"):
        trainer(tmp_path, teacher=type(small_qwen(TINY, seed=1))(config))


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("page", ["README.md", "papers/opd.md"])
def test_the_lines_to_paste_train(page: str, tmp_path: Path) -> None:
    """The block of the page as it stands, after settings that let it run here."""
    text = (Path(__file__).parent.parent / page).read_text(encoding="utf-8")
    blocks = re.findall(r"^```py\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (lines,) = [block for block in blocks if "OPDPlusConfig" in block]
    assert len(lines.split("\n\n")[1].splitlines()) <= 4
    settings = {name: getattr(arguments(tmp_path), name) for name in ("use_cpu", "bf16", "max_steps")}
    here = f'OPDPlusConfig({str(tmp_path)!r}, report_to="none", save_strategy="no", **settings, '
    assert lines.count('OPDPlusConfig("out", ') == 1
    # A model from the hub brings its tokenizer along; these have no name to find one by.
    lines = lines.replace("train_dataset=prompts", "train_dataset=prompts, processing_class=tokens")
    scope: dict[str, Any] = {
        "student": small_qwen(TINY, 0),
        "teacher": small_qwen(TINY, 1),
        "prompts": prompts(),
        "tokens": tokenizer(),
        "settings": settings,
    }
    exec(lines.replace('OPDPlusConfig("out", ', here).replace("=1024", "=4"), scope)  # noqa: S102  # our own page
    assert scope["trainer"].state.global_step == 2


# -- published models, from folders


@pytest.mark.parametrize("loss_form", ["full", "sampled"])
def test_each_model_is_asked_once_a_row(loss_form: str, tmp_path: Path) -> None:
    """Beside the rollout, which asks the student once a token: the teacher is not asked by itself, nor twice."""
    rows = Counter[tuple[str, bool]]()
    run = trainer(tmp_path, loss_form=loss_form, gradient_accumulation_steps=2)

    def count(name: str, model: Any) -> None:
        def seen(module: Any, args: Any, kwargs: Any, output: Any) -> None:
            rows[name, torch.is_grad_enabled()] += len(output[0])

        model.get_decoder().register_forward_hook(seen, with_kwargs=True)

    count("student", run.model)
    count("teacher", run.teacher_model)
    run.train()
    a_step = run.args.per_device_train_batch_size * run.args.gradient_accumulation_steps
    every = run.args.max_steps * a_step
    tokens = run.args.max_completion_length
    assert rows == {("student", True): every, ("teacher", False): every, ("student", False): tokens * every}
