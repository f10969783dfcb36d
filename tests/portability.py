"""The numerical tests on processors that are not here: ``make portability``.

Three kinds of other machines:

* *noise*: elementary functions of numpy that are off by one ulp (:mod:`tests.parity.noise`);
* *threads*: one and two;
* *switches* by which numpy, torch, MKL, OpenBLAS and glibc take the code of another processor.

A switch may do nothing on the processor at hand.  So each machine is first asked for the elementary functions
of numpy and torch at fixed points; the share of results that differ from the plain run is printed, and a
machine that changes none counts as nothing: its tests would be the plain run again.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
FUNCTIONS = ("exp", "expm1", "log", "log1p", "sqrt", "pow", "tanh", "sin", "cos")
TESTS = (
    *("tests/test_parity.py", "tests/test_laws.py", "tests/test_processes.py"),
    *("tests/test_special.py", "tests/test_special_kernels.py", "tests/test_docs.py"),
)
CHOSEN = "(not test_docs or code_of_a_page)"
# Noise is on functions by name: x**2 is the processor's own, but array-api-strict calls power for it.
UNDER_NOISE = f"{CHOSEN} and not array_api_strict"
NUMPY_FEATURES = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR X86_V4"

MACHINES: Mapping[str, Mapping[str, str]] = {
    "plain": {},
    "noise 1": {"DRIFTPROOF_NOISE": "1"},
    "noise 2": {"DRIFTPROOF_NOISE": "2"},
    "two threads": {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"},
    "numpy without AVX-512": {"NPY_DISABLE_CPU_FEATURES": NUMPY_FEATURES},
    "numpy without AVX2": {"NPY_DISABLE_CPU_FEATURES": f"{NUMPY_FEATURES} AVX2 FMA3 X86_V3"},
    "torch without vectors": {"ATEN_CPU_CAPABILITY": "default"},
    "torch with AVX2": {"ATEN_CPU_CAPABILITY": "avx2"},
    "MKL, compatible": {"MKL_CBWR": "COMPATIBLE"},
    "MKL with AVX2": {"MKL_ENABLE_INSTRUCTIONS": "AVX2", "MKL_CBWR": "AVX2"},
    "MKL with SSE4.2": {"MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    "OpenBLAS for Nehalem": {"OPENBLAS_CORETYPE": "Nehalem"},
    "OpenBLAS for Haswell": {"OPENBLAS_CORETYPE": "Haswell"},
    "glibc without FMA": {"GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX512F"},
}


def elementary_results() -> dict[str, np.ndarray]:
    """Results of the elementary functions (and of a matrix product) at fixed points."""
    import array_api_compat.numpy
    import array_api_compat.torch
    import torch

    draws = np.random.default_rng(0)
    x, matrix = draws.uniform(0.01, 20.0, 20_001), draws.standard_normal((64, 64))
    found = {}
    for dtype in ("float64", "float32"):
        for name, xp, convert in (
            ("numpy", array_api_compat.numpy, np.asarray),
            ("torch", array_api_compat.torch, torch.as_tensor),
        ):
            point, square = convert(x.astype(dtype)), convert(matrix.astype(dtype))
            for function in FUNCTIONS:
                arguments = (point, 1.7) if function == "pow" else (point,)
                found[f"{name} {function} {dtype}"] = np.asarray(getattr(xp, function)(*arguments))
            found[f"{name} matmul {dtype}"] = np.asarray(square @ square)
    return found


def probe(environment: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The elementary results of a fresh process under the switches."""
    command = [sys.executable, str(Path(__file__).resolve()), "--probe"]
    done = subprocess.run(command, env=_environment(environment), capture_output=True, check=False, cwd=ROOT)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.decode()[-2000:])
    with np.load(io.BytesIO(done.stdout)) as stored:
        return dict(stored)


def shares(plain: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The share of results that differ, where any does."""
    found = {name: float(np.mean(plain[name] != other[name])) for name in plain}
    return {name: share for name, share in found.items() if share > 0.0}


def tested(environment: Mapping[str, str], jobs: int) -> tuple[bool, str]:
    """Whether the numerical tests pass, and the end of what pytest says."""
    from tests.parity.noise import VARIABLE

    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        str(jobs),
        "-m",
        "not gpu and not hostile and (not slow or slow(ci=True))",
        "-k",
        UNDER_NOISE if VARIABLE in environment else CHOSEN,
        *TESTS,
    ]
    done = subprocess.run(
        command, env=_environment(environment), capture_output=True, text=True, check=False, cwd=ROOT
    )
    lines = done.stdout.strip().splitlines()
    why = [line for line in lines if line.startswith("E  ")]
    return done.returncode == 0, "\n".join(
        [*why[:20], *(line for line in lines[-40:] if line.startswith(("FAILED", "ERROR", lines[-1])))]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--probe", action="store_true", help="write the elementary results of this process")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", nargs="*", help="names of machines")
    parser.add_argument("--shares", action="store_true", help="no tests: only what each machine changes")
    options = parser.parse_args()
    if options.probe:
        from tests.parity.noise import become_what_is_asked_for

        become_what_is_asked_for()
        buffer = io.BytesIO()
        np.savez(buffer, **elementary_results())
        sys.stdout.buffer.write(buffer.getvalue())
        return 0
    plain, red = probe({}), []
    for name, environment in MACHINES.items():
        if options.only and name not in options.only:
            continue
        started = time.perf_counter()
        changed = shares(plain, probe(environment))
        print(f"\n{name}: {' '.join(f'{k}={v}' for k, v in environment.items())}", flush=True)
        for what, share in changed.items():
            print(f"    {what:<24} {share:8.2%}")
        if not changed and name not in ("plain", "two threads"):
            print("    changes no elementary result: counts as nothing")
            continue
        if not options.shares:
            passed, told = tested(environment, options.jobs)
            red += [] if passed else [name]
            print(f"{told} ({time.perf_counter() - started:.0f} s)", flush=True)
    print(f"\nred: {', '.join(red) or 'none'}")
    return 1 if red else 0


def _environment(switches: Mapping[str, str]) -> dict[str, str]:
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, **one, "PYTHONPATH": path, **switches}


if __name__ == "__main__":
    sys.exit(main())
