r"""The exact twist of a chain on finitely many states.

.. math:: h_k(x) = \sum_y P_k(x, y)\, h_{k+1}(y), \qquad P^h_k(x, y) = \frac{P_k(x, y)\,h_{k+1}(y)}{h_k(x)}

For :math:`h_N = 1_A` the twisted chain is the chain given that it ends in A, step by step: what particles and
networks approximate.  For any :math:`h_N = e^{r}` it is the chain tilted by its reward at the end.

Shapes that do not match raise :class:`UnmetHypothesis`.

Symbols:
    log_transitions: :math:`\log P_k`, shape (N, S, S), rows from x to y; minus infinity where there is no way.
    log_terminal: :math:`\log h_N`, shape (S,); minus infinity outside of the event.
"""

from __future__ import annotations

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public
from driftproof.theory.special.elementary import log_sum_exp

__all__ = ["chain_twists", "twisted_transitions"]


def _fits(xp: Namespace, *, log_transitions: Array, **rest: Array) -> None:
    shape, other = tuple(log_transitions.shape), tuple(next(iter(rest.values())).shape)
    steps, states = (shape[0], shape[-1]) if len(shape) == 3 else (0, 0)
    wanted = {(states,), (steps + 1, states)}
    if len(shape) != 3 or 0 in shape or shape[1] != shape[2] or other not in wanted:
        hypothesis = "log_transitions (N, S, S) beside log_terminal (S,) or log_twists (N + 1, S)"
        raise UnmetHypothesis("chain_twists", hypothesis, f"shapes {shape}, {other}")


@public(wide=True, check=_fits)
def chain_twists(xp: Namespace, log_transitions: Array, log_terminal: Array) -> Array:
    r"""The logarithms of the probabilities of the event from every state at every step.

    .. math:: \log h_k(x) = \log \sum_y e^{\log P_k(x, y) + \log h_{k+1}(y)}

    Arguments:
        log_transitions, log_terminal: Symbols of the module.

    Returns:
        log h, shape (N + 1, S); the first row is at the start, the last one ``log_terminal``.

    Claims: DOOB-CHAIN-1

    Example:
        >>> import numpy as np
        >>> fair = np.log(np.full((1, 2, 2), 0.5))
        >>> np.exp(chain_twists(fair, np.log(np.asarray([0.5, 0.25])))).tolist()
        [[0.375, 0.375], [0.5, 0.25]]
    """
    levels = [log_terminal]
    for k in range(log_transitions.shape[0] - 1, -1, -1):
        levels.append(log_sum_exp(xp, log_transitions[k, :, :] + levels[-1][None, :]))
    return xp.stack(levels[::-1])


@public(wide=True, check=_fits)
def twisted_transitions(xp: Namespace, log_transitions: Array, log_twists: Array) -> Array:
    r"""The logarithms of the transitions of the chain given the event.

    .. math:: \log P^h_k(x, y) = \log P_k(x, y) + \log h_{k+1}(y) - \log h_k(x)

    Arguments:
        log_transitions: Symbols of the module.
        log_twists: log h, shape (N + 1, S), as from :func:`chain_twists`.

    Returns:
        Array (N, S, S), whose rows sum to 1 in probability; a row from which the event is out of reach is left as it
        is, since the chain given the event is never there.

    Claims: DOOB-CHAIN-1

    Example:
        >>> import numpy as np
        >>> fair = np.log(np.full((1, 2, 2), 0.5))
        >>> terminal = np.log(np.asarray([0.75, 0.25]))
        >>> np.round(np.exp(twisted_transitions(fair, chain_twists(fair, terminal))[0, 0]), 12).tolist()
        [0.75, 0.25]
    """
    after, now = log_twists[1:, None, :], log_twists[:-1, :, None]
    reachable = now > -xp.inf
    twisted = log_transitions + after - xp.where(reachable, now, xp.zeros_like(now))
    return xp.where(reachable, twisted, log_transitions)
