r"""ART and ART-RL: the clock of a sampler, exact where the data are Gaussian.

How should N noise levels be placed between noise and data?

* :mod:`cosine`: on Gaussian data Euler's method loses the cosine of an angle at every step, exactly;
* :mod:`grids`: equal angles, the best grid for every N; equal sines, the best one of the ancestral sampler;
* :mod:`ancestral`: the variance that the stochastic sampler loses, a sum over its steps;
* :mod:`densities`: where the levels of good grids lie, and the leading constant of every density;
* :mod:`equidistribution`: a grid of any density; the best one for a Gaussian of several scales;
* :mod:`guidance`: a guided flow, whose best grid is another;
* :mod:`path_kl`: the bound that AYS minimises, and its best grid;
* :mod:`clock`: ART's functional, its first integral and multiplier, the duality gap, and the exploratory policy.

The full texts of the papers were not available to us: what is checked here is derived here.
"""

from .ancestral import ancestral_deficit, ancestral_deficits
from .clock import ClockProblem
from .cosine import euler_ratio, grid_w2, std_error
from .densities import error_constant, level_density
from .equidistribution import equidistribute, optimal_grid, scale_weights, scales_density
from .grids import ancestral_grid, flow_grid, path_kl_grid, tangent_grid
from .guidance import guided_ratio, guided_stiffness
from .path_kl import path_kl_steps

__all__ = [
    "ClockProblem",
    "ancestral_deficit",
    "ancestral_deficits",
    "ancestral_grid",
    "equidistribute",
    "error_constant",
    "euler_ratio",
    "flow_grid",
    "grid_w2",
    "guided_ratio",
    "guided_stiffness",
    "level_density",
    "optimal_grid",
    "path_kl_grid",
    "path_kl_steps",
    "scale_weights",
    "scales_density",
    "std_error",
    "tangent_grid",
]
