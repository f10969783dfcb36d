"""Extreme values for preference optimisation: no NaN, no foreign error, and scales that stay between 0 and 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from driftproof.numerics import rich_po as losses
from driftproof.theory import rich_po

from .extremes import NONNEGATIVE, POSITIVE, REAL, Faults, grid

Attack = Callable[..., None]
Domains = Mapping[str, Sequence[float]]

TINY = 5e-324
SD = (0.0, TINY, 1e-300, 1e-160, 1e-8, 0.3, 1.0, 7.0, 100.0)
ENERGY = (0.0, TINY, 1e-300, 1e-8, 0.3, 1.0, 100.0, 5000.0)
HALF = (0.0, TINY, 1e-300, 1e-16, 0.3, 0.5)
PROBABILITY = (0.0, TINY, 1e-16, 0.3, 0.5, 1.0 - 1e-16, 1.0)
RATIO = (1.0, 1.0 + 1e-15, 3.0, 1e16, 1e300, 1.7e308)
SCALES: dict[str, Domains] = {  # in [0, 1]
    "mean_slope": {"sd": NONNEGATIVE},
    "gap_information": {"gap": REAL},
    "gap_efficiency": {"sd": NONNEGATIVE},
    "flipped_scale": {"sd": SD, "flips": HALF},
    "stepwise_scale": {"sd": SD, "share": (TINY, 1e-300, 1e-16, 0.3, 1.0)},
    "independent_noise_scale": {"sd": SD, "ratio": RATIO},
}
POSITIVES: dict[str, Domains] = {
    "sft_scale": {"sd": SD, "beta": POSITIVE, "weight": NONNEGATIVE},
    "always_won_margin": {"time": NONNEGATIVE},
    "sft_threshold": {"energy": ENERGY, "beta": POSITIVE},
}
PAIRED: dict[str, Sequence[Mapping[str, float]]] = {
    "dpo_loss": [
        {"beta": b, "smoothing": s, "sft": f}
        for b in (TINY, 0.1, 1e300)
        for s in (0.0, 0.2)
        for f in (0.0, 0.3)
    ],
    "robust_dpo_loss": [{"beta": 0.1, "flips": 0.1}, {"beta": 1e300, "flips": 0.0}],
    "ipo_loss": [{"tau": 0.1}, {"tau": 1e300}],
    "hinge_loss": [{"beta": 0.1}, {"beta": 1e300}],
    "dpop_loss": [{"beta": 0.1, "penalty": 5.0}, {"beta": 1e300, "penalty": 1e300}],
    "sppo_loss": [{"beta": 0.1}, {"beta": 1e300}],
    "simpo_loss": [{"beta": 2.0, "gamma": 1.0}],
    "slic_loss": [{"margin": 1.0}],
    "clamped_step_loss": [{"beta": 10.0, "clip": 0.1}],
}


def _called(function: Callable[..., Any], arrays: Mapping[str, float], **rest: Any) -> Callable[[], Any]:
    return lambda: function(**{name: np.asarray(value) for name, value in arrays.items()}, **rest)


def attack_scales(most: int) -> Faults:
    faults = Faults()
    for table, highest in ((SCALES, 1.0 + 1e-9), (POSITIVES, np.inf)):
        for name, domains in table.items():
            for given in grid(dict(domains), most):
                value = faults.ask(f"{name}{given}", _called(getattr(rich_po, name), given))
                if value is not None:
                    faults.check(f"{name}{given}: {value}", bool((value >= 0.0) & (value <= highest)))
    for given in grid({"energy": ENERGY, "beta": POSITIVE, "scale": PROBABILITY}, most):
        faults.ask(f"displacement{given}", _called(rich_po.displacement, given))
    for loss in ("dpo", "ipo", "hinge", "sppo"):
        for given in grid({"p": PROBABILITY, "beta": POSITIVE}, most):
            faults.ask(f"{loss}{given}", _called(rich_po.optimal_margin, given, loss=loss))
        for given in grid({"p": PROBABILITY, "beta": POSITIVE, "winner_error": NONNEGATIVE}, most):
            grown = faults.ask(f"{loss}{given}", _called(rich_po.loser_growth, given, loss=loss))
            faults.check(f"{loss}{given}: {grown}", grown is None or bool(grown >= 0.0))
    return faults


def attack_losses(most: int) -> Faults:
    faults = Faults()
    for name, options in PAIRED.items():
        for chosen in options:
            for given in grid({"chosen": REAL, "rejected": REAL}, most):
                faults.ask(f"{name}{given}{chosen}", _called(getattr(losses, name), given, **chosen))
    below = tuple(-x for x in POSITIVE)
    for given in grid({"chosen": below, "rejected": below}, most):
        faults.ask(f"orpo_loss{given}", _called(losses.orpo_loss, given, weight=0.3))
    for given in grid({"ratio": REAL, "sign": (-1e300, -1.0, 0.0, TINY, 1.0), "kl": NONNEGATIVE}, most):
        faults.ask(f"kto_loss{given}", _called(losses.kto_loss, given, beta=0.3))
    for kind in ("epsilon", "sample", "v_prediction", "flow_prediction", "score"):
        for given in grid({"alpha": POSITIVE, "sigma": POSITIVE}, most):
            faults.ask(f"{kind}{given}", _called(losses.noise_error_weight, given, kind=kind))
    return faults


@pytest.mark.parametrize("what", [attack_scales, attack_losses])
def test_preferences(what: Callable[[int], Faults], attack: Attack) -> None:
    faults = what(20)
    attack(f"extremes of preference optimisation, {what.__name__[7:]}", faults.tries, faults.found)


@pytest.mark.hostile
@pytest.mark.parametrize("what", [attack_scales, attack_losses])
def test_preferences_at_length(what: Callable[[int], Faults], attack: Attack) -> None:
    faults = what(1500)
    attack(f"extremes of preference optimisation, {what.__name__[7:]}, at length", faults.tries, faults.found)
