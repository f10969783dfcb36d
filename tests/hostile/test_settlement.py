"""A verdict is written or there is none: whatever a claim does, the run says so of it, and of it alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from driftproof.validation import run
from driftproof.validation.engine import Plan, evaluate_claim, run_evidence
from driftproof.validation.registry import Registry
from tests.hostile.attacks import ATTACKS, EXPECTED, EXPECTED_ON_CLUSTERS, WORKER, square, state
from tests.hostile.conftest import Attack

ROOT = Path(__file__).resolve().parents[2]
HARD = {"OSEXIT", "KILL", "SEGV", "CHANNEL", "ALARM", "ALARMED", "SLEEP", "LOOP", "REGEX", "BLAS", "STOPPED"}
LONG = {f"ATTACK-{name}" for name in HARD - {"OSEXIT"}} | {"ATTACK-MUTANT-OSEXIT"}  # each costs a process
SHORT = [name for name in EXPECTED if name not in LONG]


def faults(
    claims: Iterable[dict[str, Any]], names: Iterable[str], expected: dict[str, tuple[str, str]] = EXPECTED
) -> Iterator[str]:
    """What is not as it must be, in the claims of a document."""
    found = {claim["id"]: claim for claim in claims}
    for name in names:
        status, told = expected[name]
        if name not in found:
            yield f"{name}: is not in the document"
            continue
        text = json.dumps(found[name])
        if found[name]["status"] != status:
            yield f"{name}: {found[name]['status']} instead of {status}: {text}"
        if json.dumps(told)[1:-1] not in text:
            yield f"{name}: does not say {told!r}: {text}"
        if len(text) > 20_000:
            yield f"{name}: {len(text)} characters"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRIFTPROOF_CACHE", str(tmp_path / "cache"))


def test_what_claims_do_is_said_of_them_alone(attack: Attack) -> None:
    registry = Registry({name: ATTACKS.claims[name] for name in SHORT})
    done = run(registry=registry, effort="quick", jobs=2, timeout=4.0)
    wrong = list(faults(done.to_json()["claims"], SHORT)) + ([] if done.status == 3 else [done.status])
    attack("claims that exit, crash, die, hang or leak, beside others", len(SHORT), wrong)


def test_what_evidence_sets_is_set_back(attack: Attack) -> None:
    pytest.importorskip("torch")
    claim, before = ATTACKS.claims["ATTACK-LEAK"], state()
    run_evidence(claim, claim.evidence[0], {"thing": square}, Plan())
    names = "seterr print numpy random decimal mpmath depth path environ cwd filters locale signal streams torch torch"
    changed = [name for name, a, b in zip(names.split(), before, state(), strict=True) if a != b]
    attack("global state that evidence sets", len(before), changed)


def test_a_fork_beside_a_claim_that_settles(attack: Attack) -> None:
    """The lock of another thread must not be held for ever in the fork."""
    begun, ended = threading.Event(), threading.Event()
    claim = ATTACKS.claims["ATTACK-CWD"]

    def tell(piece: object) -> None:
        begun.set()
        ended.wait(20.0)

    thread = threading.Thread(target=lambda: evaluate_claim(claim, Plan(), tell))
    thread.start()
    begun.wait(20.0)
    if (pid := os.fork()) == 0:
        os._exit(0 if evaluate_claim(claim, Plan()).status == "verified" else 1)
    deadline = time.monotonic() + 20.0
    while (gone := os.waitpid(pid, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.02)
    if gone[0] == 0:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    ended.set()
    thread.join()
    attack("a fork beside a claim that settles", 1, [] if gone == (pid, 0) else ["deadlock"])


# The lock of the interpreter is held in the second: no thread of the child can see that nobody waits.
ORPHAN = """
import sys
from tests.hostile import attacks
from driftproof.validation.supervision import Child, over, parcel
child = Child()
child.begin(parcel(getattr(attacks, sys.argv[1])))
while child.patience < float("inf"):  # until it has been received
    over([child])
print(child._process.pid, flush=True)
while not child.over():
    pass
