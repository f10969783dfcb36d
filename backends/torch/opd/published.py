"""Distillation of published models: everything but the loss is TRL's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..recipe import RecipeError
from .config import Published

__all__ = ["distil"]


def distil(run: Published, out: Path) -> dict[str, Any]:
    """Train as the recipe says, save the student to ``out/student``, and return TRL's log.

    Model and data names go to ``from_pretrained`` and ``load_dataset``; weights are safetensors, and remote
    code stays off.

    Raises:
        RecipeError: A key that neither the recipe nor ``OPDPlusConfig`` knows, or a column that the data
            lack; raised before a model is loaded.
    """
    from datasets import DatasetDict, load_dataset, load_from_disk
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from .trainer import OPDPlusConfig, OPDPlusTrainer

    unknown = sorted(set(run.arguments) - {field.name for field in fields(OPDPlusConfig) if field.init})
    if unknown:
        raise RecipeError(
            f"recipe.published: unknown keys {', '.join(unknown)} (no arguments of OPDPlusConfig)"
        )
    arguments = OPDPlusConfig(str(out / "trainer"), **run.arguments)
    local = Path(run.dataset).is_dir()
    data = load_from_disk(run.dataset) if local else load_dataset(run.dataset, split=run.split)
    if isinstance(data, DatasetDict):
        data = data[run.split]
    if run.prompt_column not in data.column_names:
        columns = ", ".join(data.column_names)
        raise RecipeError(f"recipe.published: the data have no column {run.prompt_column!r} (but {columns})")
    data = data.select_columns([run.prompt_column]).rename_columns(
        {run.prompt_column: "prompt"} if run.prompt_column != "prompt" else {}
    )
    tokens = AutoTokenizer.from_pretrained(run.student, padding_side="left", trust_remote_code=False)
    student, teacher = (
        AutoModelForCausalLM.from_pretrained(name, use_safetensors=True, trust_remote_code=False)
        for name in (run.student, run.teacher)
    )
    trainer = OPDPlusTrainer(
        model=student,
        teacher_model=teacher,
        args=arguments,
        train_dataset=data,
        processing_class=tokens,
        peft_config=None if run.lora is None else _lora(run.lora),
    )
    trainer.train()
    trainer.save_model(str(out / "student"))
    return {"log": trainer.state.log_history}


def _lora(table: Mapping[str, Any]) -> Any:
    from peft import LoraConfig

    return LoraConfig(**{"task_type": "CAUSAL_LM", **table})
