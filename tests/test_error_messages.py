"""Every UnmetHypothesis reads as English: "subject: unmet hypothesis: what has to hold (what came)"."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import driftproof

ROOT = Path(driftproof.__file__).resolve().parent.parent
ROOMS = ("driftproof", "theory", "numerics", "validation", "backends")

# A hypothesis stands alone after a colon: no second sentence, no reason, nothing that says that it does not hold.
FAULTS = {
    "a second colon": r": ",
    "a second sentence": r"\. |[.;!]$|; ",
    "a reason": r"\bbecause\b|\bsince\b|\botherwise\b",
    "a verdict": r"\b(fails?|failed|violated|is off|not known|not supported|not allowed|unsupported|cannot)\b",
    "an order": r"^(use|give|pass|set|choose|call|please|scale the)\b",
    "nothing": r"^\s*$",
    "a space at an end": r"^\s|\s$",
}


def hypotheses() -> Iterator[tuple[str, str]]:
    """Where, and the text of, every hypothesis that is written out, in calls of the class and of what passes it on."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            if "ypothesis" not in text:
                continue
            tree = ast.parse(text)
            places = {"UnmetHypothesis": 1}
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef):
                    names = [argument.arg for argument in node.args.args if argument.arg != "self"]
                    if "hypothesis" in names:
                        places[node.name] = names.index("hypothesis")
            for node in ast.walk(tree):
                if isinstance(node, ast.Call):
                    name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                    if name in places and len(node.args) > places[name]:
                        for text in written(node.args[places[name]]):
                            yield f"{path.relative_to(ROOT)}:{node.lineno}", text
                if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "hypothesis":
                    for text in written(node.value):
                        yield f"{path.relative_to(ROOT)}:{node.lineno}", text


def written(node: ast.expr) -> Iterator[str]:
    """The texts that an expression may be; what is filled in stands as a word."""
    if isinstance(node, ast.IfExp):
        yield from written(node.body)
        yield from written(node.orelse)
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(v.value) if isinstance(v, ast.Constant) else "x" for v in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def faults(text: str) -> list[str]:
    return [name for name, pattern in FAULTS.items() if re.search(pattern, text)]


def test_every_hypothesis_stands_alone() -> None:
    found = list(hypotheses())
    assert len(found) > 600
    wrong = [f"{where}: {text!r} has {', '.join(faults(text))}" for where, text in found if faults(text)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "text",
    [
        "sigma_data is off: its noise levels are not known here",
        "the weight is finite fails",
        "0 < shrinkage < 1: features may have no variance",
        "squared distances do not overflow; scale the samples",
        "use a larger grid",
        "",
    ],
)
def test_sentences_in_sentences_are_seen(text: str) -> None:
    assert faults(text)


def test_the_message_has_its_three_parts() -> None:
    error = driftproof.UnmetHypothesis("CIR", "kappa > 0", "kappa = -1.0")
    assert str(error) == "CIR: unmet hypothesis: kappa > 0 (kappa = -1.0)"
    assert (error.subject, error.hypothesis, error.got) == ("CIR", "kappa > 0", "kappa = -1.0")
