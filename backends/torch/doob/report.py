"""The report of ``doob``: how often each method ends in the event, and how far its draws are from rejection's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest

from driftproof.backends.torch.kit.intervals import student_interval
from driftproof.backends.torch.kit.report import Section, section_of, table_of
from driftproof.theory.doob import interval_mean

from .config import GaussianData
from .exact import ChainH
from .experiment import REJECTION, UNGUIDED, Draws, Outcome

__all__ = ["LEVEL", "gaussian_section", "image_section", "satisfaction"]

LEVEL = 0.99


def satisfaction(draws: Draws) -> str:
    """The share of draws in the event with its exact binomial interval."""
    hits, n = int(draws.inside.sum()), len(draws.inside)
    low, high = binomtest(hits, n).proportion_ci(LEVEL, method="exact")
    return f"{hits / n:.4f} [{low:.4f}, {high:.4f}]"


def gaussian_section(outcome: Outcome) -> Section:
    """The learned guidance beside the exact h of the chain."""
    recipe, model = outcome.recipe, outcome.recipe.gaussian
    assert model is not None  # the outcome of a Gaussian run
    chain = ChainH.of(model, outcome.frozen)
    mean, deviation = _conditional(model, chain)
    rows, verdicts = [], []
    for name, draws in outcome.draws.items():
        values = draws.points.double() @ torch.tensor(model.normal, dtype=torch.float64)
        share = "" if not draws.shares else f"{np.mean(draws.shares):.3g}"
        verdict = ""
        if name in recipe.losses:
            verdict = _inside(outcome, name)
            verdicts.append(f"{name} {verdict} ({share} of the guidance's square)")
        rows.append(
            [
                name,
                satisfaction(draws),
                f"{float(values.mean()):.4f}",
                f"{float(values.std()):.4f}",
                share,
                verdict,
                f"{draws.calls / max(float(draws.inside.double().mean()), 1e-300):.4g}",
            ]
        )
    rows.append(
        ["exact law of the chain given the event", "1", f"{mean:.4f}", f"{deviation:.4f}", "0", "", ""]
    )
    columns = [
        "",
        f"in the event, {100 * LEVEL:g} % exact",
        "mean of the functional",
        "deviation",
        "error of the guidance",
        f"exact within {100 * LEVEL:g} % of seeds",
        "model calls a draw in the event",
    ]
    caption = (
        f"{recipe.title}: P(A) = {np.exp(chain.log_probability(model)):.4g} for the chain; "
        f"{recipe.store.trajectories} trajectories and {recipe.evaluation} draws for each of {len(recipe.seeds)} seeds. "
        "Error: mean square over that of the exact guidance, along exactly guided paths. Intervals of seeds: Student's, "
        "jointly for the guidance at three points."
    )
    return section_of(
        f"{recipe.title}: the exact guidance lies, for {'; '.join(verdicts)} of the intervals over seeds.",
        [table_of(caption, columns, rows)],
    )


def image_section(outcome: Outcome) -> Section:
    """Satisfaction and features beside rejection's."""
    from driftproof.backends.torch.pretrained.models import zoo
    from driftproof.backends.torch.score_models.feature_distances import kernel_distance

    recipe, decode = outcome.recipe, outcome.frozen.decode
    assert decode is not None  # the outcome of images
    judge = zoo("mnist-classifier")

    def features(draws: Draws) -> Any:
        points = draws.points[draws.inside]
        with torch.no_grad():
            return judge.features(decode(points)).double().numpy(), decode(points).mean(dim=(1, 2, 3)).numpy()

    reference = features(outcome.draws[REJECTION])[0]
    rows = []
    for name, draws in outcome.draws.items():
        share = float(draws.inside.double().mean())
        if share * len(draws.inside) < 2.0 or len(reference) < 2:
            rows.append([name, satisfaction(draws), "", "", ""])
            continue
        found, ink = features(draws)
        distance = "" if name in (REJECTION, UNGUIDED) else f"{kernel_distance(found, reference):.3g}"
        rows.append(
            [
                name,
                satisfaction(draws),
                f"{ink.mean():.4f} ± {2.58 * ink.std(ddof=1) / len(ink) ** 0.5:.2g}",
                distance,
                f"{draws.calls / share:.4g}",
            ]
        )
    columns = [
        "",
        f"in the event, {100 * LEVEL:g} % exact",
        "mean ink in the event, 99 %",
        "kernel distance to rejection's",
        "model calls a draw in the event",
    ]
    caption = (
        f"{recipe.title}: {recipe.store.trajectories} trajectories and {recipe.evaluation} draws for each of "
        f"{len(recipe.seeds)} seeds. Rejection's draws are the trajectories that end in the event; all losses have seen "
        "the same ones."
    )
    said = "; ".join(f"{row[0]} {row[1]}" for row in rows if row[0] != REJECTION)
    return section_of(f"{recipe.title}: in the event {said}.", [table_of(caption, columns, rows)])


def _conditional(model: GaussianData, chain: ChainH) -> tuple[float, float]:
    """Mean and deviation of the functional under the law of the chain's last state given the event."""
    normal = np.asarray(model.normal)
    m = float(chain.mean.numpy() @ normal)
    s = float(np.sqrt(normal @ chain.cov.numpy() @ normal))
    low = (model.level - m) / s
    pull = float(interval_mean(low, np.inf))  # of the standard normal law above low
    return m + s * pull, s * float(np.sqrt(1.0 + low * pull - pull**2))


def _inside(outcome: Outcome, name: str) -> str:
    """Whether the exact guidance at all probe points lies in the joint interval over seeds."""
    found = outcome.probes[name].numpy()
    if len(found) < 2:
        return "one seed"
    mean, half = student_interval(found, LEVEL, together=found.shape[1])
    exact = outcome.exact[name].numpy()
    if bool(np.any(np.abs(mean - exact) > half)):
        return "OUTSIDE"
    # Intervals that take 0 or twice the guidance for the guidance, at every point, say nothing.
    return "too few seeds to tell" if bool(np.all(half >= np.abs(exact))) else "inside"
