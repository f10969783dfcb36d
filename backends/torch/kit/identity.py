r"""What a run is, as opposed to how it is run: the one rule by which every trainer resumes.

Each field of a configuration has a role.

- *law* (every field that says nothing else): it defines the law of the result.  A checkpoint resumes only
  where all of them match; the first that differs is named, with both values.
- *how* (``field(metadata=HOW)``): it moves the result by no more than rounding (``per_device_train_batch_size``), or only
  says when to save or to measure (``save_every``, ``pairs``).  It may change at every resumption.
- *length* (``field(metadata=LENGTH)``): steps or epochs.  It grows in a session with ``extend`` only, and only
  where each step that was done is a step of the longer run, which the schedule of the learning rate decides:
  a constant one has no end, a cosine that has begun to fall had another length in mind.  So an extended run
  *is* the longer run, bit for bit.  Lengths inside of a part (the training of the teacher, in a distillation) are law.

Versions of the packages, a digest of this library's code, and the kind of device are recorded.  Another one is a
warning that names it, and no refusal: a cluster that updates torch must not cost a week of training, and what is
resumed is then the same law through other roundings (on another kind of device: through other draws).
"""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from typing import Any, final

from driftproof import __version__
from driftproof._identity import library

from .stop import this_session

__all__ = ["HOW", "LENGTH", "Identity", "OtherRun", "digest_of", "environment", "identity_of"]

HOW: Mapping[str, str] = {"role": "how"}
LENGTH: Mapping[str, str] = {"role": "length"}
PACKAGES = ("torch", "numpy", "accelerate", "safetensors", "diffusers", "transformers", "trl", "peft")
NOTHING = "nothing"  # what a field is where the other side has none of that name


class OtherRun(ValueError):
    """A checkpoint belongs to another run."""


@final
@dataclass(frozen=True)
class Identity:
    """The fields of a run by role, each under its dotted path.

    Arguments:
        law: Those that must match.
        how: Those that may change.
        length: Those that may grow.
        schedule: ``schedule(step, length)``: the learning rate of a step of a run of that length, where it is
            not constant.
    """

    law: Mapping[str, Any]
    how: Mapping[str, Any]
    length: Mapping[str, int]
    schedule: Callable[[int, int], float] | None = None

    def to_json(self) -> dict[str, Any]:
        """The part of it that a checkpoint keeps."""
        return {"law": self.law, "how": self.how, "length": self.length}

    def require(self, saved: Mapping[str, Any], done: int, where: object) -> None:
        """Raise unless a checkpoint after ``done`` steps is one of this run.

        Arguments:
            saved: The result of :meth:`to_json` at that time.
            done: Its steps.
            where: The file, for the message.

        Raises:
            OtherRun: The first field that differs, with both values.
        """
        for name in dict.fromkeys([*self.law, *saved["law"]]):
            there, here = saved["law"].get(name, NOTHING), self.law.get(name, NOTHING)
            if not _same(there, here):
                raise OtherRun(
                    f"{where} was made with another configuration ({name}: {there!r} there, {here!r} here)"
                )
        for name in dict.fromkeys([*self.length, *saved["length"]]):
            old, new = saved["length"].get(name), self.length.get(name)
            if old != new:
                self._require_extension(name, old, new, done, where)

    def _require_extension(self, name: str, old: Any, new: Any, done: int, where: object) -> None:
        differ = f"{name}: {old} there, {new} here"
        if old is None or new is None or new < old:
            raise OtherRun(f"{where} was made with another length ({differ}); it can grow, not shrink")
        if not this_session().extend:
            raise OtherRun(f"{where} was made with another length ({differ}); --extend makes a run longer")
        schedule = self.schedule
        if schedule is None:
            return
        for step in range(done):
            before, after = schedule(step, old), schedule(step, new)
            if before != after:
                raise OtherRun(
                    f"{where} cannot be extended ({differ}): {done} steps are done, and step {step} had the "
                    f"learning rate {before:.6g}; it is {after:.6g} in the longer run"
                )


def identity_of(schedule: Callable[[int, int], float] | None = None, /, **parts: object) -> Identity:
    """The identity of what a run is made with.

    Arguments:
        schedule: See :class:`Identity`.
        parts: Dataclasses, whose fields tell their roles; mappings, sequences and JSON values are law.

    Raises:
        TypeError: A value that JSON cannot hold.

    Example:
        >>> @dataclass(frozen=True)
        ... class Budget:
        ...     steps: int = dataclasses.field(metadata=LENGTH)
        ...     rate: float
        ...     save_every: int = dataclasses.field(default=10, metadata=HOW)
        >>> identity_of(budget=Budget(5, 0.1), method="ddpo").to_json()
        {'law': {'budget.rate': 0.1, 'method': 'ddpo'}, 'how': {'budget.save_every': 10}, 'length': {'budget.steps': 5}}
    """
    found: dict[str, dict[str, Any]] = {"law": {}, "how": {}, "length": {}}
    for name, part in parts.items():
        for role, path, value in _leaves(part, name, "law"):
            found[role][path] = value
    return Identity(found["law"], found["how"], found["length"], schedule)


def environment(device: str, processes: int) -> dict[str, str]:
    """Versions, code and device: a resumption warns where they differ."""
    found = {
        "driftproof": __version__,
        "code": library("theory", "numerics", "backends"),
        "python": platform.python_version(),
    }
    for name in PACKAGES:
        if name in sys.modules:
            try:
                found[name] = version(name)
            except PackageNotFoundError:  # a module of that name which nobody installed
                continue
    return {**found, "device": device, "processes": str(processes)}


def differences(saved: Mapping[str, str], here: Mapping[str, str]) -> str:
    """The fields that both have and that differ, in one line; empty where they agree."""
    differ = [name for name in here if name in saved and saved[name] != here[name]]
    return "; ".join(f"{name} {saved[name]} there, {here[name]} here" for name in differ)


def digest_of(parts: Iterable[bytes | str]) -> str:
    """A digest of some bytes or texts in their order, for what is too long to be a field itself."""
    digest = blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def _leaves(value: object, path: str, role: str) -> Iterator[tuple[str, str, Any]]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            own = field.metadata.get("role", role)
            if own == "length" and "." in path:
                own = "law"  # of a run that came before this one
            yield from _leaves(getattr(value, field.name), f"{path}.{field.name}", own)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}", role)
    elif isinstance(value, list | tuple) and any(
        dataclasses.is_dataclass(i) or isinstance(i, Mapping) for i in value
    ):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{path}[{number}]", role)
    else:
        try:
            yield role, path, json.loads(json.dumps(value))  # as a file gives it back: no tuples
        except (TypeError, ValueError):
            kind = type(value).__name__
            raise TypeError(
                f"{path}: expected what JSON can hold, to tell runs apart, got a {kind}"
            ) from None


def _same(there: object, here: object) -> bool:
    both_nan = isinstance(there, float) and isinstance(here, float) and math.isnan(there) and math.isnan(here)
    return both_nan or there == here
