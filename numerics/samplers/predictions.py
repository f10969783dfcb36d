r"""What a denoiser predicts, as a data point and a noise.

With :math:`x_t = \alpha x_0 + \sigma\epsilon` every prediction fixes both:

=================  ====================================  ===========================================
kind               output                                data point
=================  ====================================  ===========================================
epsilon            :math:`\epsilon`                      :math:`(x_t - \sigma\epsilon)/\alpha`
sample             :math:`x_0`                           itself
v_prediction       :math:`\alpha\epsilon - \sigma x_0`   :math:`(\alpha x_t - \sigma v)/(\alpha^2+\sigma^2)`
flow_prediction    :math:`\epsilon - x_0`                :math:`(x_t - \sigma v)/(\alpha + \sigma)`
=================  ====================================  ===========================================

Only the last two are defined at every level, from the data (sigma = 0) to pure noise (alpha = 0).

References:
    | Progressive distillation for fast sampling of diffusion models (Salimans, Ho, 2022), appendix D
    | https://arxiv.org/abs/2202.00512
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public
from driftproof.numerics._checks import same_shape

__all__ = ["Prediction", "data_and_noise"]

Prediction: TypeAlias = Literal["epsilon", "sample", "v_prediction", "flow_prediction"]


def _determined(xp: Namespace, *, alpha: Array, sigma: Array, kind: Prediction, **rest: Any) -> None:
    """The check that the output determines the data point and the noise."""
    same_shape("data_and_noise", "x", rest["x"], output=rest["output"])
    if kind not in ("epsilon", "sample", "v_prediction", "flow_prediction"):
        known = "epsilon, sample, v_prediction or flow_prediction"
        raise UnmetHypothesis("data_and_noise", f"kind is {known}", f"kind = {kind!r}")
    if kind == "epsilon" and not bool(xp.all(alpha > 0)):
        raise UnmetHypothesis("data_and_noise", "alpha > 0 for kind epsilon", "alpha = 0.0")
    if kind == "sample" and not bool(xp.all(sigma > 0)):
        raise UnmetHypothesis("data_and_noise", "sigma > 0 for kind sample", "sigma = 0.0")
    if not bool(xp.all(alpha + sigma > 0)):
        raise UnmetHypothesis("data_and_noise", "alpha + sigma > 0", "alpha = sigma = 0.0")


@public(check=_determined, x="finite", output="finite", alpha=">= 0", sigma=">= 0")
def data_and_noise(
    xp: Namespace, x: Array, output: Array, alpha: Array, sigma: Array, kind: Prediction
) -> tuple[Array, Array]:
    r"""The predicted data point and noise of an output of a denoiser.

    .. math:: x_t = \alpha \hat x_0 + \sigma \hat\epsilon

    Arguments:
        x: The state :math:`x_t`, with shape :math:`(B, *)`.
        output: The output of the denoiser, with the shape of ``x``.
        alpha: The signal level, >= 0; > 0 for ``epsilon``.
        sigma: The noise level, >= 0; > 0 for ``sample``.
        kind: A row of the table above.

    Returns:
        :math:`\hat x_0` and :math:`\hat\epsilon`, with the shape of ``x``.

    Raises:
        UnmetHypothesis: A level at which the output does not determine both, an unknown kind, or shapes that
            differ.

    Claims: REWARD-GAP-PREDICT-1

    Example:
        >>> [float(v) for v in data_and_noise(0.5, 1.0, 0.75, 0.25, "flow_prediction")]
        [0.25, 1.25]
    """
    match kind:
        case "epsilon":
            return (x - sigma * output) / alpha, output
        case "sample":
            return output, (x - alpha * output) / sigma
        case "v_prediction":
            power = alpha * alpha + sigma * sigma
            return (alpha * x - sigma * output) / power, (alpha * output + sigma * x) / power
        case _:
            total = alpha + sigma
            return (x - sigma * output) / total, (x + alpha * output) / total
