"""The page: the document of a run, trainings and figures in, HTML out."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from driftproof.validation.covering import Coverage, Module
from driftproof.validation.papers import PAPERS, SHARED

from .figures import Gallery
from .mathtext import Typesetter
from .svg import RefusedFigure

__all__ = ["render"]

HERE = Path(__file__).parent


def render(
    document: Mapping[str, Any],
    trainings: Sequence[Mapping[str, Any]] = (),
    pictures: Callable[[str, str], str | None] = lambda claim, figure: None,
    coverage: Mapping[str, Any] | None = None,
) -> str:
    """The HTML page of a run.

    Arguments:
        document: The document of ``driftproof verify --json``.
        trainings: The reports of the training recipes, with the SVG text of each figure under ``"svg"``.
        pictures: The SVG text of a figure, by claim and name.
        coverage: The document of ``driftproof coverage --json``.
    """
    tex, gallery = Typesetter(), Gallery()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "tex": tex,
        "short": short,
        "cell": _cell,
        "count": _count,
        "words": lambda name: (name or "").replace("_", " "),
        "tag": lambda state: (state.split() or [""])[0],
    }
    claims = [_claim(claim, gallery, pictures) for claim in document["claims"]]
    return environment.get_template("page.html.jinja").render(
        run=document,
        css=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        banner=_banner(document, claims),
        trainings=[_training(training, gallery) for training in trainings],
        groups=_groups(claims),
        statistics=[(claim, e) for claim in claims for e in claim["evidence"] if e["kind"] == "statistical"],
        replay=_replay(document),
        coverage=_covered(coverage) if coverage else None,
        outlines=lambda: tex.outlines() + gallery.outlines(),
    )


def short(value: Any) -> str:
    """A number in two or three digits.

    Example:
        >>> short(1.26e-13), short(0.02), short("inf"), short(0.0), short("nan")
        ('1.3e-13', '0.02', '∞', '0', 'nan')
    """
    if value is None:
        return ""
    value = float(value)
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.3g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def _kinds(evidence: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One line for each kind and state: the evidence of these that is nearest to its limit, or beyond."""
    lines = []
    for kind, state in dict.fromkeys((e["kind"], e["state"]) for e in evidence):
        ours = [e for e in evidence if (e["kind"], e["state"]) == (kind, state)]
        count = f" ×{len(ours)}" if len(ours) > 1 else ""
        measured = _measured(max(ours, key=_stress))
        lines.append({"state": state, "text": f"{kind}{count}", "measured": measured})
    return lines


def _stress(evidence: Mapping[str, Any]) -> float:
    if evidence["kind"] == "statistical":
        return -float(evidence["p_value"] or 0.0)
    error, tolerance = float(evidence["error"] or 0.0), float(evidence["tolerance"] or 0.0)
    return error / tolerance if tolerance else error


def _measured(evidence: Mapping[str, Any]) -> str:
    error, tolerance = short(evidence["error"]), short(evidence["tolerance"])
    if evidence["ok"] is None:
        return evidence["state"]
    if evidence["kind"] == "statistical":
        return f"p = {short(evidence['p_value'])}"
    if evidence["kind"] == "bound":
        return f"value / bound ≤ {error}" if evidence["ok"] else f"value / bound = {error}"
    if evidence["ok"] and evidence["kind"] == "symbolic":
        return "reduced to 0"
    if evidence["ok"] and evidence["kind"] == "boundary":
        return "fails without"
    return f"{error} {'≤' if evidence['ok'] else '>'} {tolerance}"


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _cell(value: Any) -> str:
    return short(value) if isinstance(value, float) else "" if value is None else str(value)


def _claim(
    claim: Mapping[str, Any], gallery: Gallery, pictures: Callable[[str, str], str | None]
) -> dict[str, Any]:
    figures = []
    for figure in claim["figures"]:
        svg = pictures(claim["id"], figure["name"])
        drawn = _drawn(gallery, svg, figure["caption"]) if svg else {"svg": None}
        figures.append({**figure, **drawn})
    caught = sum(mutant["caught"] is True for mutant in claim["mutants"])
    notes, kinds = _paragraphs(claim["notes"]), _kinds(claim["evidence"])
    return {**claim, "figures": figures, "caught": caught, "notes": notes, "kinds": kinds}


