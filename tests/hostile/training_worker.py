"""A process that trains in children and attacks them: ``python -m tests.hostile.training_worker ATTACKS TRIES FOLDER TRAINER...``.

Children are forked from a parent that has torch loaded and trains nothing itself, so that a try costs no import.
Prints the faults as JSON.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch

from driftproof.backends.torch.kit import checkpoint as checkpoints
from driftproof.backends.torch.kit.entry import ending
from driftproof.backends.torch.kit.stop import session
from tests.hostile.trainers import TRAINERS

STEPS = 16


def child(work: Callable[[], object], out: Path | None = None) -> int:
    """Start a process; what it says goes to a file."""
    number = os.fork()
    if number:
        return number
    status = 99
    try:
        handle = os.open(out or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        torch.set_num_threads(1)
        warnings.simplefilter("ignore")
        with ending():
            work()
        status = 0
    except SystemExit as stop:
        status = int(stop.code or 0)
    except (OSError, ValueError) as error:
        os.write(2, f"error: {error}".encode())
        status = 2
    finally:
        os._exit(status)


def ended(number: int) -> int:
    """The exit status, as a shell has it."""
    return signal_status(os.waitpid(number, 0)[1])


def signal_status(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def contents(path: Path) -> tuple[dict[str, torch.Tensor], object]:
    tensors, metadata = checkpoints.load(path)
    return tensors, [metadata["done"], metadata["record"]]


def same(a: Path, b: Path) -> bool:
    (ours, said), (theirs, heard) = contents(a), contents(b)
    return said == heard and set(ours) == set(theirs) and all(torch.equal(ours[k], theirs[k]) for k in ours)


@cache
def straight(name: str, folder: Path) -> tuple[Path, float]:
    """The run that nobody disturbs, and its seconds."""
    path = folder / f"{name}-straight.safetensors"
    started = time.monotonic()
    assert ended(child(lambda: TRAINERS[name](path, STEPS))) == 0, f"{name} does not train"
    return path, time.monotonic() - started


def wait_for(path: Path, number: int) -> None:
    while not path.exists() and os.waitpid(number, os.WNOHANG) == (0, 0):
        time.sleep(0.002)


def kills(names: list[str], tries: int, folder: Path) -> list[str]:
    """SIGKILL at a random moment, twice, and the same command again."""
    faults, rng = [], random.Random(0)
    for name in names:
        expected, seconds = straight(name, folder)
        for i in range(tries):
            path = folder / f"{name}-{i}.safetensors"
            for _ in range(2):
                number = child(lambda path=path, name=name: TRAINERS[name](path, STEPS))
                time.sleep(rng.uniform(0.0, seconds))
                os.kill(number, signal.SIGKILL)
                ended(number)
            status = ended(child(lambda path=path, name=name: TRAINERS[name](path, STEPS)))
            if status or not same(path, expected):
                faults.append(f"{name}, try {i}: status {status}, or other weights")
            left = [file.name for file in folder.iterdir() if file.name.startswith(f".{path.name}")]
            if left:
                faults.append(f"{name}, try {i}: {left} is left")
    return faults


STOPS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "limit": 75}


def stops(names: list[str], tries: int, folder: Path) -> list[str]:
    """Each signal, and the limit, at a random moment: saved, the right status, and the same weights after it."""
    faults, rng = [], random.Random(1)
    for name in names:
        expected, _ = straight(name, folder)
        for cause, wanted in list(STOPS.items()) * tries:
            path, said = folder / f"{name}-{cause}-{rng.random()}.safetensors", folder / "said"

            def work(path: Path = path, name: str = name, cause: str = cause) -> None:
                # A pace that leaves time to be stopped in: the limit is over before the run is.
                with session(stop_after=0.05 if cause == "limit" else None):
                    TRAINERS[name](path, STEPS, pause=0.2)

            number = child(work, said)
            if cause != "limit":
                wait_for(path, number)
                time.sleep(rng.uniform(0.0, 0.3))
                os.kill(number, getattr(signal, cause))
            status, text = ended(number), said.read_text()
            if status != wanted or "saved in" not in text or "Traceback" in text:
                faults.append(f"{name}, {cause}: status {status}, {text!r}")
            if not 0 < checkpoints.load(path)[1]["done"] < STEPS:
                faults.append(f"{name}, {cause}: nothing was interrupted")
            again = ended(child(lambda path=path, name=name: TRAINERS[name](path, STEPS)))
            if again or not same(path, expected):
                faults.append(f"{name}, {cause}: other weights after it")
    return faults


def folders(names: list[str], tries: int, folder: Path) -> list[str]:
    """A second run beside the first is refused; after a SIGKILL the third takes the lock over."""
    faults = []
    for name in names:
        for i in range(tries):
            path, said = folder / f"{name}-shared-{i}.safetensors", folder / "said"
            first = child(lambda path=path, name=name: TRAINERS[name](path, STEPS, pause=60.0))
            wait_for(path.with_name(f".{path.name}.lock"), first)
            second = ended(child(lambda path=path, name=name: TRAINERS[name](path, STEPS), said))
            text = said.read_text()
            if second != 2 or f"is in use by process {first} on" not in text or "Traceback" in text:
                faults.append(f"{name}: status {second}, {text!r}")
            os.kill(first, signal.SIGKILL)
            ended(first)
            if ended(child(lambda path=path, name=name: TRAINERS[name](path, STEPS))):
                faults.append(f"{name}: the lock of a dead process was not taken over")
    return faults


def disk(names: list[str], tries: int, folder: Path) -> list[str]:
    """No room for the next checkpoint: one line, and the one before is whole."""
    faults = []
    for name in names:
        for i in range(tries):
            path, said = folder / f"{name}-full-{i}.safetensors", folder / "said"
            first = child(lambda path=path, name=name: TRAINERS[name](path, STEPS, pause=1.0))
            wait_for(path, first)
            os.kill(first, signal.SIGKILL)
            ended(first)

            def work(path: Path = path, name: str = name) -> None:
                room = path.stat().st_size // 2
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
                TRAINERS[name](path, STEPS)

            before = path.read_bytes()
            status, text = ended(child(work, said)), said.read_text()
            if status != 2 or "cannot write" not in text or "Traceback" in text or text.count("\n") > 2:
                faults.append(f"{name}: status {status}, {text!r}")
            if path.read_bytes() != before:
                faults.append(f"{name}: the checkpoint before is not what it was")
    return faults


if __name__ == "__main__":
    attacks, tries, folder, *names = sys.argv[1:]
    known = {"kills": kills, "stops": stops, "folders": folders, "disk": disk}
    found = {name: known[name](names, int(tries), Path(folder)) for name in attacks.split(",")}
    print(json.dumps(found))
