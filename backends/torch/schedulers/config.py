"""What a configuration of the scheduler may say, and what it leaves to be found out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from driftproof._namespace import UnmetHypothesis
from driftproof.numerics.samplers.parametrization import DIFFUSERS

__all__ = ["require", "resolved", "translated"]

UNSUPPORTED = ("thresholding", "invert_sigmas", "shift_terminal")
RESPACINGS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")
# What a configuration of another scheduler says where its model knows other noise levels, or times, than ours.
ELSEWHERE = ("sigma_data", "sigma_min", "sigma_max", "use_lu_lambdas")


def translated(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of any scheduler of diffusers, in the words of ours.

    Raises:
        UnmetHypothesis: Its noise levels are neither a table of betas nor those of a flow: EDM, pure VE, a
            shifted table; a scheduler that does not say what they are.

    >>> translated({"use_flow_sigmas": True, "flow_shift": 3.0, "beta_schedule": "linear"})["shift"]
    3.0
    """
    found = {name: value for name, value in config.items() if name != "_use_default_values"}
    for name in ELSEWHERE:
        value = found.get(name)
        got = f"{name} = {value!r}, whose noise levels are not known here"
        require(value in (None, False), f"{name} is not set", got)
    times = found.get("timestep_type", "discrete")
    got = f"timestep_type = {times!r}: a model knows its timesteps"
    require(times == "discrete", "timestep_type is discrete", got)
    scale = found.get("snr_shift_scale")
    require(scale in (None, 1.0), "snr_shift_scale is 1", f"{scale!r}, whose table is another")
    if found.get("use_flow_sigmas"):
        given = found.get("shift")
        shift = found.get("flow_shift", 1.0) if given is None else given
        flow = {"prediction_type": "flow_prediction", "shift": shift}
        found |= {**flow, "beta_schedule": None, "trained_betas": None}
    if found.get("final_sigmas_type") == "sigma_min":
        found.setdefault("set_alpha_to_one", False)
    levels = ("beta_schedule", "trained_betas", "shift")
    known = found.get("prediction_type") == "flow_prediction" or any(
        found.get(name) is not None for name in levels
    )
    require(
        known, f"a configuration names its noise levels by one of {', '.join(levels)}", f"{sorted(found)}"
    )
    return found


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
    require(kind in DIFFUSERS, f"prediction_type is one of {', '.join(DIFFUSERS)}", repr(kind))
    for name in UNSUPPORTED:
        require(
            not config.get(name),
            f"{name} is not set",
            f"{name} = {config.get(name)!r}, which is not supported",
        )
    asked_for = [name for name in RESPACINGS if config.get(name)]
    require(len(asked_for) < 2, f"at most one of {', '.join(RESPACINGS)}", " and ".join(asked_for))
    require(0.0 <= eta < math.inf, "eta >= 0", f"eta = {eta!r}")
    steps, most = config.get("num_train_timesteps", 1000), config.get("clip_sample_range", 1.0)
    require(steps >= 1, "num_train_timesteps >= 1", f"num_train_timesteps = {steps!r}")
    require(0.0 < most < math.inf, "clip_sample_range > 0", f"clip_sample_range = {most!r}")
    if kind != "flow_prediction":
        asked = f"prediction_type = {kind!r}, shift = {shift!r}"
        dynamic = config.get("use_dynamic_shifting")
        require(shift is None and not dynamic, "only flow_prediction has a shift", asked)
        schedule = "linear" if betas["beta_schedule"] is None else betas["beta_schedule"]
        return {"prediction_type": kind, "beta_schedule": schedule}
    asked = f"beta_schedule = {betas['beta_schedule']!r}, prediction_type = 'flow_prediction'"
    plain = not has_betas and not config.get("rescale_betas_zero_snr")
    require(plain, "flow_prediction goes without betas", asked)
    require(shift is None or shift > 0, "shift > 0", f"shift = {shift!r}")
    time_shift = config.get("time_shift_type", "exponential")
    known = "time_shift_type is exponential or linear"
    require(time_shift in ("exponential", "linear"), known, repr(time_shift))
    return {"prediction_type": kind, "beta_schedule": None}


def require(holds: bool, hypothesis: str, got: Any, subject: str = "GDDIMScheduler") -> None:
    """Raise unless a hypothesis of the scheduler holds."""
    if not holds:
        raise UnmetHypothesis(subject, hypothesis, str(got))
