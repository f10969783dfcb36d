"""Kills in the middle of pair generation: no finished pair is lost, none is there twice, and the rest is made."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch")
for needed in ("accelerate", "datasets", "PIL"):
    pytest.importorskip(needed)

from tests.feedback_roles import feedback, jobs, sink

COUNT, SHARD = 40, 7
WORKER = """
import sys, time
from pathlib import Path
from tests.feedback_roles import feedback, jobs, sink
made = feedback()
edit = made.editor.edit
made.editor.edit = lambda *given: (time.sleep(0.02), edit(*given))[1]
with sink(Path(sys.argv[1]), made, shard={shard}) as kept:
    print("begun", flush=True)
    for job in jobs({count}):
        if not kept.done(job.key):
            kept.add(made.pair(job))
            print(job.key, flush=True)
    kept.compact()
"""


def attack_kills(folder: Path, kills: int) -> list[str]:
    """What was announced as finished before each SIGKILL must be there after the last run."""
    rng, finished, faults = random.Random(0), list[str](), list[str]()
    script = WORKER.format(shard=SHARD, count=COUNT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)}
    for _ in range(kills):
        command = [sys.executable, "-c", script, str(folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            time.sleep(rng.uniform(0.0, 0.3))
            process.kill()
            finished += [
                line for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")
            ]
    made = feedback()
    with sink(folder, made, shard=SHARD) as kept:
        faults += [f"lost: {key.strip()}" for key in finished if not kept.done(key.strip())]
        counts = made.run(jobs(COUNT), kept)
        rows = kept.rows()
    faults += [f"counts {counts}"] if counts != {"kept": COUNT} else []
    keys = [row["key"] for file in sorted(folder.glob("*.parquet")) for row in _table(file)]
    faults += (
        [f"{len(keys)} rows of {len(set(keys))} pairs"]
        if len(keys) != COUNT or len(set(keys)) != COUNT
        else []
    )
    fresh = [made.pair(job) for job in jobs(COUNT)]
    differ = sum(row != new for row, new in zip(sorted(rows, key=_number), fresh, strict=True))
    return faults + ([f"{differ} pairs differ from those of a run without kills"] if differ else [])


def _number(row: dict[str, int]) -> int:
    return row["ranking_id"]


def _table(file: Path) -> list[dict[str, str]]:
    import pyarrow.parquet as pq

    found: list[dict[str, str]] = pq.read_table(file).to_pylist()
    return found


@pytest.mark.slow(ci=True)
@pytest.mark.filterwarnings("ignore::driftproof.backends.torch.kit.lock.RunWarning")
def test_kills(tmp_path: Path, attack: Callable[..., None]) -> None:
    attack("kills while pairs are made", 2, attack_kills(tmp_path, 2))


@pytest.mark.hostile
@pytest.mark.filterwarnings("ignore::driftproof.backends.torch.kit.lock.RunWarning")
def test_kills_at_length(tmp_path: Path, attack: Callable[..., None]) -> None:
    attack("kills while pairs are made, at length", 20, attack_kills(tmp_path, 20))
