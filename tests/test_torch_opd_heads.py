"""The fused path of the OPD+ trainer against whole models: adapters, prompts, caps, positions, padding, shards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")
transformers = pytest.importorskip("transformers")
pytest.importorskip("datasets")
trl = pytest.importorskip("trl")
if not hasattr(trl, "DistillationTrainer"):
    pytest.skip("this TRL has no DistillationTrainer", allow_module_level=True)

from driftproof import UnmetHypothesis
from driftproof.backends.torch.opd.trainer import OPDPlusTrainer
from driftproof.backends.torch.pretrained.arithmetic import tokenizer
from driftproof.backends.torch.pretrained.qwen import small_qwen
from tests.test_torch_opd_trainer import TINY, arguments, prompts

ROOT = Path(__file__).parent.parent
WHOLE = r"teacher is its backbone and a linear head"


def trainer(out: Path, student: Any = None, teacher: Any = None, **changes: Any) -> OPDPlusTrainer:
    return OPDPlusTrainer(
        model=small_qwen(TINY, 0) if student is None else student,
        teacher_model=small_qwen(TINY, 1) if teacher is None else teacher,
        args=arguments(out, **changes),
        train_dataset=prompts(),
        processing_class=tokenizer(),
    )


def scaled(model: Any) -> Any:
    """Weights large enough for models to differ, as trained ones do."""
    with torch.no_grad():
        for p in model.parameters():
            if p.ndim > 1:
                p.normal_(std=0.5)
    return model


def gpt2(seed: int) -> Any:
    torch.manual_seed(seed)
    size = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 64}
    return scaled(
        transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=len(tokenizer()), **size))
    ).eval()


def bert(seed: int) -> Any:
    torch.manual_seed(seed)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.BertConfig(vocab_size=len(tokenizer()), is_decoder=True, **size)
    return scaled(transformers.BertLMHeadModel(config))


class Capped(transformers.Qwen3ForCausalLM):
    """A cap that no option of its configuration tells of."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        made = super().forward(*args, **kwargs)
        made.logits = 3.0 * torch.tanh(made.logits / 3.0)
        return made


