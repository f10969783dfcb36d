"""Strangers' input: every parameter of every public function and class, one wrong value at a time.

Clean is a sound result, or an error that this library raises itself in a sentence that begins with the name
of what was called.  A foreign error, a NaN that comes out, and a value accepted that nothing sensible can
be made of are faults.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import driftproof
from driftproof import UnmetHypothesis
from tests.hostile.conftest import Attack
from tests.hostile.instances import VALID, public_dataclasses
from tests.hostile.strangers import ANYTHING, ARRAYS, REFUSE, WORK, Stranger, tensors
from tests.parity.cases import table
from tests.parity.subjects import LawMethod, Subject, subjects

torch = pytest.importorskip("torch")

ROWS, SUBJECTS = table(), subjects()
HOME = Path(driftproof.__file__).resolve().parent.parent
SENTENCE = re.compile(r"(?P<subject>[A-Za-z_][\w.]*)(\[\d+\])?: .+", re.DOTALL)
THIN = (
    23  # the default run tries one in so many, a prime: the same strangers do not always meet the same place
)

Try = tuple[str, Callable[[], Any], Stranger, Any]


def test_public_functions(attack: Attack) -> None:
    _report(attack, "one strange argument of a public function (one in 23)", list(_of_functions())[::THIN])


def test_public_constructors(attack: Attack) -> None:
    _report(attack, "one strange argument of a constructor (one in 23)", list(_of_classes())[::THIN])


@pytest.mark.hostile
def test_public_functions_in_full(attack: Attack) -> None:
    _report(attack, "one strange argument of a public function", list(_of_functions()))


@pytest.mark.hostile
def test_public_constructors_in_full(attack: Attack) -> None:
    _report(attack, "one strange argument of a constructor", list(_of_classes()))


def test_every_public_dataclass_is_attacked() -> None:
    assert not sorted(c.__qualname__ for c in public_dataclasses() ^ set(VALID))


def _of_functions() -> Iterator[Try]:
    for name in sorted(SUBJECTS):
        row, call = ROWS[name], SUBJECTS[name]
        valid = {key: _short(value, row.samples[0]) for key, value in row.samples[0].items()}
        valid |= {"rng": 0} if call.capabilities.random else {}
        yield from _attacks(name, call, valid, _annotations(call))
        lifted = {k: torch.from_numpy(v.copy()) if isinstance(v, np.ndarray) else v for k, v in valid.items()}
        yield from _attacks(name, call, lifted, _annotations(call))


def _short(value: Any, sample: Mapping[str, Any]) -> Any:
    """Three elements of an array, where all arrays of the sample are one long axis."""
    shapes = {v.shape for v in sample.values() if isinstance(v, np.ndarray)}
    return value[:3] if isinstance(value, np.ndarray) and len(shapes) == 1 and value.ndim == 1 else value


def _of_classes() -> Iterator[Try]:
    for made in sorted(VALID, key=lambda c: c.__qualname__):
        words = {f.name: f"{f.type}{' | None' * (f.default is None)}" for f in dataclasses.fields(made)}
        yield from _attacks(made.__qualname__, made, VALID[made], words)


def _annotations(call: Subject) -> Mapping[str, str]:
    if isinstance(call, LawMethod):
        return {"x": "Array"} | {f.name: str(f.type) for f in dataclasses.fields(call.law)}  # type: ignore[arg-type]
    return {p.name: str(p.annotation) for p in inspect.signature(call).parameters.values()}


def _attacks(
    name: str, call: Callable[..., Any], valid: Mapping[str, Any], words: Mapping[str, str]
) -> Iterator[Try]:
    """Every stranger in the place of every argument; the arrays decide which strangers there are."""
    of_torch = any(isinstance(value, torch.Tensor) for value in valid.values())
    for key, value in valid.items():
        if isinstance(value, torch.Tensor):
            strangers = tensors()
        elif of_torch:
            continue  # tried beside numpy arrays
        else:
            strangers = ANYTHING | ARRAYS if isinstance(value, np.ndarray) else ANYTHING
        for kind, stranger in strangers.items():
            if kind == "as list" and isinstance(call, type):
                continue  # some keep it as it is
            if not set(stranger.legal) & set(re.findall(r"\w+", _kinds(words[key]))):
                label = f"{name}({key}={kind}){' torch' if of_torch else ''}"
                yield label, _with(call, valid, key, stranger), stranger, _with(call, valid)


KINDS = {"Generator": "Callable", "Step": "Callable"}


def _kinds(annotation: str) -> str:
    """The annotation with its aliases of functions spelt out."""
    return re.sub(r"\b\w+\b", lambda word: KINDS.get(word[0], word[0]), annotation)


def _with(
    call: Callable[..., Any], valid: Mapping[str, Any], key: str | None = None, other: Stranger | None = None
) -> Callable[[], Any]:
    if key is None or other is None:
        return lambda: call(**valid)
    return lambda: call(**{**valid, key: other.make(valid[key])})


def _report(attack: Attack, name: str, tries: list[Try]) -> None:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        faults = [f"{label}: {fault}" for label, *rest in tries if (fault := _fault(*rest))]
    attack(name, len(tries), faults)


def _fault(call: Callable[[], Any], stranger: Stranger, plain: Callable[[], Any]) -> str:
    """What is wrong with the outcome; nothing where it is clean."""
    try:
        result = call()
    except (TypeError, ValueError, IndexError) as error:
        if not _is_ours(error):
            return f"foreign {type(error).__name__}: {error}"
        return f"refused: {error}" if stranger.fate == WORK else ""
    except Exception as error:  # noqa: BLE001  # the point of the test
        return f"{type(error).__name__}: {error}"
    if stranger.fate == REFUSE:
        return f"accepted: {result!r:.80}"
    if _has_nan(result):
        return "NaN came out"
    if stranger.fate == WORK and not _equal(result, plain()):
        return "another result than from the plain array"
    return ""


def _is_ours(error: Exception) -> bool:
    """Whether our own ``raise`` made the error, with a sentence that begins with a name."""
    if isinstance(error, UnmetHypothesis):
        return True
    frame = traceback.extract_tb(error.__traceback__)[-1]
    ours = Path(frame.filename).resolve().is_relative_to(HOME) and "raise" in (frame.line or "")
    return ours and SENTENCE.fullmatch(str(error)) is not None


def _leaves(result: Any) -> Iterator[Any]:
    if isinstance(result, Mapping):
        result = tuple(result.values())
    elif dataclasses.is_dataclass(result) and not isinstance(result, type):
        result = tuple(getattr(result, field.name) for field in dataclasses.fields(result))
    if isinstance(result, tuple | list):
        for part in result:
            yield from _leaves(part)
    elif isinstance(result, torch.Tensor):
        yield np.asarray(result.detach().to(torch.float64))
    elif isinstance(result, float | np.ndarray | np.floating):
        yield np.asarray(result)


def _has_nan(result: Any) -> bool:
    return any(leaf.dtype.kind == "f" and bool(np.isnan(leaf).any()) for leaf in _leaves(result))


def _equal(left: Any, right: Any) -> bool:
    """Equal up to the order in which numbers that lie elsewhere in memory are added."""
    pairs = list(zip(_leaves(left), _leaves(right), strict=True))
    return all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-12, atol=1e-12 * _size(b), equal_nan=False)
        for a, b in pairs
    )


def _size(b: Any) -> float:
    finite = b[np.isfinite(b)] if b.ndim else b
    return (
        float(np.max(np.abs(finite), initial=0.0))
        if finite.size and math.isfinite(np.max(np.abs(finite)))
        else 0.0
    )