def _training(training: Mapping[str, Any], gallery: Gallery) -> dict[str, Any]:
    figures = [
        {"caption": figure["caption"], **_drawn(gallery, figure["svg"], figure["caption"])}
        for figure in training.get("figures", ())
    ]
    return {
        "title": training["title"],
        "summary": _paragraphs(training.get("summary", "")),
        "tables": training.get("tables", ()),
        "figures": figures,
        "meta": training.get("meta", {}),
    }


def _drawn(gallery: Gallery, svg: str, caption: str) -> dict[str, Any]:
    """The figure for the page, or why it is not shown."""
    try:
        return {"svg": gallery(svg, caption)}
    except RefusedFigure as error:
        return {"svg": None, "detail": str(error)}


def _paragraphs(text: str) -> list[str]:
    return [" ".join(block.split()) for block in text.split("\n\n") if block.strip()]


def _groups(claims: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    groups = []
    for slug in dict.fromkeys(claim["paper"] for claim in claims):
        ours = [claim for claim in claims if claim["paper"] == slug]
        statuses = [claim["status"] for claim in ours if claim["ok"]]
        paper = PAPERS.get(slug)
        groups.append(
            {
                "slug": slug,
                "title": paper.title if paper else SHARED.get(slug, ""),
                "arxiv": paper.arxiv if paper else (),
                "claims": ours,
                "verified": statuses.count("verified"),
                "refuted": statuses.count("refuted"),
                "conditional": statuses.count("conditional"),
                "unexpected": len(ours) - len(statuses),
                "caught": sum(claim["caught"] for claim in ours),
                "planted": sum(len(claim["mutants"]) for claim in ours),
                "seconds": math.fsum(claim["seconds"] for claim in ours),
            }
        )
    return groups


def _banner(document: Mapping[str, Any], claims: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    count, unexpected = len(claims), [claim for claim in claims if not claim["ok"]]
    conditional = sum(claim["status"] == "conditional" for claim in claims)
    caught, planted = sum(c["caught"] for c in claims), sum(len(c["mutants"]) for c in claims)
    refuted = sum(claim["ok"] and claim["status"] == "refuted" for claim in claims)
    if document["interrupted"]:
        tone, headline = "open", f"Interrupted: {count} claims were settled"
    elif unexpected:
        tone, headline = "bad", f"{len(unexpected)} of {count} claims are not as stated"
    elif conditional:
        untried = sum(
            not any(item["ok"] for item in c["evidence"]) for c in claims if c["status"] == "conditional"
        )
        partly = f", {conditional - untried} of them on part of their evidence" * (conditional > untried)
        tone, headline = "open", f"{count - untried} claims hold{partly}"
        headline += f"; {untried} could not be tried here" * (untried > 0)
    else:
        tone, headline = (
            "good",
            f"All {count} claims hold" if not refuted else f"All {count} claims are as stated",
        )
    pieces, budget = sum(len(claim["evidence"]) for claim in claims), document["budget"]
    parts = [
        f"{pieces} pieces of evidence",
        f"{caught} of {planted} planted errors caught",
        f"false-alarm budget {short(budget['false_alarms'])}, spent {short(budget['spent'])}",
        f"seed {document['seed']}, effort {document['effort']}, {document['seconds']:.0f} s",
    ]
    if refuted:
        parts.insert(1, f"{refuted} false statements kept on record")
    return {"tone": tone, "headline": headline, "detail": " · ".join(parts), "unexpected": unexpected}


def _covered(document: Mapping[str, Any]) -> dict[str, Any]:
    """The rows of modules, those with the smallest share first, and their sum."""
    names = [field.name for field in fields(Module)]
    modules = tuple(Module(**{name: row[name] for name in names}) for row in document["modules"])
    found = Coverage(document["claims"], document["effort"], modules)
    rows = sorted(modules, key=lambda module: module.share)
    return {"claims": found.claims, "effort": found.effort, "rows": rows, "total": found.total()}


def _replay(document: Mapping[str, Any]) -> str:
    effort = "" if document["effort"] == "normal" else f" --{document['effort']}"
    return (
        f"pip install driftproof=={document['version']}\ndriftproof verify{effort} --seed {document['seed']}"
    )
