r"""Checkpoints: one safetensors file, written whole or not at all, read without unpickling anything.

Tensors carry a prefix (``model.``, ``ema.``, ``optimizer.``, ...); everything that is not a tensor is
JSON in the file's metadata.  The file is written beside its place, flushed to the disk and renamed: a
process that is killed at any moment leaves the previous checkpoint or the new one, never a part.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

__all__ = ["load", "optimizer_tensors", "prefixed", "restore_optimizer", "save", "under"]

FORMAT = "driftproof-checkpoint/1"


def save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, object]) -> None:
    """Write tensors and JSON metadata to ``path``, atomically.

    Arguments:
        path: The file; its folder is made.
        tensors: Named tensors of any shape, dtype and device.
        metadata: Anything that JSON can hold.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(Path(folder) / "a.safetensors", {"w": torch.ones(2)}, {"step": 3})
        ...     tensors, metadata = load(Path(folder) / "a.safetensors")
        >>> tensors["w"].tolist(), metadata
        ([1.0, 1.0], {'step': 3})
    """
    header = {"format": FORMAT, "metadata": json.dumps(metadata, sort_keys=True)}
    # Copies: safetensors refuses tensors that share storage or are not contiguous.
    host = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file(host, partial, header)
        _flush(partial)
        os.replace(partial, path)
        _flush(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save` wrote, on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is no checkpoint of this library, or is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint: no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
    except SafetensorError as error:
        raise ValueError(f"checkpoint: {path} is damaged ({error})") from None
    if header.get("format") != FORMAT:
        raise ValueError(
            f"checkpoint: expected the format {FORMAT!r} in {path}, got {header.get('format')!r}"
        )
    return tensors, json.loads(header["metadata"])


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, each name behind ``prefix.``."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`prefixed`: the tensors under ``prefix.``, without it."""
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimizer as tensors named ``<index of the parameter>.<name of the state>``.

    Hyper-parameters are not part of it: they belong to the configuration.

    Raises:
        TypeError: The optimizer keeps a state that is no tensor.
    """
    tensors = {}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            if not isinstance(value, Tensor):
                kind = type(value).__name__
                raise TypeError(
                    f"{type(optimizer).__name__}: expected a tensor as its state {name!r}, got {kind}"
                )
            tensors[f"{index}.{name}"] = value
    return tensors


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what :func:`optimizer_tensors` gave; learning rates and such stay as they are."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
