"""The files of a model cut short, overwritten, swapped and taken away: each is refused in one line, and none loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
for needed in ("accelerate", "safetensors"):
    pytest.importorskip(needed)

from driftproof.backends.torch import pretrained
from driftproof.backends.torch.pretrained import cards

MODEL = "mnist-classifier"


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Other bytes: one flipped, an end cut off, an end added, a span of zeros, or nothing at all."""
    place = int(rng.integers(len(content)))
    changed = bytearray(content)
    match int(rng.integers(5)):
        case 0:
            changed[place] ^= 1 << int(rng.integers(8))
        case 1:
            del changed[place:]
        case 2:
            changed += rng.bytes(1 + place % 50)
        case 3:
            changed[place : place + 64] = rng.bytes(64)
        case _:
            changed.clear()
    return bytes(changed)


def refusal(name: str) -> str | None:
    """What is wrong with how the model was refused, or None."""
    try:
        pretrained.zoo(name)
    except cards.ZooError as error:
        return f"two lines: {error}" if "\n" in str(error) else None
    except Exception as error:  # noqa: BLE001  # any other error is a fault, and named
        return f"{type(error).__name__}: {error}"
    return "loaded"


def damage_to_files(folder: Path, tries: int, seed: int) -> list[str]:
    rng, faults = np.random.default_rng(seed), []
    files = [folder / name for name in cards.card(folder)["files"]]
    for number in range(tries):
        file = files[int(rng.integers(len(files)))]
        content = file.read_bytes()
        other = damaged(content, rng)
        if other == content:
            continue
        file.write_bytes(other)
        if found := refusal(MODEL):
            faults.append(f"try {number}, {file.name}: {found}")
        file.write_bytes(content)
    return faults


def damage_to_the_card(folder: Path, tries: int, seed: int) -> list[str]:
    """A card with a value replaced still loads only where the value does not matter to what is loaded."""
    rng, faults = np.random.default_rng(seed), []
    text = (folder / cards.CARD).read_text(encoding="utf-8")
    for number in range(tries):
        card: dict[str, Any] = json.loads(text)
        name = list(card["files"])[int(rng.integers(len(card["files"])))]
        match int(rng.integers(4)):
            case 0:
                card["format"] = [2, "1", None, 1.5, []][int(rng.integers(5))]
            case 1:
                card["files"][name]["sha256"] = "0" * 64
            case 2:
                card["files"][name + "x"] = card["files"].pop(name)
            case _:
                card["files"][name] = [{}, None, 3, {"sha256": 5}][int(rng.integers(4))]
        (folder / cards.CARD).write_text(json.dumps(card), encoding="utf-8")
        if found := refusal(MODEL):
            faults.append(f"try {number}: {found}")
    for number in range(tries):
        (folder / cards.CARD).write_bytes(damaged(text.encode(), rng)[: -1 - int(rng.integers(50))])
        if found := refusal(MODEL):
            faults.append(f"cut {number}: {found}")
    (folder / cards.CARD).write_text(text, encoding="utf-8")
    return faults


@pytest.mark.parametrize("tries", [40, pytest.param(2000, marks=pytest.mark.hostile)])
def test_damage(tries: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: Any) -> None:
    folder = tmp_path / MODEL
    shutil.copytree(cards.folder(MODEL), folder)
    monkeypatch.setattr(cards, "root", lambda: tmp_path)
    attack("zoo: damaged weights", tries, damage_to_files(folder, tries, 0))
    attack("zoo: damaged cards", 2 * tries, damage_to_the_card(folder, tries, 1))
    assert refusal(MODEL) == "loaded"
