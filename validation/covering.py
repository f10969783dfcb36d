"""Which lines and branches evidence runs: that of every claim, on what is right, without its planted errors.

Each paper's claims run in a process of their own, under ``coverage`` from its first import on; what they ran is
added up.  A line that runs is not yet one that is judged: whether an error there is noticed is for
``driftproof mutate`` to say.  A line that never runs is certainly not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, final

from driftproof import UnmetHypothesis, __version__

from .documents import stamped
from .evidence.base import Effort
from .registry import REGISTRY, Registry
from .trial import Plan

__all__ = ["PACKAGES", "Coverage", "Module", "covering"]

PACKAGES = ("driftproof.theory", "driftproof.numerics")


@final
@dataclass(frozen=True)
class Module:
    """The part of one module that evidence runs.

    Attributes:
        lines, branches: Statements, and ways out of those that have more than one.
        run, taken: Those that some evidence ran.
        missing: The lines that none ran, as ``12-14, 20``.
    """

    name: str
    lines: int
    run: int
    branches: int
    taken: int
    missing: str = ""

    @property
    def share(self) -> float:
        """The share of lines and branches that were run."""
        return (self.run + self.taken) / max(1, self.lines + self.branches)


@final
@dataclass(frozen=True)
class Coverage:
    """The part of some packages that the evidence of some claims runs."""

    claims: int
    effort: str
    modules: tuple[Module, ...]

    def total(self, package: str = "") -> Module:
        """The sum over the modules of a package, or over all."""
        ours = [m for m in self.modules if not package or f"{m.name}.".startswith(f"{package}.")]
        counted = ("lines", "run", "branches", "taken")
        return Module(package or "all", **{key: sum(getattr(m, key) for m in ours) for key in counted})

    def to_json(self) -> dict[str, Any]:
        """The document that the report shows."""
        rows = [asdict(module) for module in self.modules]
        head = {"version": __version__, "claims": self.claims, "effort": self.effort}
        return stamped("coverage", {**head, "modules": rows})

    def __str__(self) -> str:
        rows = [*sorted(self.modules, key=lambda m: m.share), self.total()]
        width = max(len(row.name) for row in rows)
        return "\n".join(
            f"{row.name:{width}} {row.share:7.1%}  lines {row.run}/{row.lines}"
            f"  branches {row.taken}/{row.branches}{f'  without {row.missing}' * bool(row.missing)}"
            for row in rows
        )


def covering(
    names: Sequence[str] = (),
    *,
    packages: Sequence[str] = PACKAGES,
    modules: Sequence[str] = (),
    effort: str = "quick",
    jobs: int = -1,
    timeout: float = 600.0,
    registry: Registry = REGISTRY,
    announce: Callable[[str], object] = lambda line: None,
) -> Coverage:
    """Run the evidence of claims and record what it runs of some packages.

    Arguments:
        names: Papers and ids; all claims unless given.
        packages: The recorded packages, as names that can be imported.
        modules: The user's modules of claims, imported in each process.
        jobs: Processes at once; -1 takes every core.
        timeout: Seconds that a paper may take for each of its claims.
        announce: Called with each paper that has been run.

    Raises:
        UnmetHypothesis: Evidence does not hold, so that what it ran proves nothing, or does not end in time.
        ImportError: ``coverage`` is not installed.
    """
    import coverage

    claims = sorted(registry.load().select(names), key=lambda claim: claim.paper)
    papers = {paper: [c.id for c in group] for paper, group in groupby(claims, key=lambda c: c.paper)}
    workers = jobs if jobs > 0 else os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="driftproof-coverage-") as folder:
        place = Path(folder)

        def measured(paper: str) -> None:
            _measure(place, paper, papers[paper], packages, modules, effort, timeout)
            announce(f"{paper}: {len(papers[paper])} claims")

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(measured, papers))
        recorded = coverage.Coverage(data_file=str(place / "all"), config_file=str(_rules(place, packages)))
        recorded.combine([str(place / paper) for paper in papers], keep=True)
        recorded.json_report(outfile=str(place / "found.json"))
        found = json.loads((place / "found.json").read_text(encoding="utf-8"))
    return Coverage(len(claims), effort, tuple(_modules(found["files"], packages)))


def _measure(
    folder: Path,
    paper: str,
    ids: Sequence[str],
    packages: Sequence[str],
    modules: Sequence[str],
    effort: str,
    timeout: float,
) -> None:
    """Run the evidence of some claims in a process that records from its first import on."""
    rules = _rules(folder, packages)
    asked = json.dumps({"ids": ids, "modules": modules, "effort": effort})
    record = ("-m", "coverage", "run", f"--rcfile={rules}", f"--data-file={folder / paper}")
    limit = timeout * len(ids)
    try:
        done = subprocess.run(
            [sys.executable, *record, "-m", __name__],
            input=asked,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=limit,
        )
    except subprocess.TimeoutExpired as error:
        raise UnmetHypothesis("coverage", f"the evidence of {paper} ends", f"not in {limit:g} s") from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no word").splitlines()[-1]
        raise UnmetHypothesis("coverage", f"the evidence of {paper} holds", last)


def _rules(folder: Path, packages: Sequence[str]) -> Path:
    """The settings of ``coverage``, apart from those of any project."""
    file = folder / "rules"
    # By folders: of packages, coverage imports each and forgets it again, and numpy loads once in a process.
    folders = dict.fromkeys(_folder(package) for package in packages)
    listed = "".join(f"\n    {folder if folder.is_dir() else folder.parent}" for folder in folders)
    exclude = "\n    if TYPE_CHECKING:\n    raise NotImplementedError\n    @overload"
    file.write_text(
        f"[run]\nbranch = true\nsource ={listed}\n[report]\nexclude_also ={exclude}\n", encoding="utf-8"
    )
    return file


def _modules(files: Mapping[str, Any], packages: Sequence[str]) -> Iterator[Module]:
    roots = {package: _folder(package) for package in packages}
    for file, found in sorted(files.items()):
        summary = found["summary"]
        if not summary["num_statements"]:
            continue
        path = Path(file).resolve()
        inside = [(p, r) for p, r in roots.items() if path.is_relative_to(r)]
        if not inside:  # beside a module that is asked for alone
            continue
        package, root = inside[0]
        parts = path.with_suffix("").relative_to(root).parts if path != root else ()
        name = ".".join((package, *parts)).removesuffix(".__init__")
        yield Module(
            name,
            summary["num_statements"],
            summary["covered_lines"],
            summary["num_branches"],
            summary["covered_branches"],
            _spans(found["missing_lines"]),
        )


def _folder(package: str) -> Path:
    import importlib.util

    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise LookupError(f"coverage: there is no package {package} with files")
    origin = Path(found.origin).resolve()
    return origin.parent if found.submodule_search_locations is not None else origin


def _spans(lines: Sequence[int]) -> str:
    """Lines in spans.

    Example:
        >>> _spans([12, 13, 14, 20])
        '12-14, 20'
    """
    spans: list[list[int]] = []
    for line in sorted(lines):
        if spans and line == spans[-1][-1] + 1:
            spans[-1][1:] = [line]
        else:
            spans.append([line])
    return ", ".join("-".join(map(str, span)) for span in spans)


def _run() -> None:
    """The work of one process: evidence alone, in the order of the claims."""
    import importlib

    from .engine import run_evidence

    asked = json.loads(sys.stdin.read())
    for module in asked["modules"]:
        importlib.import_module(module)
    registry = REGISTRY.load()
    plan = Plan(effort=Effort(asked["effort"]), weight=registry.weight)
    for claim in registry.select(asked["ids"]):
        for item in claim.evidence:
            found = run_evidence(claim, item, claim.things, plan)
            if found.ok is False and claim.expect != "refuted":
                sys.exit(f"{claim.id} {item.name}: {found.state} {found.detail}")


if __name__ == "__main__":
    _run()
