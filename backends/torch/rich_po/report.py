"""The report of ``rich_po``: tables and figures, written whole or not at all."""

from __future__ import annotations

from typing import Final

import numpy as np
from matplotlib.figure import Figure

from driftproof.backends.torch.kit.intervals import normal_interval, shown, student_interval
from driftproof.backends.torch.kit.report import Section, section_of, svg, table_of

from .experiment import GaussianOutcome, PipelineOutcome, Rows
from .policies import Comparison

__all__ = ["LEVEL", "comparison_section", "gaussian_section", "pipeline_section"]

LEVEL: Final = 0.99
BLUE, RED, INK = "#4c72b0", "#c8452f", "#222222"


def gaussian_section(outcome: GaussianOutcome) -> Section:
    """Where seeds ended, and where they should have."""
    o, model = outcome, outcome.recipe.gaussian
    assert model is not None  # the outcome of a Gaussian run
    mean, half = o.interval(LEVEL)
    d = len(o.optimum)
    tilt = np.asarray(model.cov) @ np.asarray(model.w)
    rows = [
        [f"trained, {len(o.shifts)} seeds", *(shown(*pair, ".4f") for pair in zip(mean, half, strict=True))],
        ["exact optimum", *(f"{v:.4f}" for v in o.optimum)],
        [
            "the direction of the tilt, as long",
            *(f"{v:.4f}" for v in tilt * _length(o.optimum) / _length(tilt)),
        ],
    ]
    design = o.recipe.objective
    shared = "shared noise" if design.shared_noise else "noise of their own"
    inside = {True: "inside", False: "OUTSIDE", None: "beside one seed"}[o.inside(LEVEL)]
    caption = (
        f"Diffusion-DPO of a Gaussian denoiser ({model.prediction}) on random pairs, {len(model.alphas)} noise times, "
        f"{shared}, beta = {design.beta:g} per summed squared error; {o.recipe.budget.max_steps} steps of "
        f"{o.recipe.budget.train_batch_size} pairs. {100 * LEVEL:g} % Student intervals over seeds, jointly for all "
        "coordinates. The optimum is that of RICH-PO-OPTIMUM-1."
    )
    table = table_of(caption, ["shift of the mean", *(f"m{i + 1}" for i in range(d))], rows)
    figure = {
        "caption": "Errors of winners and losers apart, less the reference's, and the share of margins that are right.",
        "svg": _curves(next(iter(o.rows.values()))),
    }
    summary = f"Gaussian denoiser: the exact optimum lies {inside} of the {100 * LEVEL:g} % interval of {len(o.shifts)} seeds."
    return section_of(summary, [table], [figure])


def pipeline_section(outcome: PipelineOutcome) -> Section:
    """Rewards on the same noises before and after, paired."""
    o, r = outcome, outcome.recipe
    assert r.pipeline is not None  # the outcome of a pipeline
    rows, gains = [], []
    for name in ("reward", "second"):
        before, after = (getattr(m, name) for m in (o.before, o.after))
        gain, half = normal_interval(after - before)
        gains.append((gain, half))
        label = r.reward.kind if name == "reward" else f"second: {r.second.kind}"
        cells = [shown(*normal_interval(values), ".4g") for values in (before, after)]
        rows.append([label, *cells, shown(gain, half, "+.4g")])
    rows.append(["deviation of pixels", f"{o.before.spread:.4g}", f"{o.after.spread:.4g}", ""])
    last = o.rows[-min(20, len(o.rows)) :]
    error = {k: float(np.mean([row[k] for row in last])) for k in ("winner error", "winner before")}
    errors = {k: float(np.mean([row[k] for row in last])) for k in ("loser error", "loser before")}
    for who, found in (("winners", error), ("losers", errors)):
        now, was = found.values()
        rows.append([f"squared error of {who}", f"{was:.5g}", f"{now:.5g}", f"{now / was - 1.0:+.2%}"])
    made = f"read from {r.pairs.table}" if r.pairs.table else f"made by the policy {r.pairs.policy!r}"
    out = ", ".join(f"{count} {status}" for status, count in sorted(o.left_out.items()))
    caption = (
        f"{r.title}: {o.pairs} pairs {made}{f' ({out} left out)' if out else ''}; {r.objective.loss}, "
        f"{'; '.join(o.announced)}; {r.budget.max_steps} steps of {r.budget.train_batch_size}. "
        f"{r.held_out} images of the same noises, 95 % intervals; errors are those of the last {len(last)} steps."
    )
    gain, half = gains[0]
    clear = "a clear change" if abs(gain) > half else "no clear change"
    summary = f"{r.title}: reward {shown(gain, half, '+.4g')} on the same noises, paired; {clear}."
    figure = {
        "caption": "Errors of winners and losers apart, less the reference's, and the share of margins that are right.",
        "svg": _curves(o.rows),
    }
    columns = ["", "before", "after", "change"]
    metrics = {"gain": gain, "half_width": half, "pairs": o.pairs, "steps": len(o.rows)}
    table = table_of(caption, columns, rows)
    return section_of(summary, [table], [figure], metrics={r.title: metrics})


