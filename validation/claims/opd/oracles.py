r"""Second oracles: normal laws by quadrature, and the chunked loss of torch against the theory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np

from driftproof.theory.divergences import get
from driftproof.theory.laws import Normal, kl
from driftproof.theory.opd import divergence, gaussian_divergence, logit_gradient
from driftproof.validation import Thing, boundary, claim, exact, raises

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

    @exact(1e-11)
    def swapping(gaussian_divergence):
        for name in NAMES:
            for m, s, n, r in LAWS:
                if name == "alpha(2.5)":  # infinite for the wider teachers
                    continue
                p, q, f = Normal(m, s), Normal(n, r), get(name)
                yield name, gaussian_divergence(p, q, f), gaussian_divergence(q, p, f.swap())

    @boundary()
    def divergent_integrals_are_errors(gaussian_divergence):
        """The integral of q^2/p is infinite for a teacher of twice the variance or more."""
        yield raises(ValueError, gaussian_divergence, Normal(0.0, 1.0), Normal(0.0, 1.5), get("pearson"))
        yield raises(ValueError, gaussian_divergence, Normal(0.0, 1.0), Normal(60.0, 1.0), get("pearson"))

    mutants = {
        "laws swapped": lambda p, q, f: gaussian_divergence(q, p, f),
        "f of the inverse ratio": lambda p, q, f: gaussian_divergence(p, q, f.swap()),
        "teacher a tenth too narrow": lambda p, q, f: gaussian_divergence(p, Normal(q.loc, 0.9 * q.scale), f),
    }


@claim(
    "OPD-LINEAR-1",
    paper="opd",
    title="The chunked loss of torch is the divergence, and its gradient the exact one",
    statement=r"""L = \frac1N \sum_n D_f\big(q_n \Vert \mathrm{softmax}(W h_n)\big), \qquad
        \partial_{h_n} L = \frac1N\, W^\top \partial_z D_f, \quad \partial_W L = \frac1N \sum_n \partial_z D_f\, h_n^\top""",
    hypotheses=[r"\mathrm{logits\;linear\;in\;the\;states}"],
    vouches=[logit_gradient],
)
class ChunkedLoss:
    thing = staticmethod(lambda h, w, k, v, keep, name, chunk: _linear(h, w, k, v, keep, name, chunk))

    @exact(tolerance=1e-11, requires="torch")
    def loss_and_gradients_on_numpy(thing: Thing) -> Iterator[Any]:
        rng = np.random.default_rng(0)
        h, w = rng.normal(size=(5, 3)), rng.normal(size=(11, 3))
        k, v = rng.normal(size=(5, 2)), rng.normal(size=(11, 2))
        keep = np.asarray([1.0, 1.0, 0.0, 1.0, 1.0])
        for name in NAMES:
            f = get(name)
            logp, logq = log_softmax(h @ w.T), log_softmax(k @ v.T)
            slope = logit_gradient(logp, logq, f) * keep[:, None] / 4.0
            for chunk in (11, 10**6):
                loss, d_h, d_w = thing(h, w, k, v, keep, name, chunk)
                yield f"{name}, loss", loss, np.sum(divergence(logp, logq, f) * keep) / 4.0
                yield f"{name}, states", d_h, slope @ w
                yield f"{name}, head", d_w, slope.T @ h

    mutants: ClassVar[dict[str, Thing]] = {
        "mask ignored": lambda h, w, k, v, keep, name, chunk: _linear(h, w, k, v, 0 * keep + 1, name, chunk),
        "laws swapped": lambda h, w, k, v, keep, name, chunk: _linear(k, v, h, w, keep, name, chunk),
        "temperature 2": lambda h, w, k, v, keep, name, chunk: _linear(h, w, k, v, keep, name, chunk, 2.0),
    }


def _linear(
    h: Any, w: Any, k: Any, v: Any, keep: Any, name: str, chunk: int, temperature: float = 1.0
) -> tuple[Any, Any, Any]:
    import torch

    from driftproof.backends.torch.opd.linear import linear_opd_loss

    states, head = (torch.tensor(x, requires_grad=True) for x in (h, w))
    loss = linear_opd_loss(
        states,
        head,
        torch.tensor(k),
        torch.tensor(v),
        torch.tensor(keep),
        divergence=name,
        temperature=temperature,
        chunk_elements=chunk,
    )
    d_states, d_head = torch.autograd.grad(loss, (states, head))
    return loss.detach().numpy(), d_states.numpy(), d_head.numpy()
