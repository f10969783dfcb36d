r"""Score as action: fine-tuning a diffusion by continuous-time control of its score.

The reverse SDE takes the score as its action a,

.. math:: dX = (\ldots + g^2 a)\,d\tau + g\,dB, \qquad
    J = E\Big[r(X_0) - \frac\beta2 \int g^2\,|a - s_{pre}|^2\,dt\Big],

where the integral is the Kullback-Leibler divergence of the path laws.

* :mod:`optimum`: the value function, the optimal action, and the law that it samples;
* :mod:`shifts`: the policies :math:`s_{pre} + \theta`, whose value and policy gradient are closed;
* :mod:`feedback`: the policies :math:`s_{pre} + \theta x`;
* :mod:`trust`: how far a step on old samples may be trusted;
* :mod:`rates`: the advantage rate (q-function) and Gaussian exploration;
* :mod:`evaluation`: what a value network must learn, and where squared TD errors end.
"""

from .evaluation import jensen_gap, mean_square_td_limit, plug_in_value
from .feedback import LinearFeedback
from .optimum import conditional_law, optimal_action, terminal_law, value, value_function_bias
from .rates import exploration_inflation, optimal_exploration, q_function
from .shifts import ShiftedScore, response
from .trust import surrogate, surrogate_error_bound

__all__ = [
    "LinearFeedback",
    "ShiftedScore",
    "conditional_law",
    "exploration_inflation",
    "jensen_gap",
    "mean_square_td_limit",
    "optimal_action",
    "optimal_exploration",
    "plug_in_value",
    "q_function",
    "response",
    "surrogate",
    "surrogate_error_bound",
    "terminal_law",
    "value",
    "value_function_bias",
]
