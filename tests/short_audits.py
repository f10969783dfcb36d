"""Audits that make the ends of runs at 999 and 1000 steps only, which leaves out two thirds of their time.

What is found in the middle of such a run has tests and a claim of its own.
"""

from __future__ import annotations

import pytest

from driftproof.validation.audits import samplers
from driftproof.validation.audits.measure import walked

__all__ = ["ends_of_long_runs"]


@pytest.fixture
def ends_of_long_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a module whose tests are about something else than the middle of long runs."""
    monkeypatch.setattr(samplers, "walked", lambda sampler, made, whole: walked(sampler, made, False))