@torch.no_grad()
def row_by_row(run: OPDPlusTrainer, batch: dict[str, Any]) -> float:
    """Mean reverse KL of a token by the whole models, one row at a time: nothing is padded."""
    total, count = 0.0, 0
    parts = (batch[key] for key in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask"))
    for prompt, real, completion, kept in zip(*parts, strict=True):
        prompt, completion = prompt[real.bool()], completion[kept.bool()]
        ids = torch.cat([prompt, completion])[None]
        p, q = (
            torch.log_softmax(m(input_ids=ids).logits[0, -len(completion) - 1 : -1].double(), -1)
            for m in (run.model.eval(), run.teacher_model.eval())
        )
        total, count = total + float((p.exp() * (p - q)).sum()), count + len(completion)
    run.model.train()
    return total / count


def test_absolute_positions_count_from_the_first_token(tmp_path: Path) -> None:
    run = trainer(tmp_path, gpt2(0), gpt2(1), loss_form="full")
    for module in run.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    run.model.train()
    unequal = ("1+2=", "11+22=", "1+2+3+4=", "7=")
    batch = run._generate_and_score_completions([{"prompt": p} for p in unequal])
    batch["num_items_in_batch"] = batch["completion_mask"].sum()
    assert not batch["prompt_mask"].bool().all(), "some prompt is padded"
    found = float(run.compute_loss(run.model, batch).detach())
    # Float32 through one layer: 2^10 roundings of a divergence of this size.
    assert found == pytest.approx(row_by_row(run, batch), rel=2.0**-13)


def test_an_adapter_on_the_head_of_the_teacher_is_refused(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    teacher = peft.get_peft_model(small_qwen(TINY, 1), peft.LoraConfig(r=2, target_modules=["lm_head"]))
    torch.manual_seed(0)
    for name, p in teacher.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.5)
    with pytest.raises(UnmetHypothesis, match=WHOLE + r".*differ by .* of their spread"):
        trainer(tmp_path, teacher=teacher)
    body = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    trainer(tmp_path, teacher=peft.get_peft_model(small_qwen(TINY, 1), body))


def test_a_soft_prompt_is_refused(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    soft = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    with pytest.raises(UnmetHypothesis, match=WHOLE):
        trainer(tmp_path, teacher=peft.get_peft_model(small_qwen(TINY, 1), soft))


def test_logits_that_are_no_product_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnmetHypothesis, match=WHOLE):
        trainer(tmp_path, teacher=scaled(Capped(small_qwen(TINY, 1).config)))
    with pytest.raises(UnmetHypothesis, match=WHOLE):
        trainer(tmp_path, teacher=bert(1))
    with pytest.raises(UnmetHypothesis, match=WHOLE.replace("teacher", "student")):
        trainer(tmp_path, student=bert(1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_rounding_is_no_difference(tmp_path: Path, dtype: Any) -> None:
    trainer(tmp_path, teacher=scaled(small_qwen(TINY, 1)).to(dtype))


def test_an_empty_head_is_refused(tmp_path: Path) -> None:
    teacher = small_qwen(TINY, 1)
    teacher.lm_head.weight = torch.nn.Parameter(torch.empty(0))
    with pytest.raises(UnmetHypothesis, match="ZeRO-3"):
        trainer(tmp_path, teacher=teacher)


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("form", ["full", "sampled"])
def test_what_is_logged_does_not_depend_on_how_a_batch_is_cut(tmp_path: Path, form: str) -> None:
    logged = []
    for rows, parts in ((4, 1), (2, 2), (1, 4)):
        cut = {"per_device_train_batch_size": rows, "gradient_accumulation_steps": parts, "max_steps": 1}
        run = trainer(tmp_path, loss_form=form, learning_rate=0.0, **cut)
        run.train()
        (row,) = (row for row in run.state.log_history if "loss" in row)
        logged.append({key: row[key] for key in row if key.startswith("opd/") or key == "entropy"})
    assert logged[0]["entropy"] > 1.0 and logged[0].keys() == logged[1].keys() == logged[2].keys()
    for other in logged[1:]:
        assert other == pytest.approx(logged[0], rel=1e-5)  # float32 through matrices of other heights


SHARDED = """
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Shard, distribute_tensor

from driftproof.backends.torch.opd import linear_opd_loss
from driftproof.backends.torch.opd.heads import linear_head

dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
draw = torch.Generator().manual_seed(0)
states, weight, teacher = (torch.randn(*s, generator=draw, dtype=torch.float64) for s in ((4, 3), (6, 3), (6, 3)))


class Model:
    def __init__(self, weight):
        self.head = torch.nn.Linear(3, 6, bias=False)
        self.head.weight = torch.nn.Parameter(weight)

    def get_output_embeddings(self):
        return self.head


mesh = init_device_mesh("cpu", (size,))
model = Model(distribute_tensor(weight, mesh, [Shard(0)]))
mine = states[2 * rank : 2 * rank + 2]
loss = linear_opd_loss(mine, linear_head(model, "student")[0], mine, teacher, torch.ones(2))
loss.backward()
found = model.head.weight.grad.full_tensor()
whole = weight.clone().requires_grad_()
linear_opd_loss(states, whole, states, teacher, torch.ones(4)).backward()  # the mean over processes of means of two
torch.testing.assert_close(found, whole.grad, rtol=1e-12, atol=1e-14)
dist.destroy_process_group()
"""


@pytest.mark.slow
def test_the_gradient_of_a_sharded_head_is_the_mean_over_processes(tmp_path: Path) -> None:
    script = tmp_path / "sharded.py"
    script.write_text(SHARDED)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launcher, str(script)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
