"""What a network predicts, and the step that is taken of it."""

from __future__ import annotations

import numpy as np

from driftproof.numerics.samplers import data_and_noise, gddim_moments, predicted_moments
from driftproof.validation import claim, exact
from driftproof.validation.mutants import wrong

__all__ = ["FourPredictions"]


@claim(
    "REWARD-GAP-PREDICT-1",
    "Four predictions, one step",
    r"""x = \alpha x_0 + \sigma\epsilon, \quad v = \alpha\epsilon - \sigma x_0, \quad u = \epsilon - x_0
        \ \Rightarrow\ (\hat x_0, \hat\epsilon) = (x_0, \epsilon) \text{ from each of } \epsilon, x_0, v, u""",
    covers=[data_and_noise, predicted_moments],
    hypotheses=[r"\alpha > 0 \text{ for } \epsilon", r"\sigma > 0 \text{ for } x_0"],
)
class FourPredictions:
    @exact(1e-13)
    def each_gives_both(data_and_noise):
        x0, eps = np.asarray([0.3, -2.0, 0.0]), np.asarray([-1.0, 0.4, 2.0])
        for alpha, sigma in ((0.8, 0.6), (1.0, 40.0), (0.25, 0.75), (0.9, 1e-3)):
            x = alpha * x0 + sigma * eps
            outputs = {
                "epsilon": eps,
                "sample": x0,
                "v_prediction": alpha * eps - sigma * x0,
                "flow_prediction": eps - x0,
            }
            for kind, output in outputs.items():
                got = data_and_noise(x, output, alpha, sigma, kind)
                scale = max(1.0, sigma / alpha) if kind == "epsilon" else max(1.0, alpha / sigma)
                yield f"{kind}, alpha = {alpha}", np.stack(got) / scale, np.stack([x0, eps]) / scale

    @exact(1e-13)
    def the_step_is_that_of_the_noise(data_and_noise, predicted_moments):
        x, v = np.asarray([0.3, -2.0]), np.asarray([-1.0, 0.4])
        for t, s in ((0.8, 0.3), (0.5, 0.0)):
            for eta in (0.0, 0.7, 3.0):
                data, eps = data_and_noise(x, v, 1.0 - t, t, "flow_prediction")
                got = predicted_moments(data, eps, 1.0 - t, t, 1.0 - s, s, eta)
                want = gddim_moments(x, x + (1.0 - t) * v, 1.0 - t, t, 1.0 - s, s, eta)
                yield f"t = {t}, eta = {eta}, mean", got[0], want[0]
                yield f"t = {t}, eta = {eta}, std", got[1], want[1]

    refuses = [(data_and_noise, 1.0, 1.0, 0.0, 1.0, "epsilon")]

    mutants = {
        "levels of the flow swapped": wrong(
            data_and_noise,
            alpha=lambda alpha, sigma, kind: sigma if kind == "flow_prediction" else alpha,
            sigma=lambda alpha, sigma, kind: alpha if kind == "flow_prediction" else sigma,
        ),
        "sign of v": wrong(
            data_and_noise, output=lambda output, kind: -output if kind == "v_prediction" else output
        ),
        "eta squared": wrong(predicted_moments, eta=lambda eta: eta**2),
    }
