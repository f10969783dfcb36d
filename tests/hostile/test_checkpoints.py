"""Checkpoints that are damaged, foreign, too small, left unfinished, or have no room; and what is resumed then."""

from __future__ import annotations

import os
import pickle
import random
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("accelerate")

from accelerate import Accelerator
from safetensors import safe_open
from safetensors.torch import save_file

from driftproof.backends.torch.kit import checkpoint as checkpoints
from driftproof.backends.torch.kit.identity import identity_of
from driftproof.backends.torch.kit.lock import RunWarning
from driftproof.backends.torch.kit.run import Run


class Case:
    """A run of two generations on a small network, and what a file must still give."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "run.safetensors"
        self.older = checkpoints.previous_of(self.path)
        torch.manual_seed(0)
        self.weight = torch.nn.Parameter(torch.randn(5, 3))
        self.optimizer = torch.optim.Adam([self.weight], lr=0.1, fused=True)
        self.states = {}
        with self.run() as run:
            for done in (1, 2):
                self.weight.grad = torch.randn(5, 3)
                self.optimizer.step()
                run.save(done, self.state, {"optimizer": self.optimizer}, record={"done": done})
                self.states[done] = self.weight.detach().clone()
        self.bits = {path: path.read_bytes() for path in (self.path, self.older)}

    @property
    def state(self) -> dict[str, Any]:
        return {"model.weight": self.weight}

    def run(self) -> Run:
        return Run(self.path, identity_of(rate=0.1), Accelerator(cpu=True))

    def restore(self, older: bool = True) -> None:
        for file in self.path.parent.iterdir():
            file.unlink()
        for path, bits in self.bits.items():
            if older or path == self.path:
                path.write_bytes(bits)

    def outcome(self) -> str:
        """Resume into a fresh network: newest, older, refused: and why, or what went wrong."""
        weight = torch.nn.Parameter(torch.zeros(5, 3))
        optimizer = torch.optim.Adam([weight], lr=0.1, fused=True)
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            try:
                with self.run() as run:
                    found = run.resume({"model.weight": weight}, {"optimizer": optimizer})
            except ValueError as error:
                return "refused" if "\n" not in str(error) else f"not one line: {error}"
        if found is None:
            return "nothing found"
        weight.grad = torch.ones(5, 3)
        optimizer.step()  # with a state of another shape this reads beyond it
        if not optimizer.state_dict()["state"]:
            return "no optimizer state"
        told = any(issubclass(item.category, RunWarning) for item in heard)
        if found.done == 1 and found.record == {"done": 1} and told:
            return "older"
        return "newest" if found.done == 2 and found.record == {"done": 2} else "something else"


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path / "case")


@pytest.mark.parametrize("tries", [60, pytest.param(5000, marks=pytest.mark.hostile)])
def test_flipped_bits(case: Case, attack: Callable[..., None], tries: int) -> None:
    rng, faults = random.Random(tries), []
    for i in range(tries):
        alone = i % 3 == 0  # no older generation to fall back to
        case.restore(older=not alone)
        bits = bytearray(case.bits[case.path])
        bit = rng.randrange(8 * len(bits))
        bits[bit // 8] ^= 1 << bit % 8
        case.path.write_bytes(bits)
        if (got := case.outcome()) != ("refused" if alone else "older"):
            faults.append(f"bit {bit}: {got}")
    attack("a flipped bit in a checkpoint: noticed, the older one is used", tries, faults)


@pytest.mark.parametrize("tries", [20, pytest.param(1000, marks=pytest.mark.hostile)])
def test_truncated_files(case: Case, attack: Callable[..., None], tries: int) -> None:
    rng, faults = random.Random(tries), []
    for i in range(tries):
        case.restore()
        case.path.write_bytes(
            case.bits[case.path][: 0 if i == 0 else rng.randrange(len(case.bits[case.path]))]
        )
        if (got := case.outcome()) != "older":
            faults.append(got)
    attack("a truncated checkpoint: the older one is used", tries, faults)


class Trap:
    """Unpickling it leaves a file behind."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.file,))


