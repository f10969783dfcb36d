"""Errors drawn at random: where they can be planted, how, what notices them, and what a campaign says of it."""

from __future__ import annotations

import ast
import functools
import importlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import pytest

from driftproof.validation.mutation import Campaign, Rate, Site, mutate
from driftproof.validation.mutation.attempts import Attempt, _judged
from driftproof.validation.mutation.drawing import drawn, module_of, named, sites_of
from driftproof.validation.mutation.forks import Fork, allow, forked
from driftproof.validation.mutation.found import Tried
from driftproof.validation.mutation.inputs import copied, jittered, same
from driftproof.validation.mutation.lines import recorded
from driftproof.validation.mutation.loaded import Piece
from driftproof.validation.mutation.operators import OPERATORS
from driftproof.validation.mutation.reach import reached
from driftproof.validation.mutation.records import Records, Touched
from driftproof.validation.mutation.rounding import float32
from driftproof.validation.mutation.sites import mutated, sites
from driftproof.validation.mutation.swap import functions_of, swapped
from driftproof.validation.registry import Registry

KERNELS = '''
"""A module of a user."""
import functools

SCALE = 3.0
TABLE = tuple(SCALE * k for k in range(3))


def cubed(x: float, shift: float = 0.0) -> float:
    """x^3 + shift."""
    square = x * x
    return square * x + shift


def scaled(x: float) -> float:
    return SCALE * x


def clipped(x: float) -> float:
    """Never called by a claim."""
    if x > 1.0:
        return 1.0
    return x


def padded(x: float) -> float:
    return x + 0.0 * abs(x)


def endless(n: float) -> float:
    while n > 0.5:
        n = n - 1.0
    return n


def _wrapped(kernel):
    @functools.wraps(kernel)
    def call(x):
        return kernel(x)

    return call


@_wrapped
def wrapped(x):
    y = 2.0 * x
    return y + x


HELD = {"wrapped": wrapped}
'''

CLAIMS = """
from driftproof.validation import Thing, exact
from driftproof.validation.registry import Registry
from {package} import kernels

TOYS = Registry()


@TOYS.claim("TOY-CUBE-1", paper="toy", statement="x^3", covers={{"thing": kernels.cubed}})
class Cube:
    mutants = {{"sign": lambda x: -(x**3), "square": lambda x: x * x}}

    @exact(tolerance=1e-12)
    def at_points(thing: Thing):
        for x in (-2.0, 0.5, 3.0):
            yield f"{{x}}", thing(x), x**3

    @exact(tolerance=1e-12)
    def others(thing: Thing):
        yield "scaled", kernels.scaled(2.0), 6.0
        yield "table", kernels.TABLE[1], 3.0
        yield "padded", kernels.padded(-0.3), -0.3
        yield "endless", kernels.endless(3.0), 0.0
        yield "held", kernels.HELD["wrapped"](2.0), 6.0
"""

TESTS = """
from {package} import kernels


def test_clips():
    assert kernels.clipped(2.0) == 1.0
    assert kernels.clipped(0.5) == 0.5
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a package of a user, with claims and tests."""
    folder = tmp_path_factory.mktemp("project")
    package = folder / "mutable_toy"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "kernels.py").write_text(KERNELS)
    (package / "claims.py").write_text(CLAIMS.format(package=package.name))
    (folder / "test_clips.py").write_text(TESTS.format(package=package.name))
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(str(folder))
    patch.setenv("DRIFTPROOF_CACHE", str(folder / "cache"))
    patch.chdir(folder)
    yield package.name
    patch.undo()
    for name in [name for name in sys.modules if name.partition(".")[0] == package.name]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def toys(toy: str) -> Registry:
    registry: Registry = importlib.import_module(f"{toy}.claims").TOYS
    return registry


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


def live(toy: str) -> tuple[Any, list[FunctionType]]:
    module = importlib.import_module(f"{toy}.kernels")
    return module, functions_of([module.__file__])[module.__file__]


def site_of(toy: str, operator: str, before: str, nth: int = 0) -> Site:
    made = sites_of([f"{toy}.kernels"])
    return [s for s in made if s.operator == operator and s.before == before][nth]


class TestSwap:
    def test_whoever_holds_the_function_holds_the_wrong_one(self, toy: str) -> None:
        module, functions = live(toy)
        partial, held = functools.partial(module.wrapped, 2.0), module.HELD["wrapped"]

        def work(tell: Callable[[Any], None]) -> None:
            swapped(site_of(toy, "sign", "y + x"), functions)
            tell([module.wrapped(2.0), partial(), held(2.0)])

        done = forked(work)
        assert done.told == ([2.0, 2.0, 2.0],)
        assert module.wrapped(2.0) == 6.0  # nothing is left behind

    def test_a_line_that_no_function_has_is_an_error(self, toy: str) -> None:
        _, functions = live(toy)
        with pytest.raises(RuntimeError, match="no live function"):
            swapped(site_of(toy, "constant", "3.0"), functions)


