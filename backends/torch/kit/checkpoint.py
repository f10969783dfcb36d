r"""Checkpoints: one safetensors file, written whole or not at all, read without unpickling anything.

Tensors carry a prefix (``model.``, ``ema.``, ``optimizer.``, ...); everything that is not a tensor is
JSON in the file's metadata.  The file is written beside its place, flushed to the disk and renamed: a
process that is killed at any moment leaves the previous checkpoint or the new one, never a part.  Its header
holds a digest of each tensor with its name, type and shape, and one of the JSON: a flipped bit, a tensor too few
or too many is reported before anything is loaded.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import socket
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

__all__ = [
    "CheckpointError",
    "clean",
    "load",
    "optimizer_tensors",
    "prefixed",
    "previous_of",
    "require_like",
    "require_optimizer",
    "restore_optimizer",
    "save",
    "under",
]

FORMAT = "driftproof-checkpoint/2"


class CheckpointError(ValueError):
    """A file that is no checkpoint of this library, or is damaged."""


def save(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, object], *, keep: bool = False
) -> None:
    """Write tensors and JSON metadata to ``path``, atomically.

    Arguments:
        path: The file; its folder is made.
        tensors: Named tensors of any shape, dtype and device.
        metadata: Anything that JSON can hold.
        keep: Whether the file that was there becomes :func:`previous_of` it.

    Raises:
        OSError: It cannot be written; what was there before is still there.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(Path(folder) / "a.safetensors", {"w": torch.ones(2)}, {"step": 3})
        ...     tensors, metadata = load(Path(folder) / "a.safetensors")
        >>> tensors["w"].tolist(), metadata
        ([1.0, 1.0], {'step': 3})
    """
    text = json.dumps(metadata, sort_keys=True)
    # Copies: safetensors refuses tensors that share storage or are not contiguous.
    host = {name: value.detach().to("cpu", copy=True).contiguous() for name, value in tensors.items()}
    digests = {name: _digest(name, value) for name, value in host.items()}
    header = {
        "format": FORMAT,
        "metadata": text,
        "digest": _digest_of_text(text),
        "digests": json.dumps(digests, sort_keys=True),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.part")
    try:
        save_file(host, partial, header)
        _flush(partial)
        if keep and path.exists():
            os.replace(path, previous_of(path))
        os.replace(partial, path)
        _flush(path.parent)
    except SafetensorError as error:
        raise _as_os_error(error, path) from None
    except OSError as error:
        raise OSError(error.errno, _unwritten(path, error.strerror or str(error))) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`save` wrote, on the CPU.

    Raises:
        FileNotFoundError: There is no such file.
        CheckpointError: The file is no checkpoint of this library, or is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint: no file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            # Copies: a view of the file lies wherever the header ends, and kernels round by alignment.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  # no mapping
    except SafetensorError as error:
        raise CheckpointError(f"checkpoint: {path} is damaged ({error})") from None
    if header.get("format") != FORMAT:
        raise CheckpointError(
            f"checkpoint: expected the format {FORMAT!r} in {path}, got {header.get('format')!r}"
        )
    text = header.get("metadata", "")
    try:
        digests = json.loads(header.get("digests", ""))
    except ValueError:
        digests = None
    if not isinstance(digests, dict) or header.get("digest") != _digest_of_text(text):
        raise CheckpointError(f"checkpoint: {path} is damaged (its header is not the one that was written)")
    for name in sorted({*digests, *tensors}):
        if name not in tensors or digests.get(name) != _digest(name, tensors[name]):
            raise CheckpointError(
                f"checkpoint: {path} is damaged (the tensor {name!r} is not what was written)"
            )
    return tensors, json.loads(text)


def previous_of(path: Path) -> Path:
    """Where the checkpoint before the newest one is.

    Example:
        >>> previous_of(Path("a.safetensors")).name
        'a.previous.safetensors'
    """
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def clean(path: Path) -> None:
    """Remove what killed writers of this file left beside it; its lock is held, so no other writer lives."""
    own = re.compile(rf"\.{re.escape(path.name)}\.(?:.+\.)?\d+\.part")
    for file in path.parent.glob(".*.part") if path.parent.is_dir() else ():
        if own.fullmatch(file.name):
            file.unlink(missing_ok=True)


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
    """Put back what :func:`optimizer_tensors` gave; learning rates and such stay as they are.

    Raises:
        ValueError: See :func:`require_optimizer`; raised before anything is loaded.
    """
    require_optimizer(optimizer, tensors, type(optimizer).__name__)
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def require_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise unless tensors are a state of this optimizer: its step would read beyond a tensor that is too small.

    Every state is a scalar or has the shape of its parameter, and all parameters have the same states.

    Raises:
        ValueError: The first tensor that does not fit, with both shapes.
    """
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    names: dict[int, set[str]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        if not index.isdecimal() or int(index) >= len(weights):
            raise ValueError(
                f"{where}.{key}: the optimizer has {len(weights)} parameters, and none of that number"
            )
        names.setdefault(int(index), set()).add(name)
        weight = weights[int(index)]
        counter = name == "step"
        shape = torch.Size() if counter else weight.shape
        kinds = (torch.float32, torch.float64) if counter else (weight.dtype,)
        if value.shape != shape or value.dtype not in kinds:
            got = f"{tuple(value.shape)} {value.dtype}"
            raise ValueError(f"{where}.{key}: expected {tuple(shape)} {kinds[0]}, got {got}")
    if len({frozenset(found) for found in names.values()}) > 1:
        raise ValueError(f"{where}: some parameters have states that others lack")


def require_like(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], where: str) -> None:
    """Raise unless names, shapes and types are the same.

    Raises:
        ValueError: The first tensor that differs.
    """
    for name in dict.fromkeys([*wanted, *found]):
        there, here = (
            f"{tuple(t.shape)} {t.dtype}" if (t := part.get(name)) is not None else "nothing"
            for part in (found, wanted)
        )
        if there != here:
            raise ValueError(f"{where}{name}: {there} there, {here} here")


def _digest(name: str, value: Tensor) -> str:
    digest = blake2b(f"{name} {value.dtype} {tuple(value.shape)} ".encode(), digest_size=16)
    digest.update(value.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]  # it is a buffer
    return digest.hexdigest()


def _digest_of_text(text: str) -> str:
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _as_os_error(error: SafetensorError, path: Path) -> OSError:
    """Failures to write that safetensors reports in words only."""
    code = re.search(r"code: (\d+)|os error (\d+)", str(error))
    number = int(code[1] or code[2]) if code else errno.EIO
    return OSError(number, _unwritten(path, os.strerror(number) if code else str(error)))


def _unwritten(path: Path, why: str) -> str:
    return f"cannot write {path} ({why}); what was saved before is still there"


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
