"""Claims that attack the run which settles them; what must come of each is known beforehand."""

from __future__ import annotations

import ctypes
import decimal
import locale
import os
import random
import re
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any, ClassVar

import mpmath
import numpy as np
import pytest
from hypothesis import strategies as st

from driftproof.validation import Thing, drawn, exact, figure, property
from driftproof.validation.registry import Registry

ATTACKS = Registry()
# By id: the status that must come of it, and what the outcome must say.
EXPECTED: dict[str, tuple[str, str]] = {}

Deed = Callable[[], object]


def square(x: Any) -> Any:
    return x * x


def negated(x: Any) -> Any:
    return -x * x


def doubled(x: Any) -> Any:
    return 2 * x * x


def register(id: str, status: str, told: str, hypotheses: Any = (), **body: Any) -> None:
    """A claim that an import finds as an attribute of this module."""
    name = id.replace("-", "_")
    body = {"mutants": {"sign": negated, "factor two": doubled}, **body}
    cls = type(name, (), {**body, "__module__": __name__, "__qualname__": name})
    made = ATTACKS.claim(id, paper="attack", statement="", covers={"thing": square}, hypotheses=hypotheses)(
        cls
    )
    globals()[name] = made
    EXPECTED[id] = (status, told)


def evidence(deed: Deed) -> Any:
    @exact(tolerance=0.0)
    def table(thing: Thing) -> Any:
        deed()
        return thing(3.0), 9.0

    return table


honest = evidence(lambda: None)


def in_evidence(id: str, status: str, told: str, deed: Deed) -> None:
    register(f"ATTACK-{id}", status, told, table=evidence(deed))


def in_mutant(id: str, told: str, deed: Deed) -> None:
    mutants = {"sign": negated, "attack": lambda x: (deed(), x)[1]}
    register(f"ATTACK-MUTANT-{id}", "error", told, table=honest, mutants=mutants)


def raising(error: BaseException) -> Deed:
    def deed() -> None:
        raise error

    return deed


class Wordless(Exception):
    def __str__(self) -> str:
        raise SystemExit(0)


def deep() -> Any:
    return deep()


def forked() -> None:
    """Both the child and what it forks come out of the evidence."""
    with warnings.catch_warnings(action="ignore"):
        os.fork()


def leaking() -> None:
    """Every piece of global state that the next claim would see."""
    np.seterr(all="raise")
    np.set_printoptions(precision=2)
    np.random.seed(0)  # noqa: NPY002
    random.seed(0)
    decimal.getcontext().prec = 3
    mpmath.mp.dps = 7
    sys.setrecursionlimit(500)
    sys.path[:] = sys.path[:1]
    os.environ["ATTACK"] = "1"
    os.environ.pop("PATH", None)
    os.chdir("/")
    warnings.simplefilter("error")
    locale.setlocale(locale.LC_ALL, "C")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdout = sys.stderr = None  # type: ignore[assignment]
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
        torch.set_num_threads(3)
        torch.use_deterministic_algorithms(True)
        torch.manual_seed(0)


def state() -> list[object]:
    """The same, to be compared."""
    torch: Any = sys.modules.get("torch")
    return [
        np.geterr(),
        np.get_printoptions(),
        np.random.get_state()[1].tolist(),  # type: ignore[index, call-overload]  # noqa: NPY002
        random.getstate(),
        decimal.getcontext().prec,
        mpmath.mp.dps,
        sys.getrecursionlimit(),
        list(sys.path),
        dict(os.environ),
        os.getcwd(),
        list(warnings.filters),
        locale.setlocale(locale.LC_ALL),
        signal.getsignal(signal.SIGINT),
        [sys.stdout, sys.stderr],
        torch and (torch.get_default_dtype(), torch.is_grad_enabled(), torch.get_num_threads()),
        torch and (torch.are_deterministic_algorithms_enabled(), torch.get_rng_state().tolist()),
    ]


def division() -> None:
    """What a claim expects of numpy, whatever another one has set."""
    assert np.isinf(np.float64(1.0) / np.float64(0.0))
    assert "ATTACK" not in os.environ


def products() -> None:
    a = np.ones((600, 600))
    while True:
        a = np.clip(a @ a, 0.0, 1.0)


def endless() -> None:
    while True:
        pass


def backtracking() -> None:
    """In C, and with the lock of the interpreter."""
    re.match(r"(a+)+$", "a" * 60 + "b")


