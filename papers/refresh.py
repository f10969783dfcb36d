"""Write the generated parts of README.md and papers/*.md; numbers there are never typed.

    python papers/refresh.py                 from papers/data, the record of the last published run
    python papers/refresh.py --take report   take report/verify.json as that record first
    python papers/refresh.py --atlas FILE FILE
                             take what driftproof audit LIBRARY --json FILE wrote: the atlas of that library
    python papers/refresh.py --mutation FILE FILE
                             take what driftproof mutate --json FILE wrote: all of evidence.md
    python papers/refresh.py --training RUN RUN
                                             take RUN/report.json, which driftproof train wrote: all of a paper

A generated part stands between ``<!-- generated: KIND [ARGUMENT] -->`` and ``<!-- end -->``:

==================  ===========================================================================
``papers PREFIX``   the papers with their verdicts; PREFIX is the way to papers/ (``.`` for none)
``run``             what the verdicts were found with
``claims PAPER``    the claims of a paper: statement, evidence, planted errors, status
``training PAPER``  the tables and figures that its recipe wrote
``errors``          the largest error of each special function, by region, backend and dtype
``namespaces``      how many public functions take which arrays, from the inventory and the parity table
``passing``         what a grid becomes in every scheduler of diffusers, as ``papers/passing.py`` measured it
``atlas LIBRARY``   what an audit of a library found: counts, and each setting that is not simply right
``mutation PART``   what random errors found: rates, what was left, what changes nothing, what is covered
==================  ===========================================================================
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from driftproof.validation.documents import read
from driftproof.validation.papers import PAPERS, SHARED
from driftproof.validation.reporting.page import short

sys.path.insert(0, str(Path(__file__).resolve().parent))  # tests load this file by its path
import atlas
import mutation
import passing

PAGES = Path(__file__).resolve().parent
ROOT = PAGES.parent
PART = re.compile(r"(<!-- generated: (\w+)(?: (\S+))? -->\n).*?(<!-- end -->)", re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write the generated parts of README.md and papers/*.md.")
    parser.add_argument("--take", type=Path, metavar="REPORT", help="a folder that make verify wrote")
    parser.add_argument(
        "--training",
        type=Path,
        metavar="RUN",
        nargs="+",
        default=[],
        help="folders that driftproof train wrote",
    )
    parser.add_argument(
        "--atlas", type=Path, metavar="FILE", nargs="+", default=[], help="documents of driftproof audit"
    )
    parser.add_argument(
        "--mutation", type=Path, metavar="FILE", nargs="+", help="documents of driftproof mutate"
    )
    given = parser.parse_args(arguments)
    for file in given.atlas:
        atlas.take(file, PAGES)
    if given.mutation is not None:
        mutation.take(given.mutation, PAGES)
    if given.take is not None:
        take(given.take, PAGES)
    take_trainings(given.training, PAGES)
    for page in pages():
        page.write_text(refreshed(page.read_text(encoding="utf-8"), PAGES), encoding="utf-8")


def pages() -> list[Path]:
    """Every page that may hold generated parts."""
    return [ROOT / "README.md", *sorted(PAGES.glob("*.md"))]


def refreshed(text: str, record: Path) -> str:
    """The text with its generated parts written anew from ``record/data``."""

    def write(part: re.Match[str]) -> str:
        opening, kind, argument, closing = part.groups()
        lines = KINDS[kind](record, argument or "")
        return "\n".join([opening.rstrip(), *lines, closing])

    return PART.sub(write, text)


def take(report: Path, record: Path) -> None:
    """Copy what the pages show of a run into ``record``: no seconds, nothing that varies."""
    run = read(report / "verify.json", "verify")
    if run["interrupted"]:
        raise SystemExit(f"{report}: this run was interrupted and is no record")
    _write(record / "data" / "verify.json", _kept_of_run(run))


def take_trainings(runs: Sequence[Path], record: Path) -> None:
    """Copy the tables and figures of trainings into ``record``, in place of all earlier ones of their papers."""
    papers: dict[str, list[dict[str, Any]]] = {}
    for run in runs:
        training = read(run / "report.json", "report")
        paper, figures = training["paper"], []
        ours = papers.setdefault(paper, [])
        if not ours:
            for old in (record / "figures").glob(f"{paper}-*.svg"):
                old.unlink()
        for number, figure in enumerate(training.get("figures", ()), 1):
            svg = figure["svg"] if "svg" in figure else (run / figure["file"]).read_text(encoding="utf-8")
            name = f"{paper}-{len(ours) + 1}-{number}.svg"
            (record / "figures" / name).write_text(svg, encoding="utf-8")
            figures.append({"caption": figure["caption"], "file": f"figures/{name}"})
        kept = {key: training[key] for key in ("title", "summary", "tables")}
        meta = {key: training["meta"][key] for key in ("smoke", "device") if key in training.get("meta", {})}
        ours.append({**kept, "meta": meta, "figures": figures})
    for paper, trainings in papers.items():
        _write(record / "data" / f"{paper}.json", {"paper": paper, "trainings": trainings})


def _kept_of_run(run: Mapping[str, Any]) -> dict[str, Any]:
    claims = []
    for claim in run["claims"]:
        kept = {key: claim[key] for key in ("id", "paper", "title", "statement", "status", "expect", "ok")}
        kept["evidence"] = [
            {key: evidence[key] for key in ("name", "kind", "error", "tolerance", "detectable", "ok")}
            for evidence in claim["evidence"]
        ]
        kept["mutants"] = [{key: mutant[key] for key in ("name", "caught")} for mutant in claim["mutants"]]
        claims.append(kept)
    return {
        **{key: run[key] for key in ("version", "seed", "effort", "budget", "versions")},
        "claims": claims,
    }


def _write(file: Path, content: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _read(record: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((record / "data" / f"{name}.json").read_text(encoding="utf-8"))
    return content


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: bool = False) -> list[str]:
    rule = ["---", *("--:" if numbers else "---" for _ in head[1:])]
    return [f"| {' | '.join(row)} |" for row in (head, rule, *rows)]


def _papers(record: Path, prefix: str) -> list[str]:
    claims = _read(record, "verify")["claims"]
    way = "" if prefix == "." else f"{prefix}/"
    rows = []
    for slug in dict.fromkeys([*PAPERS, *(claim["paper"] for claim in claims)]):
        paper, ours = PAPERS.get(slug), [claim for claim in claims if claim["paper"] == slug]
        page = PAGES / f"{slug}.md"
        rows.append(
            (
                f"[`{slug}`]({way}{slug}.md)" if page.is_file() else f"`{slug}`",
                paper.title if paper else SHARED.get(slug, ""),
                ", ".join(f"[{number}](https://arxiv.org/abs/{number})" for number in paper.arxiv)
                if paper
                else "",
                _verdict(ours),
            )
        )
    return _table(("paper", "title", "arXiv", "last verdict"), rows)


def _verdict(claims: Sequence[Mapping[str, Any]]) -> str:
    if not claims:
        return "planned"
    counts = [
        f"{count} {status}"
        for status in ("verified", "conditional", "refuted", "open", "error")
        if (count := sum(claim["status"] == status for claim in claims))
    ]
    planted = [mutant["caught"] for claim in claims for mutant in claim["mutants"]]
    unexpected = sum(not claim["ok"] for claim in claims)
    told = f"{len(claims)} claims: {', '.join(counts)}; {planted.count(True)} of {len(planted)} planted errors caught"
    return told + (f"; **{unexpected} not as expected**" if unexpected else "")


def _run(record: Path, _: str) -> list[str]:
    run = _read(record, "verify")
    versions = ", ".join(f"{name} {version}" for name, version in run["versions"].items())
    budget = run["budget"]
    told = (
        f"Found by `driftproof verify` {run['version']} with seed {run['seed']} and effort {run['effort']} "
        f"({versions}). False-alarm budget of the whole run: {short(budget['false_alarms'])}, "
        f"of which {short(budget['spent'])} was spent."
    )
    return [told]


def _claims(record: Path, paper: str) -> list[str]:
    rows = []
    for claim in sorted(_read(record, "verify")["claims"], key=lambda claim: claim["id"]):
        if claim["paper"] != paper:
            continue
        caught = sum(mutant["caught"] is True for mutant in claim["mutants"])
        statement = " ".join(claim["statement"].split()).replace("|", r"\|")
        told = claim["status"] + ("" if claim["ok"] else f" (expected: {claim['expect']})")
        rows.append(
            (
                f"`{claim['id']}`",
                f"**{claim['title']}.** ${statement}$",
                "<br>".join(_measured(evidence) for evidence in claim["evidence"]),
                f"{caught} / {len(claim['mutants'])}",
                told,
            )
        )
    return _table(
        ("claim", "statement", "evidence: error ≤ tolerance", "planted errors caught", "status"), rows
    )


def _measured(evidence: Mapping[str, Any]) -> str:
    if evidence["error"] is None:
        return f"{evidence['kind']}: not tried"
    if evidence["kind"] == "statistical":
        return f"statistical: sees {short(evidence['detectable'])}, saw {short(evidence['error'])}"
    sign = "≤" if evidence["ok"] else ">"
    return f"{evidence['kind']}: {short(evidence['error'])} {sign} {short(evidence['tolerance'])}"


def _training(record: Path, paper: str) -> list[str]:
    if not (record / "data" / f"{paper}.json").is_file():
        return ["No training has been recorded yet."]
    lines = []
    for training in _read(record, paper)["trainings"]:
        lines += ["", f"### {training['title']}", "", training["summary"].strip()]
        if training["meta"].get("smoke"):
            lines += [
                "",
                "**This is the smoke budget: it shows that the recipes run, not what they can do.**",
            ]
        for table in training["tables"]:
            rows = [
                [short(cell) if isinstance(cell, float) else _plain(cell) for cell in row]
                for row in table["rows"]
            ]
            columns = [_plain(name) for name in table["columns"]]
            lines += ["", f"*{table['caption']}*", "", *_table(columns, rows, numbers=True)]
        for figure in training["figures"]:
            lines += ["", f"![{figure['caption']}]({figure['file']})", "", f"*{figure['caption']}*"]
    return [*lines, ""]


def _errors(_record: Path, _: str) -> list[str]:
    """From the table that ``python -m tests.reference.special --measure`` wrote, and that tests hold the code to."""
    table = json.loads((ROOT / "validation" / "data" / "special.json").read_text(encoding="utf-8"))
    kinds = ("float64", "float32", "torch float64", "torch float32")
    rows = []
    for name, errors in table["errors"].items():
        regions = sorted(errors[kinds[0]], key=_by_numbers)
        rows += [
            (f"`{name}`" if k == 0 else "", region, *(short(errors[kind][region]) for kind in kinds))
            for k, region in enumerate(regions)
        ]
    head = ("function", "region", "numpy float64", "numpy float32", "torch float64", "torch float32")
    told = f"Against mpmath {table['mpmath']} at {table['digits']} digits; the largest error in each region."
    return [told, "", *_table(head, rows)]


def _namespaces(_record: Path, _: str) -> list[str]:
    """From the public inventory, whose rows are the functions' own, and each cell of which is a test."""
    sys.path.insert(0, str(ROOT))
    from driftproof.validation.inventory import of_kind
    from tests.parity.subjects import subjects
    from tests.parity.traced import UNTRACEABLE

    functions, known = list(of_kind("function")), subjects()
    plain = {name for name, subject in known.items() if not subject.capabilities.random}
    smooth = {name for name in plain if known[name].capabilities.differentiates != ()}
    traced = known.keys() - UNTRACEABLE.keys()
    ours = len(known.keys() & {entry.home for entry in functions})
    others = [entry for entry in functions if entry.takes == "array" and entry.home not in known]
    every = sum("torch" in entry.namespaces for entry in others)
    scalar = sum(entry.takes == "scalar" for entry in functions)
    told = (
        f"{ours} of {len(functions)} public functions and {len(known) - ours} methods of laws are written over the "
        f"array API. So many of these {len(known)} are tested against numpy in float64, their gradients against those "
        f"of torch and finite differences; {len(known) - len(plain)} draw, and are neither differentiated nor mapped."
    )
    whole = str(len(known))
    rows = [
        ("float64", whole, whole, str(len(traced))),
        ("float32", whole, whole, ""),
        ("bfloat16", "", whole, ""),
        ("compiled", "", f"{len(plain)} (`torch.compile`)", f"{len(traced)} (`jax.jit`)"),
        ("gradient", "", str(len(smooth)), str(len(smooth & traced))),
        ("`vmap`", "", str(len(plain)), str(len(plain & traced))),
    ]
    rest = (
        f"Of the other functions {every} take arrays of numpy, torch and jax, {len(others) - every} those of numpy, and "
        f"{scalar} numbers alone; each docstring says which. Tensors may lie on any device; tests run on the CPU."
    )
    return [told, "", *_table(("", "numpy", "torch", "jax"), rows), "", rest]


def _by_numbers(region: str) -> tuple[bool, list[float]]:
    found = re.findall(r"[-+]?(?:inf|\d+(?:\.\d+)?(?:e[-+]?\d+)?)", region)
    return region.startswith("max"), [float(number) for number in found]


def _plain(cell: Any) -> str:
    return "" if cell is None else str(cell).replace("|", r"\|")


KINDS = {
    "papers": _papers,
    "run": _run,
    "claims": _claims,
    "training": _training,
    "errors": _errors,
    "namespaces": _namespaces,
    "atlas": atlas.lines,
    "mutation": mutation.lines,
    "passing": passing.lines,
}

if __name__ == "__main__":
    main()