class TestForks:
    def test_what_was_told_before_the_end_stays(self) -> None:
        def work(tell: Callable[[Any], None]) -> None:
            tell("first")
            os._exit(7)

        done = forked(work)
        assert done.told == ("first",)
        assert done.why == "exited with status 7" and not done.ours

    def test_processor_time_is_limited(self) -> None:
        def work(tell: Callable[[Any], None]) -> None:
            allow(0.0)
            while True:
                pass

        done = forked(work)
        assert done.slow and not done.ours

    def test_an_exception_is_the_fault_of_the_harness(self) -> None:
        def work(tell: Callable[[Any], None]) -> None:
            raise ValueError("ours")

        assert forked(work).ours and "ours" in forked(work).why


def test_lines_are_recorded_and_only_of_the_files(toy: str) -> None:
    module, _ = live(toy)
    start = KERNELS.splitlines().index("def clipped(x: float) -> float:") + 1
    with recorded({module.__file__: "mine"}) as lines:
        module.clipped(2.0)
    assert lines == {"mine": {start + 2, start + 3}}
    with recorded({module.__file__: "mine"}) as lines:
        module.clipped(0.0)
    assert lines == {"mine": {start + 2, start + 4}}


class TestRecords:
    """Which evidence runs for which error, and in which order."""

    SITE = Site("m", "m.py", 5, 0, 1, 6, "sign", "-x", "x", "f")

    def records(self, imports: set[int]) -> Records:
        touched = [
            Touched(Piece("A", ("a", "A"), "slow", seconds=2.0), {"m": frozenset({6})}),
            Touched(Piece("A", ("a", "A"), "fast", seconds=1.0), {"m": frozenset({4, 5})}),
            Touched(Piece("A", ("a", "A"), "elsewhere", seconds=0.5), {"m": frozenset({9})}),
            Touched(Piece("A", ("a", "A"), "user", seconds=0.1), {"user": frozenset({1})}),
        ]
        return Records(tuple(touched), {"m": frozenset(imports)}, ())

    def test_evidence_that_runs_the_lines_the_cheapest_first(self) -> None:
        known = self.records(imports={1, 9})
        assert [piece.name for piece in known.touching(self.SITE)] == ["fast", "slow"]

    def test_what_imports_run_may_be_held_by_the_module_and_by_who_reads_it(self) -> None:
        known = self.records(imports={5})
        assert known.at_import(self.SITE)
        names = [piece.name for piece in known.touching(self.SITE, users=["user"])]
        assert names == ["fast", "slow", "user", "elsewhere"]


class TestJudgement:
    """What becomes of an error, from what its fork told."""

    PIECE = Piece("A-1", ("a", "A"), "exact", state="holds")

    def fate(self, *told: Any, why: str = "", slow: bool = False, ours: bool = False) -> str:
        return _judged(Fork(told, why, slow, ours, 0.0), [self.PIECE]).status

    def test_fates(self) -> None:
        begin = ("begin", 0)
        assert self.fate(begin, ("end", 0, "holds", "")) == "survived"
        assert self.fate(begin, ("end", 0, "breaks", "")) == "killed"
        assert self.fate(begin, ("end", 0, "crashed", "")) == "killed"
        assert self.fate(begin, why="ended by SIGSEGV") == "killed"
        assert self.fate(begin, why="ended by SIGXCPU", slow=True) == "timeout"
        assert self.fate(begin, why="ended by SIGKILL", ours=True) == "error"  # perhaps for want of memory
        assert self.fate(why="RuntimeError: no live function", ours=True) == "error"
        assert self.fate(why="exited with status 1") == "error"  # before any evidence ran


def test_claims_reach_what_they_import(toy: str) -> None:
    claims = "driftproof.validation.claims.opd.gradients"
    assert {"driftproof.theory.opd.exact", "driftproof.theory.opd"} <= reached(claims)
    assert not {name for name in reached(claims) if name.startswith("driftproof.theory.adjoint")}
    assert f"{toy}.kernels" in reached(f"{toy}.claims")
    assert "driftproof.validation.registry" in reached(f"{toy}.claims")


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


@pytest.fixture(scope="module")
def campaign(toy: str, toys: Registry) -> Campaign:
    """Every kind of fate at once."""
    kinds = {
        "held": site_of(toy, "sign", "y + x"),
        "constant": site_of(toy, "constant", "3.0"),
        "table": site_of(toy, "off-by-one=+1", "3"),
        "default": site_of(toy, "default=2", "0.0"),
        "uncovered": site_of(toy, "strictness", "x > 1.0"),
        "equivalent": site_of(toy, "factor=2", "0.0 * abs(x)"),
    }
    return mutate(replay=[site.key for site in kinds.values()], registry=toys, timeout=300.0)


