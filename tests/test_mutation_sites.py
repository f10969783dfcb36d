"""Errors drawn at random: where they can be planted, which are drawn, and the inputs that tell them apart."""

from __future__ import annotations

import ast
import importlib
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from driftproof.validation.mutation import Campaign, Rate
from driftproof.validation.mutation.attempts import Attempt
from driftproof.validation.mutation.drawing import drawn, module_of, named, sites_of
from driftproof.validation.mutation.found import Tried
from driftproof.validation.mutation.inputs import copied, jittered, same
from driftproof.validation.mutation.operators import OPERATORS
from driftproof.validation.mutation.rounding import float32
from driftproof.validation.mutation.sites import mutated, sites
from tests.mutable_toy import KERNELS, project


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a package of a user, with claims and tests."""
    with project(tmp_path_factory.mktemp("project")) as name:
        yield name


def found(source: str, operator: str) -> list[str]:
    """What the operator makes of a text, replacement by replacement."""
    return [s.after for s in sites(source, "m", "m.py") if s.operator.partition("=")[0] == operator]


EXAMPLES = {
    "sign": ("def f(x, y): return x - y", "x + y"),
    "factor": ("def f(xp, x): return xp.exp(x)", "2.0 * xp.exp(x)"),
    "constant": ("def f(x): return 0.5 * x", "0.505"),
    "off-by-one": ("def f(x): return x[1:]", "2"),
    "default": ("def f(x, tau=1.0): return x", "2.0"),
    "variable": ("def f(xp, x, y):\n    return x * y", "y"),
    "arguments": ("def f(x, y): return g(x, y)", "g(y, x)"),
    "axis": ("def f(xp, x): return xp.sum(x, axis=-1)", "xp.sum(x, axis=0)"),
    "strictness": ("def f(x): return x > 0", "x >= 0"),
    "junction": ("def f(x, y): return x and y", "x or y"),
    "term": ("def f(x, y): return x - y", "-y"),
    "clip": ("def f(xp, x): return xp.where(x > 0, x, 0.0)", "x"),
    "detach": ("def f(x): return x.detach()", "x"),
    "mean": ("def f(xp, x): return xp.sum(x)", "xp.mean(x)"),
    "float32": ("def f(xp, x): return xp.exp(x)", "float32(xp.exp(x))"),
}


class TestSites:
    def test_every_operator_has_an_example(self) -> None:
        assert EXAMPLES.keys() == OPERATORS.keys()

    @pytest.mark.parametrize("operator", EXAMPLES)
    def test_an_operator_makes_what_its_name_says(self, operator: str) -> None:
        source, after = EXAMPLES[operator]
        assert after in found(source, operator)

    def test_words_are_left_alone(self) -> None:
        source = '''
from typing import TYPE_CHECKING
__all__ = ["f"]
def f(x: float) -> float:
    """2 * x."""
    if x < 0:
        raise ValueError(f"{x - 1} is {2 * x}")
    return x
class Law:
    def __repr__(self): return "a" * 2
@claim("A-1")
class Claim:
    tolerance = 2.0 * 3.0
'''
        assert {site.function for site in sites(source, "m", "m.py")} == {"f"}
        assert {site.before for site in sites(source, "m", "m.py")} <= {"x < 0", "0", "x"}

    def test_shapes_are_not_scaled(self) -> None:
        source = "def f(xp, x, n): return xp.reshape(x * n, (n + 1, -1)) + x[..., n - 1]"
        spans = {
            site.before for site in sites(source, "m", "m.py") if site.operator.startswith(("factor", "sign"))
        }
        assert not spans & {"n + 1", "-1", "n - 1"}

    def test_a_key_names_one_error_and_the_tree_keeps_every_other_line(self) -> None:
        made = sites(KERNELS, "m", "m.py")
        assert len({site.key for site in made}) == len(made)
        for site in made:
            wrong = ast.unparse(mutated(KERNELS, site)).splitlines()
            right = ast.unparse(ast.parse(KERNELS)).splitlines()
            assert sum(a != b for a, b in zip(wrong, right, strict=True)) == 1, site
            compile(mutated(KERNELS, site), "m.py", "exec")

    def test_a_site_of_another_text_is_refused(self) -> None:
        site = sites(KERNELS, "m", "m.py")[0]
        with pytest.raises(LookupError, match="its text has changed"):
            mutated("x = 1\n", site)

    def test_all_errors_of_the_library_compile(self) -> None:
        for site in drawn(sites_of(named(["numerics.rates"])), 20, 0):
            source = Path(importlib.import_module(site.module).__file__ or "").read_text()
            compile(mutated(source, site), site.file, "exec")


class TestDraw:
    def test_a_larger_draw_continues_a_smaller_one(self) -> None:
        made = sites_of(named(["numerics.csdm"]))
        assert drawn(made, 30, 3)[:10] == drawn(made, 10, 3)
        assert drawn(made, 10, 3) != drawn(made, 10, 4)

    def test_names(self) -> None:
        assert "driftproof.theory.opd.exact" in named(["opd"])
        assert "driftproof.numerics.opd" in named(["opd"])
        assert named(["numerics.rates"]) == ["driftproof.numerics.rates"]
        assert {name.split(".")[1] for name in named([])} == {"theory", "numerics"}
        with pytest.raises(LookupError, match="no module and no paper is called 'nowhere'"):
            named(["nowhere"])

    def test_keys_tell_their_module(self) -> None:
        assert module_of("theory/opd/__init__.py:1:2-3:sign") == "driftproof.theory.opd"
        assert module_of("mine/kernels.py:1:2-3:sign") == "mine.kernels"


class TestInputs:
    def test_equality_is_to_the_last_bit(self) -> None:
        x = np.asarray([0.1, np.nan])
        assert same((x, {"a": 1.0}), (x.copy(), {"a": 1.0}))
        assert not same(x, np.nextafter(x, 1.0))
        assert not same(x, x.astype(np.float32))
        assert not same(np.zeros(2), np.zeros((1, 2)))
        assert not same(np.zeros(1), -np.zeros(1))
        assert not same(object(), object())

    def test_moved_inputs_differ_in_value_sign_scale_and_shape(self) -> None:
        rng, x = np.random.default_rng(0), np.asarray([1.0, 2.0, 3.0])
        moved = [jittered((x, 0.5), rng) for _ in range(300)]
        arrays = [array for array, _ in moved]
        assert any(array.shape == (3, 3) for array in arrays)
        assert any(np.isinf(array).any() for array in arrays)
        assert any((array < 0).any() for array in arrays)
        assert any(number == 0.0 for _, number in moved)
        assert len({array.tobytes() for array in arrays}) > 100
        assert x.tolist() == [1.0, 2.0, 3.0]

    def test_copies_share_nothing(self) -> None:
        rng, x = np.random.default_rng(0), [np.zeros(2)]
        assert copied(x)[0] is not x[0]
        assert copied(rng).random() == copied(rng).random()

    def test_rounding(self) -> None:
        assert float32(0.1) == np.float64(np.float32(0.1))
        assert float32(np.asarray([0.1])).dtype == np.float64
        assert float32((0.1,)) == (0.1,)


class TestRates:
    def test_wilson(self) -> None:
        z, n, p = 1.959963984540054, 60, 0.75
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        assert Rate(45, 60).interval == pytest.approx((centre - half, centre + half), abs=1e-12)
        assert Rate(0, 0).interval == (0.0, 1.0)

    def test_what_changes_nothing_does_not_count_and_what_fails_is_no_kill(self) -> None:
        site = sites(KERNELS, "m", "m.py")[0]
        fates = ["killed", "timeout", "survived", "not covered", "equivalent", "error"]
        tried = tuple(Tried(site, Attempt(fate)) for fate in fates)  # type: ignore[arg-type]
        made = Campaign(0, 6, 1, 1, tried)
        assert made.whole == Rate(2, 4)
        assert made.status == 3
        assert Campaign(0, 4, 1, 1, tried[:4]).status == 1
        assert Campaign(0, 4, 1, 1, tried[:4], at_least=0.5).status == 0
        assert Campaign(0, 2, 1, 1, tried[:2]).status == 0
        for needed in (
            "survived: ",
            "not covered: ",
            "equivalent: ",
            "timeout, counted as noticed",
            "Wilson",
        ):
            assert needed in str(made)
