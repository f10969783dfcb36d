"""``driftproof coverage``: lines and branches that evidence runs, counted in processes of their own."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from driftproof import UnmetHypothesis
from driftproof.validation.covering import Coverage, Module, covering
from driftproof.validation.registry import REGISTRY, Registry
from driftproof.validation.reporting import add_coverage, rebuild
from tests.hostile.small_report import place

pytest.importorskip("coverage")

KERNEL = """
def sign(x):
    if x > 0:
        return 1.0
    if x < 0:
        return -1.0
    return 0.0


def unseen(x):
    return x
"""
CLAIMS = """
from covered_kernel import sign
from driftproof.validation import claim, exact, rows
from driftproof.validation.mutants import wrong


@claim("COVERED-SIGN-1", "The sign", "", covers=[sign], paper="covered")
class Sign:
    @exact(1e-15, over=rows("x", (2.0, {other})))
    def by_division(sign, x):
        return sign(x), x / abs(x) + {off}

    mutants = {{
        "the other sign": wrong(sign, lambda value: -value),
        "its size": wrong(sign, lambda value: 2.0 * value),
    }}
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "covered_kernel.py").write_text(KERNEL, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def of(folder: Path, other: float, off: float = 0.0, timeout: float = 600.0) -> Coverage:
    """The coverage by the claim above, which alone is asked for, in a registry of its own."""
    (folder / "covered_claims.py").write_text(CLAIMS.format(other=other, off=off), encoding="utf-8")
    known = dict(REGISTRY.claims)
    try:
        for name in ("covered_claims", "covered_kernel"):
            sys.modules.pop(name, None)
        __import__("covered_claims")
        registry = Registry()
        registry.claims, registry.loaded = {"COVERED-SIGN-1": REGISTRY.claims["COVERED-SIGN-1"]}, True
        return covering(
            ["COVERED-SIGN-1"],
            packages=["covered_kernel"],
            modules=["covered_claims"],
            timeout=timeout,
            registry=registry,
        )
    finally:
        REGISTRY.claims.clear()
        REGISTRY.claims.update(known)


@pytest.mark.slow(ci=True)
def test_lines_and_branches(mine: Path) -> None:
    (positive,) = of(mine, 3.0).modules
    # Two definitions, the first test and what it returns; of the four ways out of two tests, one.
    assert (positive.run, positive.lines, positive.taken, positive.branches) == (4, 8, 1, 4)
    assert positive.missing == "5-7, 11"
    (both,) = of(mine, -3.0).modules
    assert (both.run, both.taken, both.missing) == (6, 3, "7, 11")


@pytest.mark.slow(ci=True)
def test_of_this_library() -> None:
    found = covering(["OPD-BIAS-1"], packages=["driftproof.theory.opd", "driftproof.theory.rewards"])
    names = [module.name for module in found.modules]
    assert "driftproof.theory.opd.exact" in names and names[-1] == "driftproof.theory.rewards"
    opd = found.total("driftproof.theory.opd")
    assert 0 < opd.run < opd.lines and 0 < opd.taken < opd.branches


@pytest.mark.slow(ci=True)
def test_what_does_not_hold_covers_nothing(mine: Path) -> None:
    with pytest.raises(UnmetHypothesis, match=r"coverage: .*the evidence of covered holds.*by_division"):
        of(mine, 3.0, off=1.0)


def test_what_does_not_end_is_ended(mine: Path) -> None:
    with pytest.raises(UnmetHypothesis, match=r"the evidence of covered ends \(not in 0.01 s\)"):
        of(mine, 3.0, timeout=0.01)


def test_sums() -> None:
    modules = (Module("a.b", 10, 5, 0, 0), Module("a.c", 10, 10, 4, 1), Module("ab", 1, 0, 0, 0))
    found = Coverage(3, "quick", modules)
    assert (found.total("a").lines, found.total("a").share, found.total().lines) == (20, 16 / 24, 21)
    assert str(found).splitlines()[0].split() == ["ab", "0.0%", "lines", "0/1", "branches", "0/0"]


def test_the_page_shows_it(tmp_path: Path) -> None:
    report = tmp_path / "report"
    place(report)
    found = Coverage(1, "quick", (Module("toy.sums", 9, 6, 4, 3, "12-14"),))
    text = add_coverage(found, report).read_text(encoding="utf-8")
    assert "69.2 %" in text and "12-14" in text and "toy.sums" in text
    document = json.loads((report / "coverage.json").read_text(encoding="utf-8"))
    assert document["format"] == 1 and document["modules"][0]["taken"] == 3
    del document["modules"][0]["lines"]
    (report / "coverage.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"coverage.json is no document of driftproof coverage: .*lacks lines"
    ):
        rebuild(report)