"""


@pytest.mark.slow(ci=True)
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads /proc")
def test_kill_9_of_the_run_leaves_no_process(attack: Attack) -> None:
    left = []
    for deed in ("endless", "backtracking"):
        parent = subprocess.Popen(
            [sys.executable, "-c", ORPHAN, deed],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.2)
        parent.kill()
        parent.communicate()
        left += [deed] * alive(pid)
    attack("kill -9 of the run, while its children are busy", 2, left)


def alive(pid: int, patience: float = 5.0) -> bool:
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
                return False
        except OSError:
            return False
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    return True


@pytest.mark.hostile
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_every_attack_from_the_command_line(tmp_path: Path, attack: Attack, jobs: str) -> None:
    process = verify(tmp_path, "ATTACK-*", "--jobs", jobs, "--timeout", "8", "--html", "page", "--json", "-")
    out, err = process.communicate(timeout=900)
    document = json.loads(out)
    wrong = list(faults(document["claims"], EXPECTED))
    wrong += [] if process.returncode == 3 else [f"status {process.returncode}: {err}"]
    wrong += [] if len(document["claims"]) == len(EXPECTED) else ["claims are missing"]
    wrong += [] if (tmp_path / "page" / "index.html").is_file() else ["there is no page"]
    attack(f"every attack, --jobs {jobs}", len(EXPECTED) + 3, wrong)


@pytest.mark.hostile
@pytest.mark.parametrize("name", ["ATTACK-EXIT", "ATTACK-OSEXIT", "ATTACK-MUTANT-EXIT", "ATTACK-SLEEP"])
def test_one_attack_alone(tmp_path: Path, attack: Attack, name: str) -> None:
    # The limit is that of the import of the module too, which takes seconds on a busy machine.
    process = verify(tmp_path, name, "--jobs", "1", "--timeout", "15", "--json", "out.json")
    _, err = process.communicate(timeout=300)
    assert (tmp_path / "out.json").exists(), err
    wrong = list(faults(json.loads((tmp_path / "out.json").read_text())["claims"], [name]))
    attack(f"{name} alone", 1, wrong + ([] if process.returncode == 3 else [err]))


@pytest.mark.hostile
@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_signals_end_a_run_quickly_and_it_goes_on(
    tmp_path: Path, attack: Attack, number: signal.Signals, status: int, jobs: str
) -> None:
    names = ["ATTACK-CWD", "ATTACK-PRINT", "ATTACK-SLEEP", "ATTACK-REGEX"]
    process = verify(tmp_path, *names, "--jobs", jobs, "--json", "out.json")
    assert process.stderr is not None
    seen = 0
    while seen < 2 - (jobs == "1"):  # whatever is settled before a claim hangs
        seen += process.stderr.readline().startswith("[")
    children = below(process.pid)
    start = time.monotonic()
    process.send_signal(number)
    process.communicate(timeout=60)
    seconds = time.monotonic() - start
    wrong: list[Any] = [] if process.returncode == status else [process.returncode]
    wrong += [] if seconds < 10.0 else [f"{seconds} s"]
    wrong += [pid for pid in children if alive(pid)]
    kept = json.loads((tmp_path / "out.json").read_text())
    wrong += [] if kept["interrupted"] and len(kept["claims"]) >= seen else ["is not saved"]
    again = verify(tmp_path, *names[:2], "--resume", "--json", "out.json")
    _, err = again.communicate(timeout=120)
    wrong += [] if again.returncode == 0 and "resumed: " in err else [err]
    attack(f"{number.name}, --jobs {jobs}", 5, wrong)


@pytest.fixture(params=["dask", "ray"])
def cluster(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "ray":
        ray = pytest.importorskip("ray")
        ray.init(num_cpus=2, include_dashboard=False)
        yield "ray"
        ray.shutdown()
        return
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as made:
        yield made.scheduler_address.replace("tcp://", "dask://")


@pytest.mark.hostile
def test_clusters(cluster: str, attack: Attack) -> None:
    done = run(registry=WORKER, effort="quick", cluster=cluster, timeout=6.0)
    wrong = list(faults(done.to_json()["claims"], EXPECTED_ON_CLUSTERS, EXPECTED_ON_CLUSTERS))
    wrong += [] if done.status == 3 else [f"status {done.status}"]
    attack(
        f"attacks on {cluster.partition(':')[0]}, its worker killed among them",
        len(EXPECTED_ON_CLUSTERS),
        wrong,
    )


def below(pid: int) -> list[int]:
    """The children of a process."""
    told = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in told.split()]


def verify(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    (directory / "hostile_claims.py").write_text(
        "from tests.hostile import attacks; from driftproof.validation.registry import REGISTRY\n"
        "REGISTRY.claims.update(attacks.ATTACKS.claims)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-m", "driftproof", "verify", *arguments, "--module", "hostile_claims", "--quick"],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DRIFTPROOF_CACHE": str(directory / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
