"""Hypothesis strategies for the objects of this library, heavy on edges: import them in your own tests.

.. code-block:: python

    from hypothesis import given, strategies as st
    from driftproof.validation import strategies as dp

    @given(process=dp.besq(), data=st.data())
    def test_mine(process, data):
        t = data.draw(dp.times(process=process))
        x = data.draw(dp.states(process, shape=(8,)))
        assert (process.transition(x, t).mean >= 0).all()

Every strategy mixes a short list of edges (end points, exact integers, magnitudes at which series take
over from asymptotics, boundary states) with log-uniform values, and shrinks towards the first edge.
"""

from .arrays import float_arrays, grids, probabilities, psd_matrices, states
from .laws import data_laws, laws
from .numbers import dimensions, positive, times
from .processes import besq, cir, flow, gbm, processes, ve, vp

__all__ = [
    "besq",
    "cir",
    "data_laws",
    "dimensions",
    "float_arrays",
    "flow",
    "gbm",
    "grids",
    "laws",
    "positive",
    "probabilities",
    "processes",
    "psd_matrices",
    "states",
    "times",
    "ve",
    "vp",
]
