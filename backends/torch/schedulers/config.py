"""What a configuration of the scheduler may say, and what it leaves to be found out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ...._namespace import UnmetHypothesis

__all__ = ["PREDICTIONS", "resolved"]

PREDICTIONS = ("epsilon", "v_prediction", "sample", "flow_prediction")
UNSUPPORTED = ("thresholding", "invert_sigmas", "shift_terminal")


def resolved(config: Mapping[str, Any]) -> dict[str, Any]:
    """The prediction type and the schedule of betas of a configuration that may leave them out.

    Raises:
        UnmetHypothesis: It contradicts itself, asks for what is not supported, or has eta < 0.

    >>> resolved({"shift": 3.0})["prediction_type"]  # as diffusers writes a flow
    'flow_prediction'
    """
    betas = {name: config.get(name) for name in ("beta_schedule", "trained_betas")}
    has_betas = any(value is not None for value in betas.values())
    shift, eta = config.get("shift"), config.get("eta", 0.0)
    kind = config.get("prediction_type")
    if kind is None:
        kind = "flow_prediction" if shift is not None and not has_betas else "epsilon"
    _require(kind in PREDICTIONS, f"prediction_type is one of {', '.join(PREDICTIONS)}", repr(kind))
    for name in UNSUPPORTED:
        _require(not config.get(name), f"{name} is off: it is not supported", f"{config.get(name)!r}")
    _require(0.0 <= eta < math.inf, "eta >= 0", f"eta = {eta!r}")
    steps, most = config.get("num_train_timesteps", 1000), config.get("clip_sample_range", 1.0)
    _require(steps >= 1, "num_train_timesteps >= 1", f"num_train_timesteps = {steps!r}")
    _require(0.0 < most < math.inf, "clip_sample_range > 0", f"clip_sample_range = {most!r}")
    if kind != "flow_prediction":
        asked = f"prediction_type = {kind!r}, shift = {shift!r}"
        dynamic = config.get("use_dynamic_shifting")
        _require(shift is None and not dynamic, "only flow_prediction has a shift", asked)
        schedule = "linear" if betas["beta_schedule"] is None else betas["beta_schedule"]
        return {"prediction_type": kind, "beta_schedule": schedule}
    asked = f"beta_schedule = {betas['beta_schedule']!r}, prediction_type = 'flow_prediction'"
    plain = not has_betas and not config.get("rescale_betas_zero_snr")
    _require(plain, "flow_prediction goes without betas", asked)
    _require(shift is None or shift > 0, "shift > 0", f"shift = {shift!r}")
    time_shift = config.get("time_shift_type", "exponential")
    known = "time_shift_type is exponential or linear"
    _require(time_shift in ("exponential", "linear"), known, repr(time_shift))
    return {"prediction_type": kind, "beta_schedule": None}


def _require(holds: bool, hypothesis: str, got: str) -> None:
    if not holds:
        raise UnmetHypothesis("GDDIMScheduler", hypothesis, got)
