"""Unguided trajectories on the disk: shards that are mapped, not read, and made once, whoever is interrupted.

A shard is a function of the seed and of its number, written whole or not at all, so that a run that was killed goes on
with the shards that are missing, and processes make them in shares.  One store serves every event of its model.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from torch import Tensor

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.identity import OtherRun, digest_of
from driftproof.backends.torch.kit.report import write_whole
from driftproof.backends.torch.kit.run import by_main
from driftproof.backends.torch.kit.seeding import generator_of

from .config import Storage
from .models import Frozen

__all__ = ["Store", "make_store", "size_of"]

WORDS = {"bfloat16": (np.int16, torch.bfloat16), "float32": (np.int32, torch.float32)}
FORMAT = 1
STORING = 2 * 10**6  # the step number of shards, beyond those of trainings and of evaluations


def size_of(storage: Storage, steps: int, shape: tuple[int, ...]) -> int:
    """Bytes of a store, before it is made.

    Example:
        >>> size_of(Storage(100_000, most_gib=200.0), 49, (4, 64, 64))
        163840000000
    """
    states = storage.trajectories * (steps + 1) * int(np.prod(shape))
    return states * int(np.dtype(WORDS[storage.dtype][0]).itemsize)


@final
class Store:
    """Trajectories in a folder, all of whose shards are there.

    Arguments:
        folder: Where they are.
        storage: Their number and kind.
        steps: Steps of each.
        shape: The shape of a state.
    """

    def __init__(self, folder: Path, storage: Storage, steps: int, shape: tuple[int, ...]) -> None:
        self.steps, self.trajectories = steps, storage.trajectories
        self.shard, (self.words, self.dtype) = storage.shard, WORDS[storage.dtype]
        self._parts = [
            np.memmap(_file(folder, k), dtype=self.words, mode="r", shape=(count, steps + 1, *shape))
            for k, count in enumerate(_counts(storage))
        ]

    def states(self, rows: Tensor, steps: Tensor, like: torch.dtype) -> Tensor:
        """The states of trajectories (n,) after so many steps (n,), shape (n, *)."""
        rows, steps = rows.cpu(), steps.cpu()
        places = rows // self.shard
        found = np.empty((len(rows), *self._parts[0].shape[2:]), dtype=self.words)
        for k in sorted(set(places.tolist())):
            mine = (places == k).numpy()
            within = (rows[places == k] - k * self.shard).numpy()
            found[mine] = self._parts[k][within, steps[places == k].numpy()]
        return torch.from_numpy(found).view(self.dtype).to(like)

    def last(self, like: torch.dtype) -> Tensor:
        """All last states."""
        ends = np.concatenate([part[:, -1] for part in self._parts])
        return torch.from_numpy(ends).view(self.dtype).to(like)


def make_store(
    folder: Path,
    frozen: Frozen,
    storage: Storage,
    seed: int,
    made_with: Any,
    accelerator: Accelerator,
    at_once: int = 256,
    announce: Callable[[str], None] = print,
) -> Store:
    """The store of a folder; what is missing of it is made.

    Arguments:
        folder: Where it is.
        frozen: The model and its grid.
        storage: How many trajectories, and of what kind.
        seed: The seed of the noise.
        made_with: The identity of this model.
        accelerator: The processes that share the work.
        at_once: States that the model is given at a time.
        announce: Called with the size.

    Raises:
        UnmetHypothesis: It would be larger than it may be.
        OtherRun: The folder has trajectories of another model, grid, seed or kind.
    """
    n_steps = frozen.sampler.n_steps
    size = size_of(storage, n_steps, frozen.shape)
    announced = (
        f"store: {storage.trajectories} trajectories of {n_steps} steps in {storage.dtype}, {_size(size)}"
    )
    if size > storage.most_gib * 2**30:
        raise UnmetHypothesis("store", f"at most most_gib = {storage.most_gib:g}", announced)
    parts = (
        storage.trajectories,
        storage.shard,
        storage.dtype,
        seed,
        frozen.sampler.description(),
        at_once,  # draws of a shard come in batches
        made_with,
    )
    manifest = {"format": FORMAT, "digest": digest_of([repr(part) for part in parts]), "bytes": size}

    def begun() -> int:
        announce(announced)
        folder.mkdir(parents=True, exist_ok=True)
        note = folder / "store.json"
        if note.exists() and json.loads(note.read_text(encoding="utf-8")) != manifest:
            raise OtherRun(
                f"{folder} has trajectories of another model, grid, seed or kind: give another folder"
            )
        write_whole(note, json.dumps(manifest).encode())
        return 0

    by_main(accelerator, begun)
    for k, count in enumerate(_counts(storage)):
        if k % accelerator.num_processes == accelerator.process_index and not _whole(
            folder, k, size * count // storage.trajectories
        ):
            states = _trajectories(
                frozen, count, generator_of(seed, STORING + k, accelerator.device), at_once
            )
            kept = (
                states.to(WORDS[storage.dtype][1])
                .contiguous()
                .view(torch.int16 if storage.dtype == "bfloat16" else torch.int32)
            )
            write_whole(_file(folder, k), kept.numpy().tobytes())
    accelerator.wait_for_everyone()
    return Store(folder, storage, n_steps, frozen.shape)


def _trajectories(frozen: Frozen, count: int, generator: torch.Generator, at_once: int) -> Tensor:
    """States (count, N + 1, *), on the host."""
    parts = []
    for first in range(0, count, at_once):
        x = frozen.start(min(at_once, count - first), generator)
        states = [x]
        for k in range(frozen.sampler.n_steps):
            states.append(frozen.step(states[-1], k, None, generator))
        parts.append(torch.stack(states, dim=1).cpu())
    return torch.cat(parts)


def _counts(storage: Storage) -> list[int]:
    whole, rest = divmod(storage.trajectories, storage.shard)
    return [storage.shard] * whole + ([rest] if rest else [])


def _file(folder: Path, k: int) -> Path:
    return folder / f"shard-{k:05d}.bin"


def _whole(folder: Path, k: int, size: int) -> bool:
    path = _file(folder, k)
    return path.exists() and path.stat().st_size == size


def _size(count: int) -> str:
    """
    >>> _size(163840000000)
    '164 GB'
    """
    for unit, number in (("GB", 1e9), ("MB", 1e6)):
        if count >= number:
            return f"{count / number:.3g} {unit}"
    return f"{count / 1e3:.3g} kB"