def test_files_that_are_other_files(case: Case, tmp_path: Path, attack: Callable[..., None]) -> None:
    with safe_open(case.path, framework="pt") as file:
        header, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    _, metadata = checkpoints.load(case.path)
    trap = tmp_path / "sprung"
    faults: list[str] = []
    tries = 0

    def expect(what: str, wanted: str, write: Callable[[], object]) -> None:
        nonlocal tries
        tries += 1
        case.restore()
        write()
        if (got := case.outcome()) != wanted:
            faults.append(f"{what}: {got}")

    for name, value in tensors.items():
        rest = {key: value for key, value in tensors.items() if key != name}
        wider = {**rest, name: torch.zeros(64, 64)}
        half = {**rest, name: value.half()}
        expect(f"without {name}", "older", lambda rest=rest: save_file(rest, case.path, header))
        expect(f"{name} wider", "older", lambda wider=wider: save_file(wider, case.path, header))
        # Written by this library itself, with digests that are right.
        expect(
            f"saved without {name}", "older", lambda rest=rest: checkpoints.save(case.path, rest, metadata)
        )
        for other in (wider, half) if name != "optimizer.0.step" else (wider,):
            expect(
                f"saved with another {name}",
                "refused",
                lambda o=other: checkpoints.save(case.path, o, metadata),
            )
    expect("another library's file", "older", lambda: save_file({"w": torch.ones(2)}, case.path))
    expect("a model of ours", "older", lambda: checkpoints.save(case.path, {"w": torch.ones(2)}, {"a": 1}))
    expect("a pickle", "older", lambda: case.path.write_bytes(pickle.dumps(Trap(trap))))
    expect("torch.save", "older", lambda: torch.save({"x": Trap(trap)}, case.path))
    expect("the newest is gone", "older", case.path.unlink)
    expect("both are whole", "newest", lambda: None)

    def ruin_both() -> None:
        case.path.write_bytes(b"\x00" * 64)
        case.older.write_bytes(b"\x00" * 64)

    expect("both are damaged", "refused", ruin_both)
    if trap.exists():
        faults.append("something was unpickled")
    attack("missing tensors, other shapes, foreign files, pickles", tries, faults)


def test_what_killed_writers_left(case: Case, attack: Callable[..., None]) -> None:
    folder, faults = case.path.parent, []
    stale = [
        ".run.safetensors.12345.part",
        ".run.safetensors.host.domain.99.part",
        ".run.safetensors.node-7.1.part",
    ]
    others = [
        ".other.safetensors.12345.part",
        ".run.safetensors.backup",
        "run.part",
        ".my-run.safetensors.1.part",
    ]
    for name in stale + others:
        (folder / name).write_bytes(b"part")
    with case.run():
        left = {file.name for file in folder.iterdir()}
    faults += [f"{name} is still there" for name in stale if name in left]
    faults += [f"{name} was removed" for name in others if name not in left]
    attack("stale .part files: ours are removed, others stay", len(stale + others), faults)


@pytest.mark.parametrize("call", ["save_file", "_flush"])
def test_no_room(case: Case, attack: Callable[..., None], monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, os.strerror(28))

    before, faults = {path: path.read_bytes() for path in case.bits}, []
    monkeypatch.setattr(checkpoints, call, full)
    with (
        case.run() as run,
        pytest.raises(OSError, match=r"cannot write .* \(No space left on device\)") as error,
    ):
        run.save(3, case.state, {"optimizer": case.optimizer})
    if "\n" in str(error.value):
        faults.append("more than a line")
    if {path: path.read_bytes() for path in case.bits} != before or len(
        list(case.path.parent.iterdir())
    ) != 2:
        faults.append("the generations are not what they were")
    attack(f"no room while writing ({call})", 1, faults)


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 kB."""
    place = tmp_path / "tiny"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if (
        os.name != "posix"
        or os.geteuid() != 0
        or subprocess.run(mount, capture_output=True, check=False).returncode
    ):
        pytest.skip("no right to mount a small disk")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_full(tiny: Path, attack: Callable[..., None]) -> None:
    case, faults = Case(tiny / "case"), []
    with case.run() as run, pytest.raises(OSError, match="No space left on device") as error:
        run.save(3, {"model.weight": torch.zeros(10**5)}, {"optimizer": case.optimizer})
    if "\n" in str(error.value) or len(list(case.path.parent.iterdir())) != 2:
        faults.append(f"{error.value}: {list(case.path.parent.iterdir())}")
    if (got := case.outcome()) != "newest":
        faults.append(got)
    attack("a disk of 64 kB that is full: one line, the checkpoint before is resumed", 1, faults)
