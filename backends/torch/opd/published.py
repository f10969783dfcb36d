"""Distillation of published models: everything but the loss is TRL's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .config import Published

__all__ = ["distil"]


def distil(run: Published, out: Path) -> dict[str, Any]:
    """Train as the recipe says, save the student to ``out/student``, and return TRL's log.

    Model and data names go to ``from_pretrained`` and ``load_dataset``; remote code stays off.
    """
    from datasets import load_dataset, load_from_disk
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from .trainer import OPDPlusConfig, OPDPlusTrainer

    local = Path(run.dataset).is_dir()
    data = load_from_disk(run.dataset) if local else load_dataset(run.dataset, split=run.split)
    data = data.select_columns([run.prompt_column]).rename_columns(
        {run.prompt_column: "prompt"} if run.prompt_column != "prompt" else {}
    )
    tokens = AutoTokenizer.from_pretrained(run.student, padding_side="left", trust_remote_code=False)
    student, teacher = (
        AutoModelForCausalLM.from_pretrained(name, trust_remote_code=False)
        for name in (run.student, run.teacher)
    )
    trainer = OPDPlusTrainer(
        model=student,
        teacher_model=teacher,
        args=OPDPlusConfig(str(out / "trainer"), **run.arguments),
        train_dataset=data,
        processing_class=tokens,
    )
    trainer.train()
    trainer.save_model(str(out / "student"))
    return {"log": trainer.state.log_history}
