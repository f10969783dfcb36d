"""What every test runs under: one thread, signals that arrive, and examples that are the same in every run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

# Before torch is imported anywhere: two pytest workers with two threads each are slower than with one.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# What nohup ignores (SIGHUP), or a shell for a command in its background (SIGINT), stays ignored in every process
# that tests start, and trainings leave it so.
for name, usual in {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}.items():
    number = getattr(signal, name, None)
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

import hypothesis
import pytest

# Tables that tests import, by their full names: collected for doctests they would be other modules.
collect_ignore = ["parity"]

hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None, print_blob=True)
hypothesis.settings.register_profile("search", max_examples=1000, deadline=None, print_blob=True)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


if "DRIFTPROOF_NOISE" in os.environ:  # make portability: the elementary functions of another processor
    from tests.parity.noise import become_what_is_asked_for

    become_what_is_asked_for()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if gpu and not _has_cuda():
        for item in gpu:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made and not drawn, which is the larger part of a short run: for tests of what else it writes."""
    from matplotlib.figure import Figure

    monkeypatch.setattr(Figure, "savefig", lambda self, file, **options: file.write("<svg></svg>"))


@pytest.fixture
def double_precision_of_jax() -> Iterator[None]:
    """Numbers of 64 bits in jax, whose default is 32."""
    import jax

    # Not as a context, which is one of this thread: callbacks to the host run in another.
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def _has_cuda() -> bool:
    try:
        import torch
    except ImportError:
        return False
    return torch.cuda.is_available()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table of attacks: name, tries, clean, faults (see tests/hostile)."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, ())]
    rows = [value for report in reports for key, value in report.user_properties if key == "attack"]
    if rows:
        terminalreporter.section("attacks: tries, clean, faults")
        for name, tries, faults in sorted(rows):
            terminalreporter.line(f"{name:<70} {tries:>7} {tries - faults:>7} {faults:>7}")
