r"""Hard constraints by Doob's h-transform: events, the exact guidance, what it costs, what errors cost.

Data given an event A are drawn exactly by the reverse process whose score has :math:`\nabla \log h` added, with
:math:`h(t, x) = P(X_0 \in A \mid X_t = x)`, from a start that is tilted by h.

* :mod:`intervals`, :mod:`arcs`, :mod:`balls`: probabilities of normal laws in logarithms;
* :mod:`linear`, :mod:`shapes`, :mod:`unions`: half-spaces, slabs, quadrants, boxes, balls and their unions;
* :mod:`transform`: h, the guidance, the guided score and drift, for normal data and mixtures;
* :mod:`clock`: label noise, divergences and starts of a half-space, in two numbers;
* :mod:`violations`: how often a run that stops misses a half-space;
* :mod:`starts`: how far the noised data are from what samplers start from;
* :mod:`bounds`: total variation and Wasserstein distance from the errors of score and guidance;
* :mod:`chain`: the exact twist of a finite chain;
* :mod:`measurements`: guidance by a noisy linear measurement.

The full text of the paper was not available to us; what is checked here is derived here.
"""

from .arcs import log_bivariate_ndtr
from .balls import log_ball
from .bounds import (
    conditional_error,
    floor_success_bound,
    guided_divergence_bound,
    total_variation_bound,
    wasserstein_bound,
)
from .chain import chain_twists, twisted_transitions
from .clock import (
    guidance_energy,
    guidance_shift,
    label_noise,
    log_second_moment,
    path_divergence,
    start_distance,
    start_divergence,
)
from .events import AbstractEvent, Complement
from .intervals import interval_mean, log_interval
from .linear import Orthant, Slab, half_space
from .measurements import measurement_guidance
from .shapes import Ball, Box
from .starts import prior_divergence, require_start
from .transform import (
    conditional_mean,
    event_log_probability,
    guidance,
    guided_drift,
    guided_score,
    log_h,
)
from .unions import Union
from .violations import draw_violation, mean_violation, step_violation

__all__ = [
    "AbstractEvent",
    "Ball",
    "Box",
    "Complement",
    "Orthant",
    "Slab",
    "Union",
    "chain_twists",
    "conditional_error",
    "conditional_mean",
    "draw_violation",
    "event_log_probability",
    "floor_success_bound",
    "guidance",
    "guidance_energy",
    "guidance_shift",
    "guided_divergence_bound",
    "guided_drift",
    "guided_score",
    "half_space",
    "interval_mean",
    "label_noise",
    "log_ball",
    "log_bivariate_ndtr",
    "log_h",
    "log_interval",
    "log_second_moment",
    "mean_violation",
    "measurement_guidance",
    "path_divergence",
    "prior_divergence",
    "require_start",
    "start_distance",
    "start_divergence",
    "step_violation",
    "total_variation_bound",
    "twisted_transitions",
    "wasserstein_bound",
]
