r"""Preference losses of diffusion and flow models: the log-ratio that they read, DSPO, and steps that are clamped.

A denoiser has no likelihood; Diffusion-DPO puts a gap of squared errors in its place,

.. math:: u = \omega\,\big(|\hat y_{ref} - y|^2 - |\hat y - y|^2\big), \qquad L = -\log\sigma\big(\beta(u_w - u_l)\big)

with y what the network predicts.  Every loss of :mod:`losses` takes it: ``dpo_loss(u_w, u_l, beta)``, ``ipo_loss``, ``kto_loss``.
Squared errors of one kind are multiples of those of another at the same :math:`x_t`, so that one beta serves all,

.. math:: |\hat\epsilon - \epsilon| = \frac{\alpha}{\alpha^2 + \sigma^2}|\hat v - v|
        = \frac\alpha{\alpha + \sigma}|\hat u - u| = \frac\alpha\sigma|\hat x_0 - x_0|
        = \sigma\,|\hat s - s|

Shapes that differ raise :class:`UnmetHypothesis`.

References:
    | Diffusion model alignment using direct preference optimization (Wallace et al., 2023),
      https://arxiv.org/abs/2311.12908
    | DSPO: direct score preference optimization for diffusion model alignment (Zhu et al., 2025)
    | Using human feedback to fine-tune diffusion models without any reward model (Yang et al., 2023): D3PO
    | Step-aware preference optimization (Liang et al., 2024): SPO
"""

from __future__ import annotations

import math
from collections.abc import Callable

from driftproof._namespace import Array, Namespace, UnmetHypothesis, public
from driftproof.numerics.samplers.parametrization import Parametrization, output_of
from driftproof.theory.special.elementary import logistic, softplus

from .losses import require_pairs

__all__ = ["clamped_step_loss", "denoising_ratio", "dspo_loss", "noise_error_weight"]


def _require_predictions(subject: str) -> Callable[..., None]:
    def check(xp: Namespace, *, prediction: Array, reference: Array, target: Array, **rest: Array) -> None:
        shape = tuple(target.shape)
        others = {"prediction": prediction, "reference": reference}
        if len(shape) < 2 or any(tuple(v.shape) != shape for v in others.values()):
            got = ", ".join(f"{k} {tuple(v.shape)}" for k, v in {**others, "target": target}.items())
            raise UnmetHypothesis(subject, "prediction, reference and target of one shape (n, ...)", got)
        for name in ("weight", "margin"):
            if name in rest and hasattr(rest[name], "shape") and rest[name].shape not in ((), shape[:1]):
                got = f"shape {tuple(rest[name].shape)} beside {shape}"
                raise UnmetHypothesis(subject, f"{name} () or (n,)", got)

    return check


@public(wide=True, check=_require_predictions("denoising_ratio"), weight=">= 0")
def denoising_ratio(
    xp: Namespace, prediction: Array, reference: Array, target: Array, weight: float | Array = 1.0
) -> Array:
    r"""The stand-in for the log-ratio of an image: the reference's squared error less the model's, *summed*.

    .. math:: u = \omega\,\big(|\hat y_{ref} - y|^2 - |\hat y - y|^2\big)
        = \omega\,(\hat y_{ref} - \hat y)^\top(\hat y_{ref} + \hat y - 2y)

    The product has the digits that the difference of two sums over a latent has lost.

    Arguments:
        prediction: :math:`\hat y`, shape (n, ...).
        reference: :math:`\hat y_{ref}`, of the reference model on the same noisy image.
        target: y, likewise.
        weight: :math:`\omega`, shape () or (n,): :func:`noise_error_weight` makes a beta for noise predictions serve others.

    Returns:
        u, shape (n,).

    Claims: RICH-PO-LOSS-4

    Example:
        >>> denoising_ratio([[1.0, 1.0]], [[0.0, 2.0]], [[1.0, 1.0]]).tolist()
        [2.0]
    """
    axes = tuple(range(1, target.ndim))
    return weight * xp.sum((reference - prediction) * (reference + prediction - 2.0 * target), axis=axes)


