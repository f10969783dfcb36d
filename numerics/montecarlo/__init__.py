"""Monte Carlo with an error budget: no verdict without its false-alarm rate and what it could have seen.

Levels of one in a hundred million are usual here (:class:`ErrorBudget`), far outside of what the central
limit theorem vouches for, so that every p-value is exact, or a bound that holds at every n, or says in
``Verdict.validity`` what it approximates:

================================= ==================================== ======================================
test                              p-value                              holds for
================================= ==================================== ======================================
:func:`mean_test`                 bound (known variance, symmetric or  the named assumption
                                  bounded draws), or exact
:func:`variance_test`             exact; bound (known kurtosis)        Gaussian draws; any law
:func:`two_sample_mean_test`      bound                                equal laws, no moments
:func:`distribution_test`         exact (Kolmogorov-Smirnov)           any continuous law; bound with jumps
:func:`two_sample_distribution_test` exact (Gnedenko-Korolyuk)         any continuous law; bound with ties
:func:`gaussian_test`             exact (Hotelling, likelihood ratio)  Gaussian vectors
:func:`poisson_test`              exact                                counts
:func:`binomial_test`             exact                                counts
:func:`goodness_of_fit_test`      exact if small, else bound           cells of any size
:func:`sequential_test`           that of the test inside              fresh independent batches
:func:`confidence_sequence`       time-uniform                         all sample sizes at once
================================= ==================================== ======================================

Everything is computed on the host in float64, from draws of any namespace.
"""

from .counts import binomial_test, goodness_of_fit_test, poisson_test
from .distributions import distribution_test, two_sample_distribution_test
from .gaussian import gaussian_test
from .means import Assumption, mean_test, two_sample_mean_test, variance_test
from .power import detectable_effect, required_samples
from .sequences import ConfidenceSequence, best_rho, confidence_sequence
from .sequential import sequential_test
from .verdict import POWER, ErrorBudget, Verdict

__all__ = [
    "POWER",
    "Assumption",
    "ConfidenceSequence",
    "ErrorBudget",
    "Verdict",
    "best_rho",
    "binomial_test",
    "confidence_sequence",
    "detectable_effect",
    "distribution_test",
    "gaussian_test",
    "goodness_of_fit_test",
    "mean_test",
    "poisson_test",
    "required_samples",
    "sequential_test",
    "two_sample_distribution_test",
    "two_sample_mean_test",
    "variance_test",
]