def _length(vector: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    return float(np.linalg.norm(vector)) or 1.0


def _curves(rows: Rows) -> str:
    figure = Figure(figsize=(8.0, 3.0), layout="constrained")
    left, right = figure.subplots(1, 2)
    steps = np.arange(1, len(rows) + 1)
    for who, colour in (("winner", BLUE), ("loser", RED)):
        moved = [row[f"{who} error"] - row[f"{who} before"] for row in rows]
        left.plot(steps, moved, color=colour, lw=0.8, label=f"{who}s")
    left.axhline(0.0, color=INK, lw=0.7, ls=":")
    left.set(title="squared error less the reference's", xlabel="step")
    left.legend(frameon=False)
    right.plot(steps, [row["accuracy"] for row in rows], color=INK, lw=0.8)
    right.set(title="share of margins that are right", xlabel="step", ylim=(0.0, 1.0))
    return svg(figure)


def comparison_section(outcome: Comparison) -> Section:
    """The gain of every policy, with intervals over seeds, and the prediction of the normal model."""
    o, r = outcome, outcome.recipe
    rows, best = [], []
    for policy in o.gained:
        cells = []
        for name in ("reward", "predicted", "second", "winner_error", "spread"):
            mean, half = student_interval(o.column(policy, name), 0.95)
            percent = name in ("predicted", "winner_error")
            cells.append(f"{100 * mean:.3g} ± {100 * half:.2g} %" if percent else f"{mean:+.3g} ± {half:.2g}")
        rows.append([policy, f"{np.mean(o.column(policy, 'pairs')):.0f}", *cells])
        best.append((float(np.mean(o.column(policy, "reward"))), policy))
    caption = (
        f"{r.title}: {r.pairs.count} pairs or images a policy and seed, {len(r.seeds)} seeds, {r.budget.max_steps} steps of "
        f"{r.budget.train_batch_size} pairs, beta = {r.objective.beta:g}. Gain of {r.reward.kind} (before: {o.before:.3g}) and of "
        f"{r.second.kind} on {r.held_out} images of the same noises; 95 % Student intervals over seeds. Predicted is the share of "
        "the possible gain that a step along the mean difference of the pairs reaches on a normal model of the latents of a "
        "prompt, at its best length; the measured gain is that of a fixed number of steps. Errors are winners'."
    )
    columns = [
        "policy",
        "pairs",
        "gain of the reward",
        "predicted share",
        "second",
        "winners' error",
        "deviation of pixels",
    ]
    named = ", ".join(f"{policy} {gain:+.3g}" for gain, policy in sorted(best, reverse=True))
    metrics = {
        policy: {n: o.column(policy, n) for n in ("reward", "predicted", "pairs")} for policy in o.gained
    }
    return section_of(
        f"{r.title}: mean gains of {len(r.seeds)} seeds: {named}.",
        [table_of(caption, columns, rows)],
        metrics={r.title: metrics},
    )
