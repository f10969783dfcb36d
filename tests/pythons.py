"""The wheel, alone with its dependencies, under every Python that is found: ``make pythons``.

Each interpreter gets the newest dependencies, and the oldest one also the oldest that the metadata allows.
``driftproof verify --quick`` runs there, outside of the repository and without torch.  The last line of a
run is its status: 1 if one of them failed.

    python tests/pythons.py                         everything, some minutes for each interpreter
    python tests/pythons.py --claims opd            a part of the claims, to look for a bound
    python tests/pythons.py --extras torch,hub      the oldest versions of these extras too: every module imports
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FOLDERS = ("theory", "numerics", "backends", "validation")
IGNORED = shutil.ignore_patterns("__pycache__", "*.pyc", ".*_cache", ".DS_Store")
# Where this repository keeps what it is made of, beside the packages themselves.
BESIDE = (
    "tests",
    "papers",
    ".ci",
    "*.md",
    "*.toml",
    "*.txt",
    "LICENSE",
    "Makefile",
    "MANIFEST.in",
    ".gitignore",
)
OLDEST, NEWEST = 11, 15  # minor versions that are looked for
# The one torch that is tried: builds without CUDA of older versions are on no package index.
TORCH = "torch==2.13.0"
PROBE = """
import ssl, sys, venv
assert sys.implementation.name == "cpython" and sys.version_info >= (3, 11)
print(sys.version_info[1], sys.executable)
"""
VERSIONS = """
import sys, importlib.metadata
print(*(f"{name} {importlib.metadata.version(name)}" for name in sys.argv[1:]), sep=", ")
"""
# What runs when it is imported, and what pytest alone imports.
IMPORTS = """
import importlib, pkgutil, driftproof
for found in pkgutil.walk_packages(driftproof.__path__, "driftproof."):
    found.name.endswith(("__main__", "pytest_plugin")) or importlib.import_module(found.name)
"""


def pack(work: Path) -> tuple[Path, Path]:
    """The sdist of a copy of the repository, and the wheel made from that sdist."""
    copy = work / "copy"
    copy.mkdir()
    for folder in ("driftproof", *FOLDERS, "tests", "papers"):
        shutil.copytree(ROOT / folder, copy / folder, symlinks=True, ignore=IGNORED)
    for file in (file for pattern in BESIDE for file in ROOT.glob(pattern) if file.is_file()):
        shutil.copy(file, copy)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", work / "dist", copy, cwd=work)
    (sdist,), (wheel,) = (work / "dist").glob("*.tar.gz"), (work / "dist").glob("*.whl")
    return sdist, wheel


def run(*command: object, cwd: Path, **more: str) -> str:
    """The standard output of a command that knows nothing of this environment.

    Raises:
        AssertionError: It failed, with all that it said.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**kept, **more},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}\n{done.stdout}"
    return done.stdout


def oldest(extras: Sequence[str] = ()) -> list[str]:
    """Constraints that pin every direct dependency to its lower bound.

    Example:
        >>> [line for line in oldest() if line.startswith("mpmath")]
        ['mpmath==1.3']
    """
    pins = []
    for line in _listed(extras):
        told = re.fullmatch(r"([\w.-]+)>=([\w.]+)", line)
        if told is None:
            raise ValueError(f"pyproject.toml: expected name>=version, got {line!r}")
        pins.append(TORCH if told[1] == "torch" else f"{told[1]}=={told[2]}")
    return pins


def _listed(extras: Sequence[str]) -> list[str]:
    optional = PROJECT["optional-dependencies"]
    return [*PROJECT["dependencies"], *(line for extra in extras for line in optional[extra])]


def interpreters() -> dict[int, Path]:
    """The interpreters of CPython that are found, by their minor version."""
    found: dict[int, Path] = {}
    for path in _candidates():
        told = subprocess.run([path, "-c", PROBE], capture_output=True, text=True, check=False)
        if told.returncode == 0:  # what stands for a version that is not installed ends otherwise
            minor, executable = told.stdout.strip().split(maxsplit=1)
            found.setdefault(int(minor), Path(executable))
    return dict(sorted(found.items()))


def _candidates() -> Iterator[Path]:
    for minor in range(OLDEST, NEWEST + 1):
        if there := shutil.which(f"python3.{minor}"):
            yield Path(there)
        for home in (os.environ.get("PYENV_ROOT", "~/.pyenv") + "/versions", "~/.local/share/uv/python"):
            yield from sorted(Path(home).expanduser().glob(f"*3.{minor}.*/bin/python3"), reverse=True)
    yield Path(sys.base_prefix) / "bin" / "python3"


