r"""Second oracles: normal laws by quadrature, and the chunked loss of torch against the theory."""

from __future__ import annotations

from typing import Any

import numpy as np

from driftproof.theory.divergences import get
from driftproof.theory.laws import Normal, kl
from driftproof.theory.opd import divergence, gaussian_divergence, logit_gradient
from driftproof.validation import claim, exact, grid
from driftproof.validation.mutants import wrong

from .textbook import NAMES, log_softmax

__all__ = ["ChunkedLoss", "NormalPairs"]

LAWS = ((0.0, 1.0, 0.5, 1.3), (1.0, 0.8, -0.3, 1.0), (0.0, 1.0, 0.0, 1.1))


@claim(
    "OPD-GAUSS-1",
    "Normal students and teachers",
    r"""D_f(N(n, r^2) \Vert N(m, s^2)) = \int p\,f(q/p)\,dx""",
    covers=[gaussian_divergence],
    hypotheses=[r"\mathrm{the\;integral\;converges}"],
)
class NormalPairs:
    @exact(1e-12)
    def closed_forms(gaussian_divergence):
        for m, s, n, r in LAWS:
            p, q = Normal(m, s), Normal(n, r)
            yield "reverse KL", gaussian_divergence(p, q, get("reverse_kl")), kl(p, q)
            yield "forward KL", gaussian_divergence(p, q, get("forward_kl")), kl(q, p)
            affinity = np.sqrt(2 * s * r / (s**2 + r**2)) * np.exp(-((m - n) ** 2) / (4 * (s**2 + r**2)))
            yield "Hellinger", gaussian_divergence(p, q, get("hellinger")), 2.0 - 2.0 * affinity
            gap = 2 * s**2 - r**2
            if gap > 0:  # else the integral of q^2/p is infinite
                second = s**2 / (r * np.sqrt(gap)) * np.exp((m - n) ** 2 / gap)
                yield "Pearson", gaussian_divergence(p, q, get("pearson")), second - 1.0

    # Of alpha(2.5) it is infinite for the wider teachers.
    @exact(1e-11, over=grid(name=[name for name in NAMES if name != "alpha(2.5)"], laws=LAWS))
    def swapping(gaussian_divergence, name, laws):
        m, s, n, r = laws
        p, q, f = Normal(m, s), Normal(n, r), get(name)
        return gaussian_divergence(p, q, f), gaussian_divergence(q, p, f.swap())

    # The integral of q^2/p is infinite for a teacher of twice the variance or more.
    refuses = [
        (gaussian_divergence, Normal(0.0, 1.0), Normal(0.0, 1.5), get("pearson")),
        (gaussian_divergence, Normal(0.0, 1.0), Normal(60.0, 1.0), get("pearson")),
    ]

    mutants = {
        "laws swapped": wrong(gaussian_divergence, p=lambda q: q, q=lambda p: p),
        "f of the inverse ratio": wrong(gaussian_divergence, f=lambda f: f.swap()),
        "teacher a tenth too narrow": wrong(gaussian_divergence, q=lambda q: Normal(q.loc, 0.9 * q.scale)),
    }


def linear_loss(
    h: Any, w: Any, k: Any, v: Any, keep: Any, name: str, chunk: int, temperature: float = 1.0
) -> tuple[Any, Any, Any]:
    """The chunked loss of torch and its gradients in the states and in the head, for arrays of numpy."""
    import torch

    from driftproof.backends.torch.opd.linear import linear_opd_loss

    states, head = (torch.tensor(x, requires_grad=True) for x in (h, w))
    loss = linear_opd_loss(
        states,
        head,
        *(torch.tensor(x) for x in (k, v, keep)),
        divergence=name,
        temperature=temperature,
        chunk_elements=chunk,
    )
    d_states, d_head = torch.autograd.grad(loss, (states, head))
    return loss.detach().numpy(), d_states.numpy(), d_head.numpy()


@claim(
    "OPD-LINEAR-1",
    "The chunked loss of torch is the divergence, and its gradient the exact one",
    r"""L = \frac1N \sum_n D_f\big(q_n \Vert \mathrm{softmax}(W h_n)\big), \qquad
        \partial_{h_n} L = \frac1N\, W^\top \partial_z D_f, \quad \partial_W L = \frac1N \sum_n \partial_z D_f\, h_n^\top""",
    covers=[linear_loss, divergence, logit_gradient],
    hypotheses=[r"\mathrm{logits\;linear\;in\;the\;states}"],
)
class ChunkedLoss:
    @exact(1e-11, requires="torch", over=grid(name=NAMES, chunk=(11, 10**6)))
    def loss_and_gradients_on_numpy(linear_loss, divergence, logit_gradient, name, chunk):
        rng = np.random.default_rng(0)
        h, w = rng.normal(size=(5, 3)), rng.normal(size=(11, 3))
        k, v = rng.normal(size=(5, 2)), rng.normal(size=(11, 2))
        keep = np.asarray([1.0, 1.0, 0.0, 1.0, 1.0])
        f, logp, logq = get(name), log_softmax(h @ w.T), log_softmax(k @ v.T)
        slope = logit_gradient(logp, logq, f) * keep[:, None] / 4.0
        loss, d_h, d_w = linear_loss(h, w, k, v, keep, name, chunk)
        yield "loss", loss, np.sum(divergence(logp, logq, f) * keep) / 4.0
        yield "states", d_h, slope @ w
        yield "head", d_w, slope.T @ h

    mutants = {
        "mask ignored": wrong(linear_loss, keep=lambda keep: 0 * keep + 1),
        "laws swapped": wrong(linear_loss, h=lambda k: k, w=lambda v: v, k=lambda h: h, v=lambda w: w),
        "temperature 2": wrong(linear_loss, temperature=lambda: 2.0),
    }
