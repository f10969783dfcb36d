r"""Transfer and direct learning from samples, and the curves to compare them by.

* :mod:`models`: direct baselines on scikit-learn; the source model behind a transport map;
* :mod:`ridge`: ridge regression towards a source coefficient;
* :mod:`curves`: exponent, floor and burn-in of a learning curve, and the gain of one curve over another.
"""

from .curves import CurveFit, fit_curve, transfer_gain
from .models import BASELINES, Composed, Predictor, direct
from .ridge import ridge_towards

__all__ = [
    "BASELINES",
    "Composed",
    "CurveFit",
    "Predictor",
    "direct",
    "fit_curve",
    "ridge_towards",
    "transfer_gain",
]
