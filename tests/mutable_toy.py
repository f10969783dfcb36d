"""A package of a user, with claims and tests, in whose code errors are planted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

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


@contextmanager
def project(folder: Path) -> Iterator[str]:
    """The name of the package, made in this folder, which is the working directory meanwhile."""
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
    try:
        yield package.name
    finally:
        patch.undo()
        for name in [name for name in sys.modules if name.partition(".")[0] == package.name]:
            del sys.modules[name]