@dataclass(frozen=True)
class Trial:
    """One interpreter with one set of dependencies."""

    python: Path
    title: str
    pins: tuple[str, ...] = ()
    extras: str = ""


def tried(trial: Trial, wheel: Path, claims: Sequence[str], jobs: int, work: Path) -> str:
    """Install, run, and tell in a line what was there and what came out; raises where it fails."""
    work.mkdir()
    outside, bin = work / "outside", work / "env" / "bin"
    outside.mkdir()
    (work / "constraints.txt").write_text("".join(f"{pin}\n" for pin in trial.pins), encoding="utf-8")
    run(trial.python, "-m", "venv", work / "env", cwd=work)
    pip = [bin / "python", "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subject = f"{wheel}[{trial.extras}]" if trial.extras else wheel
    # A source distribution would be compiled: what has no wheel for this interpreter is not to be had here.
    run(
        *pip, "install", "--only-binary=:all:", "--constraint", work / "constraints.txt", subject, cwd=outside
    )
    run(*pip, "check", cwd=outside)
    start = time.perf_counter()
    if trial.extras:
        run(bin / "python", "-c", IMPORTS, cwd=outside)
        came = "every module imports"
    else:
        run(bin / "driftproof", "--help", cwd=outside)
        came = _settled(bin, claims, jobs, outside)
    seconds = time.perf_counter() - start
    names = [re.split(r"[><=]", line)[0] for line in _listed(tuple(filter(None, trial.extras.split(","))))]
    versions = run(bin / "python", "-c", VERSIONS, *names, cwd=outside).strip()
    return f"{came}; {seconds:.0f} s; {versions}"


def _settled(bin: Path, claims: Sequence[str], jobs: int, outside: Path) -> str:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    options = ["--quick", "--jobs", jobs, "--json", "out.json", "--html", "report"]
    run(
        bin / "driftproof",
        "verify",
        *claims,
        *options,
        cwd=outside,
        DRIFTPROOF_CACHE=str(outside / "cache"),
        **threads,
    )
    document = json.loads((outside / "out.json").read_text(encoding="utf-8"))
    statuses = [claim["status"] for claim in document["claims"]]
    skipped = {e["detail"] for c in document["claims"] for e in c["evidence"] if e["state"] == "skipped"}
    drawn = [figure["detail"] for c in document["claims"] for figure in c["figures"] if figure["detail"]]
    assert document["ok"] and statuses, document
    # What lacks an extra says which; the core alone is here.
    lacks = re.compile(r"\w+ is not installed; pip install 'driftproof\[\w+\]'")
    assert all(lacks.fullmatch(reason) for reason in skipped), skipped
    assert not drawn, drawn
    return ", ".join(f"{statuses.count(status)} {status}" for status in dict.fromkeys(statuses))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--claims", nargs="*", default=[], help="papers and ids; all unless given")
    parser.add_argument("--extras", default="", help="also the oldest versions of these extras")
    parser.add_argument("--jobs", type=int, default=1, help="worker processes of verify")
    parser.add_argument("--only", default="", help="only the trials of which the title has this text")
    given = parser.parse_args()
    found = interpreters()
    for minor in range(OLDEST, NEWEST + 1):
        print(f"3.{minor}: {found.get(minor, 'not found')}")
    first = min(found)
    trials = [Trial(found[first], f"3.{first} oldest", tuple(oldest()))]
    trials += [Trial(path, f"3.{minor} newest") for minor, path in found.items()]
    if extras := given.extras:
        pins = tuple(oldest(extras.split(",")))
        trials.append(Trial(found[first], f"3.{first} oldest [{extras}]", pins, extras))
        trials.append(Trial(found[first], f"3.{first} newest [{extras}]", (TORCH,), extras))
    failed = 0
    with tempfile.TemporaryDirectory(prefix="pythons-") as folder:
        (work := Path(folder) / "dist").mkdir()
        _, wheel = pack(work)
        for i, trial in enumerate(each for each in trials if given.only in each.title):
            try:
                told = tried(trial, wheel, given.claims, given.jobs, Path(folder) / str(i))
            except AssertionError as error:
                failed, told = failed + 1, f"FAILED\n{str(error)[-3000:]}"
            shutil.rmtree(Path(folder) / str(i))
            print(f"{trial.title}: {told}", flush=True)
    print(f"{failed} failed" if failed else "all of them hold")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
