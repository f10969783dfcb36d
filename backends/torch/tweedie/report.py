"""The report of ``tweedie``: tables, figures and sentences, the same numbers for programs, samples as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from driftproof.backends.torch.kit.report import Section, section_of, table_of
from driftproof.backends.torch.score_models.metrics import Estimate

from .accuracy import Error
from .energies import EnergyRow
from .experiment import Comparison, Result
from .figures import error_figure, images_figure, laws_figure, paths_figure
from .laws import LawsStudy
from .market_fit import CIRFit, Forecast

__all__ = ["comparison_section", "energies_section", "laws_section", "market_section"]


def comparison_section(comparison: Comparison) -> Section:
    """The table of distances, that of exact errors, and the figures of one recipe."""
    recipe, data = comparison.prepared.recipe, comparison.prepared.data
    rows = [["floor: training rows", *map(str, comparison.floor.values()), "", "", ""]]
    for name, result in comparison.results.items():
        share = f"{100.0 * result.outside:.2f} %"
        row = [
            name,
            *map(str, result.metrics.values()),
            share,
            f"{result.parameters}",
            f"{result.seconds:.0f}",
        ]
        rows.append(row)
    columns = ["", *comparison.floor, "outside support", "weights", "seconds"]
    plan, sampling = recipe.training, recipe.sampling
    caption = (
        f"{recipe.title}: generated rows against {len(data.held_out)} held out. {data.source}. "
        f"Same network, {plan.max_steps} steps of {plan.train_batch_size} rows, {sampling.steps} reverse steps, "
        f"{sampling.count} samples, mean over {len(recipe.seeds)} training seeds; ± is a 95 % half-width."
    )
    tables = [table_of(caption, columns, rows)]
    if len(comparison.results) > 1:
        tables.append(_pairs(comparison))
    if any(result.errors for result in comparison.results.values()):
        tables.append(_errors(comparison))
    draw = images_figure if data.side else paths_figure
    figures = [
        {"caption": f"{recipe.title}: rows held out and generated.", "svg": draw(comparison)},
        {"caption": f"{recipe.title}: what the networks have learnt.", "svg": error_figure(comparison)},
    ]
    metrics = {
        "floor": _numbers(comparison.floor),
        "processes": {name: _result(result) for name, result in comparison.results.items()},
    }
    samples = {f"{recipe.name}-{name.lower()}": result.samples for name, result in comparison.results.items()}
    return section_of(_verdict(comparison), tables, figures, metrics={recipe.name: metrics}, samples=samples)


def laws_section(study: LawsStudy, name: str) -> Section:
    """A CIR diffusion beside its exact laws."""
    columns = [
        "noise-to-signal r",
        "relative error of n",
        "error of E[X0|x]",
        "exact deviation of X0 given x",
        "W1 of the reverse marginal",
        "floor of W1",
    ]
    fields = ("ratio", "count", "mean", "deviation", "distance", "floor")
    rows = [[f"{getattr(level, field):.3g}" for field in fields] for level in study.levels]
    caption = (
        f"A CIR diffusion (dimension {study.delta:g}) of {len(study.train)} daily variances, trained for "
        f"{study.steps} steps, against the exact laws of these data. Errors are root mean squares under the "
        "exact law of X_t; variances have mean 1."
    )
    best, worst = (f(level.count for level in study.levels) for f in (min, max))
    summary = f"One-dimensional CIR: the count is learnt to {100 * best:.2g}-{100 * worst:.2g} % of its exact value."
    figure = {
        "caption": "A CIR diffusion trained on real market data beside its exact laws.",
        "svg": laws_figure(study),
    }
    metrics = {
        "levels": [{field: getattr(level, field) for field in fields} for level in study.levels],
        "objectives": {name: [_error(error) for error in errors] for name, errors in study.errors.items()},
    }
    tables = [table_of(caption, columns, rows)]
    if len(study.errors) > 1:
        caption = (
            "The same network with three objectives: exact error in nats, of what the conjugate score leaves."
        )
        tables.append(_error_table(caption, study.errors))
    return section_of(summary, tables, [figure], metrics={name: metrics})


def market_section(fit: CIRFit, forecasts: Sequence[Forecast]) -> Section:
    """CIR and its rivals as forecasts of the VIX."""
    p, e = fit.process, fit.errors
    caption = (
        "One-day density forecasts of the VIX as an annual variance (2014-2018, last 30 % held out). "
        f"CIR by its exact likelihood: kappa = {p.kappa:.3g} ± {1.96 * e[0]:.2g}, theta = {p.theta:.3g} ± "
        f"{1.96 * e[1]:.2g}, sigma = {p.sigma:.3g} ± {1.96 * e[2]:.2g} a year, dimension {p.delta:.3g}."
    )
    columns = ["model", "log-density a day", "less that of CIR", "Kolmogorov distance of the transforms"]
    rows = [[f.name, f"{f.log_density:.3f}", str(f.gain), f"{f.distance:.3f}"] for f in forecasts]
    best = max(forecasts, key=lambda f: f.log_density)
    summary = f"As a model of the VIX itself, {best.name} forecasts best; no model's transforms are uniform."
    if min(f.distance for f in forecasts) < 0.05:
        summary = f"As a model of the VIX itself, {best.name} forecasts best."
    metrics = {
        "kappa": p.kappa,
        "theta": p.theta,
        "sigma": p.sigma,
        "standard_errors": list(e),
        "forecasts": [
            {"name": f.name, "log_density": f.log_density, "gain": _number(f.gain), "distance": f.distance}
            for f in forecasts
        ],
    }
    table = table_of(caption, columns, rows)
    return section_of(summary, [table], metrics={"vix": metrics})


def energies_section(rows: Sequence[EnergyRow]) -> Section:
    """Empirical Bayes under squared Bessel noise."""
    caption = (
        "Energies of blocks of held-out digits seen through Gaussian noise of variance t: mean squared error. "
        "BESQ of dimension delta; priors and marginals fitted on the training images only."
    )
    columns = ["delta", "t", "estimator", "squared error", "over the unbiased one's", "saving, paired"]
    cells = [
        [str(r.delta), f"{r.t:g}", r.estimator, f"{r.risk:.4g}", f"{r.relative:.3f}", str(r.saving)]
        for r in rows
    ]
    tweedie = [r for r in rows if "Tweedie" in r.estimator]
    low, high = (f(r.relative for r in tweedie) for f in (min, max))
    share = f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}"
    summary = f"BESQ empirical Bayes has {share} times the squared error of the unbiased estimator."
    metrics = [
        {"delta": r.delta, "t": r.t, "estimator": r.estimator, "risk": r.risk, "saving": _number(r.saving)}
        for r in rows
    ]
    table = table_of(caption, columns, cells)
    return section_of(summary, [table], metrics={"energies": metrics})


def _pairs(comparison: Comparison) -> dict[str, Any]:
    first = next(iter(comparison.results))
    baseline = "VP" if "VP" in comparison.results else first
    rows = []
    for name, result in comparison.results.items():
        if name != baseline:
            reference = comparison.results[baseline].metrics
            rows.append([name, *(str(result.metrics[key] - reference[key]) for key in ("W1", "MMD"))])
    caption = (
        f"{comparison.prepared.recipe.title}: distance less that of {baseline}, paired on the held-out rows."
    )
    return table_of(caption, ["", "W1", "MMD"], rows)


def _errors(comparison: Comparison) -> dict[str, Any]:
    caption = (
        f"{comparison.prepared.recipe.title}: exact error of the network in nats (Girsanov's bound against the "
        "training rows), of what the conjugate score leaves. At small r the exact score leads back to the "
        "training rows, which no network should learn."
    )
    return _error_table(caption, {name: r.errors for name, r in comparison.results.items() if r.errors})


def _error_table(caption: str, errors: Mapping[Any, Sequence[Error]]) -> dict[str, Any]:
    some = next(iter(errors.values()))
    columns = ["", *(f"r in [{error.low:.2g}, {error.high:.2g}]" for error in some)]
    rows = [[name, *(f"{e.network:.3g} of {e.conjugate:.3g}" for e in each)] for name, each in errors.items()]
    return table_of(caption, columns, rows)


def _error(error: Error) -> dict[str, float]:
    return {"low": error.low, "high": error.high, "network": error.network, "conjugate": error.conjugate}


def _verdict(comparison: Comparison) -> str:
    """Who is ahead in W1, and whether the paired interval against the next leaves a doubt."""
    ranked = sorted(comparison.results.items(), key=lambda item: item[1].metrics["W1"].value)
    title, (name, best) = comparison.prepared.recipe.title, ranked[0]
    if len(ranked) == 1:
        return f"{title}: {name} has W1 {best.metrics['W1']}."
    other, second = ranked[1]
    gap = second.metrics["W1"] - best.metrics["W1"]
    clear = "clearly" if gap.value > gap.half_width else "within the error bars"
    return (
        f"{title}: {name} is closest to the held-out rows in W1 ({best.metrics['W1']}), {clear} ahead of {other} "
        f"({second.metrics['W1']}); the floor is {comparison.floor['W1']}."
    )


def _result(result: Result) -> dict[str, Any]:
    return {
        "metrics": _numbers(result.metrics),
        "outside": result.outside,
        "errors": [_error(error) for error in result.errors],
        "weights": result.parameters,
        "seconds": result.seconds,
        "loss": float(result.losses[-max(1, len(result.losses) // 20) :].mean()),
    }


def _numbers(estimates: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    return {name: _number(estimate) for name, estimate in estimates.items()}


def _number(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, "half_width": estimate.half_width}