@public(wide=True, alpha="> 0", sigma="> 0")
def noise_error_weight(xp: Namespace, alpha: Array, sigma: Array, kind: Parametrization) -> Array:
    r"""The factor from the squared error of a prediction to that of the noise, at the same noisy image.

    .. math:: 1, \quad \Big(\frac\alpha\sigma\Big)^2, \quad \Big(\frac\alpha{\alpha^2 + \sigma^2}\Big)^2, \quad
        \Big(\frac\alpha{\alpha + \sigma}\Big)^2, \quad \sigma^2

    for epsilon, sample, v_prediction, flow_prediction and score.

    Arguments:
        alpha, sigma: Levels of the noise time, > 0, any shape.
        kind: The parametrization of the network, in the words of diffusers.

    Returns:
        The weight, elementwise.

    Claims: RICH-PO-LOSS-4

    Example:
        >>> float(noise_error_weight(0.5, 0.5, "flow_prediction")), float(noise_error_weight(0.5, 1.0, "sample"))
        (0.25, 0.25)
    """
    # The output moves by this where, at a fixed x_t, the noise moves by alpha and the data by -sigma.
    moved = output_of(-sigma, alpha, alpha, sigma, kind)
    root = sigma + 0.0 * alpha if kind == "score" else alpha / moved
    return root * root


@public(wide=True, check=_require_predictions("dspo_loss"), beta="> 0")
def dspo_loss(
    xp: Namespace, prediction: Array, reference: Array, target: Array, margin: Array, beta: float
) -> Array:
    r"""Direct score preference optimisation: regression of the winner's prediction on a target that is pushed.

    .. math:: \big|\hat\epsilon - \epsilon - \beta\,\sigma(-h)\,(\hat\epsilon - \hat\epsilon_{ref})\big|^2

    At the reference its gradient is :math:`2(1 - \beta/2)(\hat\epsilon - \epsilon)`: for beta < 2 the winner is fitted, for beta > 2 the first step leads
    *away* from it.

    Arguments:
        prediction, reference, target: Those of the winner, as for :func:`denoising_ratio`.
        margin: What stands in the sigmoid of Diffusion-DPO, h, shape (n,) or ().
        beta: > 0, not on the scale of Diffusion-DPO's.

    Returns:
        The loss of each pair, summed over the image, shape (n,).

    Claims: RICH-PO-DSPO-1

    Example:
        >>> dspo_loss([[3.0]], [[3.0]], [[1.0]], [0.0], 2.0).tolist(), dspo_loss([[4.0]], [[2.0]], [[1.0]], [0.0], 1.0).tolist()
        ([4.0], [4.0])
    """
    push = beta * logistic(xp, -margin)
    push = xp.reshape(push, (*push.shape, *(1,) * (target.ndim - 1))) if push.ndim else push
    residual = prediction - target - push * (prediction - reference)
    return xp.sum(residual * residual, axis=tuple(range(1, target.ndim)))


@public(wide=True, check=require_pairs("clamped_step_loss"), beta="> 0", clip="in (0, 1)")
def clamped_step_loss(xp: Namespace, chosen: Array, rejected: Array, beta: float, clip: float) -> Array:
    r"""The step-wise loss of D3PO and SPO: DPO of one step's log-ratios, each clamped.

    .. math:: -\log\sigma\big(\beta(\bar u_w - \bar u_l)\big), \qquad
        \bar u = \min\big(\max(u, \log(1 - c)), \log(1 + c)\big)

    The gradient of an answer is exactly 0 where its ratio has left [1 - c, 1 + c], and the loss cannot leave
    :func:`driftproof.theory.rich_po.attainable_losses`.

    Arguments:
        chosen, rejected: Log-ratios of the step, one shape; published scripts *average* them over the image.
        beta: > 0; D3PO 0.1, SPO 10, both with means.
        clip: c in (0, 1); 0.1 in both.

    Returns:
        The loss of each pair.

    Claims: RICH-PO-CLAMP-1

    Example:
        >>> round(float(clamped_step_loss(5.0, -5.0, 10.0, 0.1)), 3), round(float(clamped_step_loss(0.0, 0.0, 10.0, 0.1)), 3)
        (0.126, 0.693)
    """
    low, high = math.log1p(-clip), math.log1p(clip)
    return softplus(xp, -beta * (xp.clip(chosen, low, high) - xp.clip(rejected, low, high)))
