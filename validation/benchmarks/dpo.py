"""Diffusion-DPO: our step beside the published one, written plainly, on one small UNet.

The peer is the algebra of SalesforceAIResearch/DiffusionDPO, train.py: means of squared errors, a frozen copy of the UNet as
the reference, ``-logsigmoid(-beta / 2 * (model_diff - ref_diff))``.  Ours is the same loss through the numerics, the reference
being the UNet without its adapters.  Both train the same adapters on the same pairs, times and noise, and must agree in the loss.
What is timed from end to end is a step: noise, forward passes of model and reference, backward pass, Adam.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, final

from . import Row
from ._memory import peak_bytes
from ._timing import one_thread, row, seconds

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["run"]

PAIRS, BETA = 4, 5000.0
_MIB = 2.0**20


def run() -> list[Row]:
    """The step from end to end, and the loss of given predictions alone."""
    from diffusers import UNet2DConditionModel  # noqa: F401  # the network that is timed

    with one_thread():
        return list(_rows())


@final
@dataclass(frozen=True)
class _Bench:
    """A UNet with adapters, its frozen copy, a batch of pairs, and both steps."""

    denoiser: Any
    copied: Any
    reference: Any
    noising: Any
    batch: Any
    objective: Any
    optimizer: Any

    def ours(self) -> Tensor:
        from driftproof.backends.torch.rich_po import compare

        found = compare(self.denoiser, self.reference, self.batch, self.noising, self.objective, "epsilon")
        return self._step(found.losses.mean())

    def published(self) -> Tensor:
        import torch
        from torch.nn.functional import logsigmoid

        b, noising = self.batch, self.noising
        latents, noise = torch.cat([b.chosen, b.rejected]), b.noise.flatten(0, 1)
        times = b.times.flatten()
        alpha, sigma = noising.levels(times, latents)
        noisy, hidden = alpha * latents + sigma * noise, b.condition["prompt"].repeat(2, 1, 1)
        prediction = self.denoiser.network(noisy, times, encoder_hidden_states=hidden).sample
        losses = (prediction - noise).pow(2).mean(dim=[1, 2, 3])
        won, lost = losses.chunk(2)
        with torch.no_grad():
            before = self.copied(noisy, times, encoder_hidden_states=hidden).sample
            won_before, lost_before = (before - noise).pow(2).mean(dim=[1, 2, 3]).chunk(2)
        inside = -0.5 * BETA * ((won - lost) - (won_before - lost_before))
        return self._step(-logsigmoid(inside).mean())

    def _step(self, loss: Tensor) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.optimizer.step()
        return loss.detach()


def _bench() -> _Bench:
    import torch
    from diffusers import UNet2DConditionModel

    from driftproof.backends.torch.pretrained.denoisers import reference_of
    from driftproof.backends.torch.pretrained.lora import add_lora
    from driftproof.backends.torch.pretrained.unets import UNetDenoiser
    from driftproof.backends.torch.rich_po import Noising, Objective, drawn
    from driftproof.backends.torch.schedulers import GDDIMScheduler

    cuda = torch.cuda.is_available()
    device, width = ("cuda", 320) if cuda else ("cpu", 32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=64 if cuda else 16,
            block_out_channels=(width, 2 * width),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=64,
            attention_head_dim=8,
        ).to(device)
        copied = copy.deepcopy(unet).requires_grad_(False)
        add_lora(unet, 8, 8, ("to_q", "to_k", "to_v", "to_out.0"))
        side, generator = int(unet.config.sample_size), torch.Generator(device).manual_seed(0)
        chosen, rejected = torch.randn(2, PAIRS, 4, side, side, generator=generator, device=device)
        prompt = torch.randn(PAIRS, 8, 64, generator=generator, device=device)
    denoiser = UNetDenoiser(unet.to(device).eval())
    noising, objective = Noising.of(GDDIMScheduler()), Objective(BETA, "salesforce")
    pairs = chosen, rejected, torch.ones(PAIRS, device=device), {"prompt": prompt}
    trained = [p for p in unet.parameters() if p.requires_grad]
    reference, batch = reference_of(denoiser), drawn(generator, pairs, noising, objective)
    with torch.no_grad():
        for weight in trained:  # away from the reference, where every loss of a margin is log 2
            weight.add_(0.02 * torch.randn(weight.shape, generator=generator, device=device))
    optimizer = torch.optim.Adam(trained, lr=0.0)  # all work of a step, and the same loss at each
    return _Bench(denoiser, copied.eval(), reference, noising, batch, objective, optimizer)


def _rows() -> Iterator[Row]:
    import torch

    bench = _bench()
    cuda = bench.batch.chosen.is_cuda
    ours, theirs = float(bench.ours()), float(bench.published())
    if not abs(ours - 0.693147) > 1e-3 or abs(ours - theirs) > 1e-4 * ours:
        raise AssertionError(f"dpo: the losses differ, {ours} and {theirs}")
    calls: dict[str, Callable[[], Any]] = {"ours": bench.ours, "published": bench.published}
    peaks = {name: peak_bytes(call, cuda) for name, call in calls.items()}
    spent = seconds(calls, cuda=cuda, repeats=3)
    weights = sum(p.numel() * p.element_size() for p in bench.copied.parameters())
    where = "cuda" if cuda else "CPU seconds, one thread"
    note = (
        f"loss {ours:.4f} both; {PAIRS} pairs, {tuple(bench.batch.chosen.shape)}; peak {peaks['ours'] / _MIB:.0f} MiB beside "
        f"{peaks['published'] / _MIB:.0f}, and no second UNet of {weights / _MIB:.1f} MiB; {where}"
    )
    bytes_ = {"ours_bytes": peaks["ours"], "peer_bytes": peaks["published"] + weights}
    yield row(
        "Diffusion-DPO, a step",
        spent["ours"],
        "DiffusionDPO, as published",
        spent["published"],
        note,
        **bytes_,
    )
    prediction, reference, target = torch.randn(3, 64, 4, 64, 64, device=bench.batch.chosen.device)
    alone = _loss_alone(prediction, reference, target)
    spent = seconds(alone, cuda=cuda, repeats=3)
    peaks = {name: peak_bytes(call, cuda) for name, call in alone.items()}
    note = f"of given predictions, 32 pairs of 16384 numbers; gaps are products, not differences of sums; {where}"
    yield row(
        "Diffusion-DPO, the loss alone",
        spent["ours"],
        "DiffusionDPO, as published",
        spent["published"],
        note,
        ours_bytes=peaks["ours"],
        peer_bytes=peaks["published"],
    )


def _loss_alone(prediction: Tensor, reference: Tensor, target: Tensor) -> dict[str, Callable[[], Any]]:
    import array_api_compat.torch as xp
    from torch.nn.functional import logsigmoid

    from driftproof.numerics.rich_po import denoising_ratio, dpo_loss
    from driftproof.theory.rich_po import summed_beta

    beta = summed_beta(BETA, prediction[0].numel())
    prediction.requires_grad_()

    def ours() -> None:
        won, lost = denoising_ratio.kernel(xp, prediction, reference, target).chunk(2)
        dpo_loss.kernel(xp, won, lost, beta).mean().backward()

    def published() -> None:
        errors = (prediction - target).pow(2).mean(dim=[1, 2, 3])
        before = (reference - target).pow(2).mean(dim=[1, 2, 3])
        (won, lost), (won_before, lost_before) = errors.chunk(2), before.chunk(2)
        loss = -logsigmoid(-0.5 * BETA * ((won - lost) - (won_before - lost_before))).mean()
        loss.backward()  # type: ignore[no-untyped-call]

    return {"ours": ours, "published": published}
