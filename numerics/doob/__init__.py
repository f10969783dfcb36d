r"""Learning and using the h-transform: trajectories, losses, particles, placements, the last step.

* :mod:`trajectories`: unguided trajectories and their labels;
* :mod:`losses`: what h, its gradient and the guidance are regressed on;
* :mod:`placements`: the coefficient of guidance wherever a sampler takes it;
* :mod:`particles`: sequential Monte Carlo with h as the twist;
* :mod:`splitting`: multilevel splitting, for events without positives;
* :mod:`finisher`: the last step into the event;
* :mod:`baselines`: guidance by the denoised point, and rejection;
* :mod:`grids`: steps in the posterior variance.
"""

from .baselines import Accepted, plug_in_guidance, reject, residual_guidance
from .finisher import finish, truncated_normal
from .grids import variance_clock_grid
from .losses import (
    covariation_noise,
    covariation_target,
    cross_entropy_loss,
    gradient_penalised_loss,
    guidance_target,
    martingale_loss,
)
from .particles import ParticleRun, effective_size, systematic_ancestors, twisted_particles
from .placements import guided_data, guided_mean, guided_noise, guided_state
from .splitting import multilevel_splitting
from .trajectories import TrajectoryStore, collect

__all__ = [
    "Accepted",
    "ParticleRun",
    "TrajectoryStore",
    "collect",
    "covariation_noise",
    "covariation_target",
    "cross_entropy_loss",
    "effective_size",
    "finish",
    "gradient_penalised_loss",
    "guidance_target",
    "guided_data",
    "guided_mean",
    "guided_noise",
    "guided_state",
    "martingale_loss",
    "multilevel_splitting",
    "plug_in_guidance",
    "reject",
    "residual_guidance",
    "systematic_ancestors",
    "truncated_normal",
    "twisted_particles",
    "variance_clock_grid",
]