def close_everything() -> None:
    os.closerange(0, 256)


def rid_of_the_journal() -> None:
    if "DRIFTPROOF_CACHE" in os.environ:
        shutil.rmtree(os.environ["DRIFTPROOF_CACHE"], ignore_errors=True)


in_evidence("EXIT", "error", "SystemExit: 0", lambda: sys.exit(0))
in_evidence("GENERATOR", "error", "GeneratorExit:", raising(GeneratorExit()))
in_evidence("INTERRUPT", "error", "KeyboardInterrupt:", raising(KeyboardInterrupt()))
in_evidence("SKIP", "error", "Skipped: no", lambda: pytest.skip("no"))
in_evidence("FAIL", "error", "Failed: no", lambda: pytest.fail("no"))
in_evidence("WORDLESS", "error", "Wordless: (its message raises SystemExit)", raising(Wordless()))
in_evidence("LONG", "error", "50000000 characters", lambda: raising(ValueError("x" * 50_000_000))())
in_evidence("SURROGATE", "error", "\\udc80", raising(ValueError("\udc80")))
in_evidence("RECURSION", "error", "RecursionError:", deep)
in_evidence("MEMORY", "error", "MemoryError:", raising(MemoryError()))
in_evidence("PRINT", "verified", "", lambda: print("x" * 1000))
in_evidence("CLOSE", "verified", "", lambda: sys.stdout.close())
in_evidence("CWD", "verified", "", lambda: os.chdir("/"))
in_evidence("LEAK", "verified", "", leaking)
in_evidence("LEAKED-ON", "verified", "", division)
in_evidence("JOURNAL", "verified", "", rid_of_the_journal)
in_mutant("EXIT", "table crashed: SystemExit: 0", lambda: sys.exit(0))

# Those that end or hold their process.
in_evidence("OSEXIT", "error", "its process exited with status 0", lambda: os._exit(0))
in_evidence("KILL", "error", "its process was ended by SIGKILL", lambda: os.kill(os.getpid(), signal.SIGKILL))
in_evidence("SEGV", "error", "its process was ended by SIGSEGV", lambda: ctypes.string_at(0))
in_evidence("CHANNEL", "error", "its process", close_everything)
in_evidence("FORK", "verified", "", forked)
in_evidence("ALARM", "verified", "", lambda: signal.setitimer(signal.ITIMER_REAL, 0.2))
in_evidence("ALARMED", "verified", "", lambda: time.sleep(0.5))
in_evidence("SLEEP", "error", "no end within", lambda: time.sleep(3600.0))
in_evidence("LOOP", "error", "no end within", endless)
in_evidence("REGEX", "error", "no end within", backtracking)
in_evidence("BLAS", "error", "no end within", products)
in_evidence("STOPPED", "error", "no end within", lambda: os.kill(os.getpid(), signal.SIGSTOP))
in_mutant("OSEXIT", "its process exited with status 0", lambda: os._exit(0))
in_mutant("SLEEP", "no end within", lambda: time.sleep(3600.0))


# Whatever a claim does to its own process, a machine of the cluster may be lost as well.
ON_CLUSTERS = ["ATTACK-EXIT", "ATTACK-CWD", "ATTACK-OSEXIT", "ATTACK-SLEEP", "ATTACK-REGEX"]
WORKER = Registry({name: ATTACKS.claims[name] for name in ON_CLUSTERS})


@WORKER.claim("ATTACK-WORKER", paper="attack", statement="", covers={"thing": square})
class Worker:
    table = evidence(lambda: os.kill(os.getppid(), signal.SIGKILL))
    mutants: ClassVar = {"sign": negated, "factor two": doubled}


EXPECTED_ON_CLUSTERS = {
    **{name: EXPECTED[name] for name in ON_CLUSTERS},
    "ATTACK-WORKER": ("error", "its worker died"),
}


@property(tolerance=0.0)
def even(thing: Thing, x: float = drawn(st.floats(-1.0, 1.0))) -> Any:
    return thing(x), thing(-x)


@figure
def leaving(thing: Thing) -> Any:
    sys.exit(0)


EVEN: ClassVar = {"one": lambda x: x, "two": lambda x: x + x * x}
PREDICATE = {"x": lambda x: sys.exit(0)}
register("ATTACK-PREDICATE", "error", "SystemExit: 0", PREDICATE, even=even, mutants=EVEN)
register("ATTACK-FIGURE", "verified", "", table=honest, leaving=leaving)
