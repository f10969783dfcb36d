"""What random errors found: the record of campaigns of ``driftproof mutate``, and lines of a page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from driftproof.validation.documents import read
from driftproof.validation.mutation import Rate

__all__ = ["lines", "take"]

KEPT = ("key", "status", "by", "before", "after", "detail", "replay")
NOTICED, LEFT = ("killed", "timeout"), ("survived", "not covered")
LONGEST = 90


def take(files: Sequence[Path], pages: Path) -> None:
    """Keep what the page shows of documents of ``driftproof mutate --json``: one of each stratum and seed.

    A file is called STRATUM.json; what claims cover is counted on the code as it is.
    """
    campaigns = []
    for file in files:
        found = read(file, "mutate")
        if found["interrupted"] or found["errors"]:
            raise SystemExit(f"{file}: this campaign has no end and is no record")
        mutants = [{key: mutant[key] for key in KEPT} for mutant in found["mutants"]]
        kept = {key: found[key] for key in ("seed", "places", "effort", "tests", "versions")}
        campaigns.append({"stratum": file.stem, **kept, "mutants": mutants})
    content = {"campaigns": campaigns, "coverage": _coverage()}
    there = pages / "data" / "mutation.json"
    there.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def lines(record: Path, part: str) -> list[str]:
    """The rates, what was not noticed, what changes nothing, or what claims cover."""
    file = record / "data" / "mutation.json"
    if not file.is_file():
        return ["Not measured yet."]
    content = json.loads(file.read_text(encoding="utf-8"))
    return [*PARTS[part](content), ""]


def _rates(content: Mapping[str, Any]) -> Iterator[str]:
    for seed, campaigns in _by_seed(content).items():
        versions = ", ".join(f"{name} {version}" for name, version in campaigns[0]["versions"].items())
        yield from ("", f"Seed {seed}, effort {campaigns[0]['effort']} ({versions}).", "")
        yield "| drawn from | places | errors | change nothing | noticed by claims | by claims and tests |"
        yield "| --- | --: | --: | --: | --: | --: |"
        for campaign in campaigns:
            by_claims = _rate(campaign, tests=False)
            by_all = _rate(campaign, tests=True) if campaign["tests"] else "no tests were run"
            fates = Counter(mutant["status"] for mutant in campaign["mutants"])
            shown = [campaign["places"], len(campaign["mutants"]), fates["equivalent"], by_claims, by_all]
            yield f"| {campaign['stratum']} | {' | '.join(map(str, shown))} |"
        whole = sum(campaign["places"] for campaign in campaigns)
        shares = []
        for tests in (False, True):
            if tests <= all(bool(campaign["tests"]) for campaign in campaigns):
                parts = [
                    campaign["places"] / whole * _share(_rate(campaign, tests)) for campaign in campaigns
                ]
                shares.append(f"{sum(parts):.0%}")
        yield f"| weighted by places | {whole} | | | {' | '.join([*shares, ''][:2])} |"


def _left(content: Mapping[str, Any]) -> Iterator[str]:
    for seed, campaigns in _by_seed(content).items():
        found = [m for campaign in campaigns for m in campaign["mutants"] if m["status"] in LEFT]
        yield from ("", f"Seed {seed}:" if found else f"Seed {seed}: none.", "")
        for mutant in found:
            yield f"* {mutant['status']}: {_change(mutant)}  \n  `{mutant['replay']}`"


def _equivalent(content: Mapping[str, Any]) -> Iterator[str]:
    for seed, campaigns in _by_seed(content).items():
        found = [m for campaign in campaigns for m in campaign["mutants"] if m["status"] == "equivalent"]
        yield from ("", f"Seed {seed}:" if found else f"Seed {seed}: none.", "")
        yield from (f"* {_change(mutant)}: {mutant['detail']}" for mutant in found)


def _covered(content: Mapping[str, Any]) -> Iterator[str]:
    yield "| folder | public functions | covered by a claim |"
    yield "| --- | --: | --: |"
    for name, (functions, covered) in content["coverage"].items():
        yield f"| {name} | {functions} | {covered} |"


PARTS = {"rates": _rates, "left": _left, "equivalent": _equivalent, "covered": _covered}


def _by_seed(content: Mapping[str, Any]) -> dict[int, list[Mapping[str, Any]]]:
    found: dict[int, list[Mapping[str, Any]]] = {}
    for campaign in content["campaigns"]:
        found.setdefault(campaign["seed"], []).append(campaign)
    return found


def _rate(campaign: Mapping[str, Any], tests: bool) -> Rate:
    """The share that claims notice, or claims and tests, of what is not known to change nothing."""
    counted = [mutant for mutant in campaign["mutants"] if mutant["status"] not in ("equivalent", "error")]
    noticed = [mutant for mutant in counted if mutant["status"] in NOTICED]
    return Rate(sum(tests or "::" not in mutant["by"] for mutant in noticed), len(counted))


def _share(rate: Rate) -> float:
    return rate.noticed / max(1, rate.of)


def _change(mutant: Mapping[str, Any]) -> str:
    before, after = (_short(mutant[side]) for side in ("before", "after"))
    place = ":".join(mutant["key"].split(":")[:2])
    return f"`{place}` `{before}` → `{after}`"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} …"


def _coverage() -> dict[str, tuple[int, int]]:
    """How many public functions of each folder are covered, and named by a planted error."""
    from driftproof.validation.inventory import of_kind
    from driftproof.validation.registry import REGISTRY

    covered = {name for claim in REGISTRY.load().claims.values() for name in claim.covers}
    counts: dict[str, list[int]] = {}
    for entry in of_kind("function"):
        part = counts.setdefault(".".join(entry.home.removeprefix("driftproof.").split(".")[:2]), [0, 0])
        part[0] += 1
        part[1] += f"driftproof.{entry.home.removeprefix('driftproof.')}" in covered
    return {name: (every, ours) for name, (every, ours) in sorted(counts.items())}