class TestCampaign:
    def test_fates(self, campaign: Campaign) -> None:
        fates = {one.site.before: one.attempt.status for one in campaign.tried}
        assert fates == {
            "y + x": "killed",
            "3.0": "killed",  # a constant that a table made of it holds, too
            "3": "survived",  # the table is longer, and nobody looks
            "0.0": "killed",  # a default
            "x > 1.0": "not covered",
            "0.0 * abs(x)": "equivalent",
        }
        assert not campaign.errors and not campaign.unusable
        assert campaign.whole == Rate(3, 5)

    def test_kills_name_their_evidence(self, campaign: Campaign) -> None:
        by = {one.site.before: one.attempt.by for one in campaign.tried}
        assert by["y + x"] == "TOY-CUBE-1 others"
        assert by["0.0"] == "TOY-CUBE-1 at_points"

    def test_document(self, campaign: Campaign) -> None:
        document = json.loads(json.dumps(campaign.to_json()))
        assert document["rates"]["all"]["all"][:2] == [3, 5]
        assert {mutant["status"] for mutant in document["mutants"]} == {
            "killed",
            "survived",
            "not covered",
            "equivalent",
        }
        assert all(
            mutant["replay"].startswith("driftproof mutate --replay ") for mutant in document["mutants"]
        )

    def test_tests_come_behind_the_claims(self, toy: str, toys: Registry, campaign: Campaign) -> None:
        keys = [one.site.key for one in campaign.of_status("not covered")]
        keys.append(site_of(toy, "constant", "1.0", nth=1).key)
        found = mutate(replay=keys, tests=["test_clips.py"], registry=toys, timeout=300.0)
        by = {one.site.before: one.attempt for one in found.tried}
        assert by["1.0"].status == "killed" and by["1.0"].by.endswith("::test_clips")
        assert by["x > 1.0"].status == "survived"  # clipped(1.0) is 1.0 by both branches: no test can tell
        assert by["x > 1.0"].tried == 1

    def test_a_campaign_goes_on_where_it_was(self, toy: str, toys: Registry) -> None:
        def stop(tried: Tried, done: int) -> None:
            if done == 1:
                raise KeyboardInterrupt

        options: dict[str, Any] = {"count": 3, "seed": 1, "registry": toys, "timeout": 300.0}
        part = mutate([f"{toy}.kernels"], announce=stop, **options)
        assert part.interrupted and part.status == 130 and len(part.tried) == 1
        whole = mutate([f"{toy}.kernels"], resume=True, **options)
        assert len(whole.tried) == 3
        assert set(map(repr, part.tried)) < set(map(repr, whole.tried))  # with the same processor times

    def test_wrong_input(self, toy: str, toys: Registry) -> None:
        for wrong in ({"count": 0}, {"seed": -1}, {"at_least": 2.0}, {"jobs": 0}):
            with pytest.raises(ValueError, match="mutate: expected"):
                mutate([f"{toy}.kernels"], registry=toys, **wrong)  # type: ignore[arg-type]
        with pytest.raises(LookupError, match="can be planted"):
            mutate(replay=[f"{toy}/kernels.py:1:0-1:sign"], registry=toys)


@pytest.mark.slow
def test_what_finds_no_end_is_noticed(toy: str, toys: Registry) -> None:
    found = mutate(replay=[site_of(toy, "sign", "n - 1.0").key], registry=toys, timeout=300.0)
    assert [one.attempt.status for one in found.tried] == ["timeout"]
    assert found.whole == Rate(1, 1) and found.status == 0


@pytest.mark.slow
def test_the_command(toy: str) -> None:
    command = [sys.executable, "-m", "driftproof", "mutate", f"{toy}.kernels", "--module", f"{toy}.claims"]
    done = subprocess.run(
        [*command, "--count", "3", "--json", "-", "--jobs", "1"], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    document = json.loads(done.stdout)
    assert document["format"] == 1 and document["count"] == 3
    assert "noticed" in done.stderr
    wrong = subprocess.run([*command[:4], "nowhere"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "no module and no paper is called 'nowhere'" in wrong.stderr


@pytest.mark.slow
def test_a_fixed_sample_of_the_library() -> None:
    """The harness never fails on the library, and a replay has the same fate."""
    found = mutate("numerics.transfer.curves", count=6, seed=15, jobs=2, timeout=600.0)
    assert not found.errors and not found.unusable
    assert not found.of_status("error")
    killed = found.of_status("killed")
    assert killed, str(found)  # by claims alone; the rate itself is a measurement, and no test
    again = mutate(replay=[killed[0].site.key], timeout=600.0)
    assert [one.attempt.by for one in again.tried] == [killed[0].attempt.by]
