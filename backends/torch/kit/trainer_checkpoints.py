"""Runs of transformers' Trainer, and so of TRL's: they stop and resume by the rules of :mod:`.run`.

The checkpoints themselves are those of transformers: folders ``checkpoint-N`` with weights in safetensors, and the
states of optimizer, schedule and generators in files of ``torch.save``, which it reads with ``weights_only=True``
(so version 5.23): a restricted unpickler, of tensors and numbers.  What is added here is a manifest,
``driftproof.json``, written last: the digests of all files, and the identity of the run.  A folder without a manifest
was not finished, one whose files are others is damaged; the newest one that is whole is resumed.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path
from typing import Any, final

from accelerate import PartialState  # type: ignore[import-untyped]  # ships no types
from transformers import TrainerCallback

from .checkpoint import CheckpointError
from .identity import Identity, differences, environment
from .lock import RunWarning
from .report import write_whole
from .run import by_main, highest
from .stop import Interruption

__all__ = ["MANIFEST", "Keeper", "newest"]

MANIFEST = "driftproof.json"
FOLDER = re.compile(r"checkpoint-(\d+)")


@final
class Keeper(TrainerCallback):  # type: ignore[misc]  # transformers carries no types here
    """Writes the manifest of every checkpoint, and stops the training when a stop is requested.

    Arguments:
        folder: Where the trainer puts its checkpoints.
        identity: The identity of the run.
        interruption: The request to read after every step.
    """

    def __init__(self, folder: Path, identity: Identity, interruption: Interruption) -> None:
        self.folder, self.identity, self.interruption = folder, identity, interruption
        self.status = 0

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> Any:
        self.status = highest(PartialState(), self.interruption.asked)
        if self.status:
            control.should_save = control.should_training_stop = True
        return control

    def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> Any:
        PartialState().wait_for_everyone()  # every process writes the state of its own generators
        place = self.folder / f"checkpoint-{state.global_step}"
        by_main(PartialState(), lambda: _seal(place, self.identity, state.global_step))
        return control


def newest(folder: Path, identity: Identity) -> Path | None:
    """The newest whole checkpoint; None where none was finished.

    Raises:
        OtherRun: It belongs to another run; names the first field that differs.
        CheckpointError: All of those that were finished are damaged.
    """
    found = sorted(_steps(folder), reverse=True)
    number = by_main(PartialState(), lambda: _choose(folder, found, identity))
    return folder / f"checkpoint-{number - 1}" if number else None


def _choose(folder: Path, steps: list[int], identity: Identity) -> int:
    """One more than the number of the checkpoint; 0 for none."""
    damaged = ""
    for step in steps:
        place = folder / f"checkpoint-{step}"
        manifest = _read(place)
        if manifest is None:
            warnings.warn(f"{place} was not finished, and is not used", RunWarning, stacklevel=2)
            continue
        if fault := _fault(place, manifest):
            damaged = damaged or f"checkpoint: {place} is damaged ({fault})"
            warnings.warn(f"{place} is damaged ({fault}), and is not used", RunWarning, stacklevel=2)
            continue
        identity.require(manifest, step, place)
        if changed := differences(manifest["environment"], _environment()):
            warnings.warn(f"{place} was made in another environment ({changed})", RunWarning, stacklevel=2)
        return step + 1
    if damaged:
        raise CheckpointError(f"{damaged}; there is no older one: remove {folder} to start again")
    return 0


def _steps(folder: Path) -> list[int]:
    entries = folder.iterdir() if folder.is_dir() else ()
    return [int(match[1]) for entry in entries if (match := FOLDER.fullmatch(entry.name)) and entry.is_dir()]


def _seal(place: Path, identity: Identity, step: int) -> int:
    files = _digests(place)
    content = {**identity.to_json(), "environment": _environment(), "done": step, "files": files}
    text = json.dumps(content, sort_keys=True)
    sealed = {"manifest": content, "digest": blake2b(text.encode(), digest_size=16).hexdigest()}
    write_whole(place / MANIFEST, json.dumps(sealed, indent=1).encode())
    return 0


def _read(place: Path) -> dict[str, Any] | None:
    """The manifest; None where there is none, empty where it is not what was written."""
    try:
        sealed = json.loads((place / MANIFEST).read_text(encoding="utf-8"))
        content: dict[str, Any] = sealed["manifest"]
        text = json.dumps(content, sort_keys=True)
        whole = sealed["digest"] == blake2b(text.encode(), digest_size=16).hexdigest()
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return {}
    return content if whole else {}


def _fault(place: Path, manifest: Mapping[str, Any]) -> str:
    """The fault in the files of a checkpoint; empty where there is none."""
    if not manifest:
        return f"{MANIFEST} is not what was written"
    wanted, found = manifest["files"], _digests(place)
    for name in sorted({*wanted, *found}):
        if name not in found:
            return f"{name} is missing"
        if name in wanted and wanted[name] != found[name]:
            return f"{name} is not what was written"
    return ""


def _digests(place: Path) -> dict[str, str]:
    files = sorted(file for file in place.rglob("*") if file.is_file() and file.name != MANIFEST)
    with ThreadPoolExecutor() as pool:  # hashing lets other threads run
        digests = list(pool.map(_digest, files))
    return {file.relative_to(place).as_posix(): digest for file, digest in zip(files, digests, strict=True)}


def _digest(file: Path) -> str:
    digest = blake2b(digest_size=16)
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _environment() -> dict[str, str]:
    state = PartialState()
    return environment(state.device.type, state.num_processes)
