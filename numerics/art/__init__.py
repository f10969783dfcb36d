r"""Grids in use and grids made: from lists, from measured stiffness, by dynamic programming, and by ART-RL.

* :mod:`baselines`: Karras' family, the shift of flow models, AYS's published lists and other lengths of them;
* :mod:`stiffness`: local errors of a network along its paths, and the grid of a solver's order;
* :mod:`programming`: the best subset of the levels of a fine grid;
* :mod:`trajectories`: from the states of a many-step run: GITS's costs, and the recursion of optimal stepsizes;
* :mod:`nonuniform`: DM-NonUniform's objective, which knows the solver and no data;
* :mod:`churn`: EDM's stochastic sampler on Gaussian data;
* :mod:`actor_critic`: rollouts, moment conditions and gradients of ART-RL;
* :mod:`learning`: the clock that these learn.
"""

from .actor_critic import ClockPaths, actor_gradient, clock_rollout, clock_td_errors, solve_moments
from .baselines import AYS_LEVELS, resample_levels, rho_grid, shifted_grid
from .churn import churn_rates, churned_ratio
from .learning import LearnedClock, learn_clock
from .nonuniform import error_multiplier, nonuniform_grid, solver_weights
from .programming import best_subgrid, step_losses
from .stiffness import mean_stiffness, order_grid, path_acceleration
from .trajectories import departures, nearest_subgrid

__all__ = [
    "AYS_LEVELS",
    "ClockPaths",
    "LearnedClock",
    "actor_gradient",
    "best_subgrid",
    "churn_rates",
    "churned_ratio",
    "clock_rollout",
    "clock_td_errors",
    "departures",
    "error_multiplier",
    "learn_clock",
    "mean_stiffness",
    "nearest_subgrid",
    "nonuniform_grid",
    "order_grid",
    "path_acceleration",
    "resample_levels",
    "rho_grid",
    "shifted_grid",
    "solve_moments",
    "solver_weights",
    "step_losses",
]
