"""The clock of the benchmarks: work counts, wherever it is done, and waiting does not."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from driftproof.validation import benchmarks
from driftproof.validation.benchmarks._timing import compare, row, seconds

BURN = "import time\nwhile time.process_time() < 0.3: pass"


def burn() -> None:
    start = time.thread_time()
    while time.thread_time() - start < 0.05:
        pass


def in_a_thread() -> None:
    thread = threading.Thread(target=burn)
    thread.start()
    thread.join()


def in_a_child() -> None:
    subprocess.run([sys.executable, "-S", "-c", BURN], check=True)


@pytest.mark.slow(ci=True)
def test_waiting_is_no_work() -> None:
    spent = seconds({"waits": lambda: time.sleep(0.05), "works": burn}, repeats=2)
    assert spent["waits"] < 0.02 < spent["works"]


@pytest.mark.slow(ci=True)
def test_work_of_threads_and_children_counts() -> None:
    spent = seconds({"thread": in_a_thread, "child": in_a_child}, repeats=1)
    assert spent["thread"] > 0.04
    assert spent["child"] > 0.25


def test_every_call_is_made_as_often() -> None:
    calls = {"a": 0, "b": 0}

    def count(name: str) -> None:
        calls[name] += 1

    seconds({name: lambda name=name: count(name) for name in calls}, repeats=3)  # type: ignore[misc]
    assert calls["a"] == calls["b"] > 3


@pytest.mark.slow(ci=True)
def test_a_row_is_the_peers_time_over_ours() -> None:
    made = compare("f", burn, "g", in_a_thread, "")
    assert made["ratio"] == pytest.approx(made["peer_seconds"] / made["ours_seconds"])  # type: ignore[operator]
    assert row("f", 2.0, "g", 1.0, "", ours_bytes=3, peer_bytes=4)["ratio"] == 0.5
    assert row("f", 2.0, "g", None, "")["ratio"] is None


def test_no_benchmark_has_a_clock_of_its_own() -> None:
    for file in Path(benchmarks.__path__[0]).glob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert file.name == "_timing.py" or "import time" not in text, file.name
        assert "perf_counter" not in text, file.name
        if not file.name.startswith("_"):
            assert "_timing import" in text, file.name
