"""Distillation of published models: everything but the loss is TRL's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState  # type: ignore[import-untyped]  # ships no types

from driftproof.backends.torch.kit.config_errors import unknown_key
from driftproof.backends.torch.kit.identity import Identity, identity_of
from driftproof.backends.torch.kit.recipe import RecipeError
from driftproof.backends.torch.kit.run import held
from driftproof.backends.torch.kit.stop import Interruption, TrainingInterrupted

from .config import Published

__all__ = ["distil"]


# Arguments of the trainer that say how it runs; all others that a recipe gives define the law of the run.
HOW = {
    *("output_dir", "run_name", "report_to", "disable_tqdm", "log_level", "use_cpu", "push_to_hub"),
    *("save_steps", "save_strategy", "save_total_limit", "logging_steps", "logging_strategy"),
    *("logging_first_step", "log_completions", "num_completions_to_print", "eval_steps", "eval_strategy"),
    *("per_device_eval_batch_size", "dataloader_num_workers", "dataloader_pin_memory"),
    *("dataloader_prefetch_factor", "dataloader_persistent_workers", "gradient_checkpointing"),
    *("gradient_checkpointing_kwargs", "torch_empty_cache_steps", "vllm_gpu_memory_utilization"),
}
# Those that define it whether they are given or not.
LAW = (
    *("divergence", "advantage", "loss_form", "clip_log_ratio", "gamma", "temperature", "seed"),
    *("learning_rate", "lr_scheduler_type", "per_device_train_batch_size", "gradient_accumulation_steps"),
    *("max_completion_length", "world_size"),
)
GENERATIONS = 2
SAFE = {"use_safetensors": True, "trust_remote_code": False}


def distil(run: Published, out: Path) -> dict[str, Any]:
    """Train as the recipe says, save the student to ``out/student``, and return TRL's log.

    Goes on from the newest whole checkpoint in ``out/trainer``, where there is one; two are kept unless the recipe
    asks for more (``save_total_limit``).

    Model and data names go to ``from_pretrained`` and ``load_dataset``; weights are safetensors, and remote
    code stays off.

    Raises:
        RecipeError: A key that neither the recipe nor ``OPDPlusConfig`` knows, checkpoints that nothing could
            resume, or a column that the data lack; raised before a model is loaded.
        InUse: Another run trains in ``out/trainer``.
        OtherRun, CheckpointError: As in :func:`..kit.trainer_checkpoints.newest`.
        TrainingInterrupted: A signal, or the limit of the session; raised after saving.
    """
    from datasets import DatasetDict, load_dataset, load_from_disk
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from driftproof.backends.torch.kit.trainer_checkpoints import Keeper, newest

    from .trainer import OPDPlusConfig, OPDPlusTrainer

    known = [field.name for field in fields(OPDPlusConfig) if field.init]
    for name in run.arguments:
        if name not in known:
            raise RecipeError(f"recipe: {unknown_key(f'published.arguments.{name}', known)}")
    if run.arguments.get("save_only_model"):
        raise RecipeError(
            "recipe: published.arguments.save_only_model: expected false, a resumption needs the optimizer"
        )
    folder = out / "trainer"
    arguments = OPDPlusConfig(str(folder), **run.arguments)
    arguments.save_total_limit = max(arguments.save_total_limit or GENERATIONS, GENERATIONS)
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
    identity = _identity(run, arguments)
    student, teacher = (
        AutoModelForCausalLM.from_pretrained(name, **{**given, **SAFE})
        for name, given in (
            (run.student, {**_loading(run, run.dtype), **(arguments.model_init_kwargs or {})}),
            (
                run.teacher,
                {**_loading(run, run.teacher_dtype), **(arguments.teacher_model_init_kwargs or {})},
            ),
        )
    )
    arguments.model_init_kwargs = arguments.teacher_model_init_kwargs = (
        None  # used, and TRL would say ignored
    )
    trainer = OPDPlusTrainer(
        model=student,
        teacher_model=teacher,
        args=arguments,
        train_dataset=data,
        processing_class=tokens,
        peft_config=None if run.lora is None else _lora(run.lora),
    )
    folder.mkdir(parents=True, exist_ok=True)
    with held(folder, PartialState()), Interruption() as request:
        keeper = Keeper(folder, identity, request)
        trainer.add_callback(keeper)
        last = newest(folder, identity)
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
        if keeper.status:
            raise TrainingInterrupted(trainer.state.global_step, folder, keeper.status)
        trainer.save_model(str(out / "student"))
    return {"log": trainer.state.log_history}


def _loading(run: Published, dtype: str) -> dict[str, Any]:
    attention = {} if run.attn_implementation is None else {"attn_implementation": run.attn_implementation}
    return {"dtype": dtype, **attention}


def _identity(run: Published, arguments: Any) -> Identity:
    own = {field.name: getattr(run, field.name) for field in fields(run) if field.name != "arguments"}
    given = {name for name in (*run.arguments, *LAW) if name not in HOW}
    values = {name: getattr(arguments, name) for name in sorted(given)}
    length = {"max_steps": arguments.max_steps} if arguments.max_steps > 0 else {}
    constant = _plain(arguments.lr_scheduler_type) == "constant"
    if not length and constant:
        length = {"num_train_epochs": arguments.num_train_epochs}
    law = {name: _plain(value) for name, value in values.items() if name not in ("max_steps", *length)}
    if not length:  # how many steps the schedule falls over is known to the data alone
        law["num_train_epochs"] = arguments.num_train_epochs
    how = {name: _plain(getattr(arguments, name)) for name in run.arguments if name in HOW}
    made = identity_of(**own, arguments=law)
    return Identity(made.law, how, length, None if constant else partial(_rate, arguments))


def _rate(arguments: Any, step: int, length: int) -> float:
    """The learning rate of a step of a run of that many steps, by transformers itself."""
    from transformers import get_scheduler

    optimizer = torch.optim.SGD([torch.zeros(1)], lr=arguments.learning_rate)
    schedule = get_scheduler(
        arguments.lr_scheduler_type,
        optimizer,
        num_warmup_steps=arguments.get_warmup_steps(length),
        num_training_steps=length,
        scheduler_specific_kwargs=arguments.lr_scheduler_kwargs,
    )
    factor: float = schedule.lr_lambdas[0](step)
    return float(arguments.learning_rate) * factor


def _plain(value: Any) -> Any:
    """A value of transformers as JSON: an enumeration by its value, anything unusual by its text."""
    if isinstance(value, Enum):
        return value.value
    return value if isinstance(value, str | int | float | bool | None | list | tuple | dict) else str(value)


def _lora(table: Mapping[str, Any]) -> Any:
    from peft import LoraConfig

    return LoraConfig(**{"task_type": "CAUSAL_LM", **table})
