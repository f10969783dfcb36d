"""Samplers of tokens: right ones, and ones with a fault that has a name."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

__all__ = ["RIGHT", "WRONG"]


class Tokens:
    """The shape that the audit asks for; ``propose`` draws a token for every position."""

    temperature: ClassVar[float] = 1.0

    def set_timesteps(self, num_inference_steps: int) -> None:
        self.steps = num_inference_steps
        self.timesteps = torch.arange(num_inference_steps)

    def propose(self, logits: Tensor) -> Tensor:
        p = torch.softmax(logits[0] / self.temperature, dim=-1)
        return torch.multinomial(p, 1).T

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor) -> tuple[Tensor]:
        raise NotImplementedError


class Posterior(Tokens):
    """Uniform corruption: a clean token is drawn, then the law of the token at the next level given both."""

    late: ClassVar[int] = 0

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor) -> tuple[Tensor]:
        size, clean = model_output.shape[-1], self.propose(model_output)
        t, s = (int(timestep) - self.late) / self.steps, (int(timestep) + 1 - self.late) / self.steps
        eye = torch.eye(size, dtype=model_output.dtype)
        a = t / s if s > 0.0 else 0.0
        law = (a * eye[sample] + (1.0 - a) / size) * (s * eye[clean] + (1.0 - s) / size)
        return (torch.multinomial(law[0], 1).T,)


class LateLevels(Posterior):
    late = 1


class Descending(Posterior):
    """The same, with noise levels as timesteps."""

    def set_timesteps(self, num_inference_steps: int) -> None:
        super().set_timesteps(num_inference_steps)
        self.timesteps = self.timesteps.flip(0)

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor) -> tuple[Tensor]:
        return super().step(model_output, self.steps - 1 - int(timestep), sample)


class BackToFront(Posterior):
    """Right, if it is given the index of the step; its timesteps are another thing."""

    def set_timesteps(self, num_inference_steps: int) -> None:
        super().set_timesteps(num_inference_steps)
        self.timesteps = self.timesteps.flip(0)


class Masked(Tokens):
    """Positions in random order, shared out to the steps without loss."""

    mask_token_id = 3

    def count(self, timestep: int, length: int) -> int:
        return (timestep + 1) * length // self.steps - timestep * length // self.steps

    def order(self, proposed: Tensor, logits: Tensor, hidden: Tensor) -> Tensor:
        return hidden[torch.randperm(len(hidden))]

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor) -> tuple[Tensor]:
        proposed, hidden = self.propose(model_output), torch.nonzero(sample[0] == self.mask_token_id)[:, 0]
        shown = self.order(proposed, model_output, hidden)[: self.count(int(timestep), sample.shape[1])]
        after = sample.clone()
        after[0, shown] = proposed[0, shown]
        return (after,)


class LeftToRight(Masked):
    def order(self, proposed: Tensor, logits: Tensor, hidden: Tensor) -> Tensor:
        return hidden


class Absorbing(Masked):
    """Every masked token by itself, with the chance of the linear schedule."""

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor) -> tuple[Tensor]:
        chance = torch.full(sample.shape, 1.0 / (self.steps - int(timestep)), dtype=torch.float64)
        shown = (torch.bernoulli(chance) > 0.0) & (sample == self.mask_token_id)
        return (torch.where(shown, self.propose(model_output), sample),)


class LowConfidence(Masked):
    def order(self, proposed: Tensor, logits: Tensor, hidden: Tensor) -> Tensor:
        confidence = logits[0].gather(1, proposed.T)[:, 0][hidden]
        return hidden[torch.argsort(-confidence, stable=True)]


class TooFew(Masked):
    """The same whole number at every step: where the steps do not divide the length, masks are left."""

    def count(self, timestep: int, length: int) -> int:
        return length // self.steps


class LastPrediction(Tokens):
    """Noise until the last step, which keeps everything."""

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor) -> tuple[Tensor]:
        if int(timestep) + 1 < self.steps:
            return (torch.randint(0, model_output.shape[-1], sample.shape),)
        return (self.propose(model_output),)


class Renoised(Tokens):
    """The surest position is kept, the other is noise, at the last step too."""

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor) -> tuple[Tensor]:
        sure = model_output[0].max(dim=-1).values.argmax()
        noise = torch.randint(0, model_output.shape[-1], sample.shape)
        kept = torch.arange(sample.shape[1]) == sure
        return (torch.where(kept, self.propose(model_output), noise),)


class SomeNoise(LastPrediction):
    """A tenth of the tokens is random to the end."""

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor) -> tuple[Tensor]:
        kept = torch.bernoulli(torch.full(sample.shape, 0.9, dtype=torch.float64)) > 0.0
        noise = torch.randint(0, model_output.shape[-1], sample.shape)
        return (torch.where(kept, self.propose(model_output), noise),)


class Tempered(LastPrediction):
    temperature = 0.5


class Greedy(LastPrediction):
    def propose(self, logits: Tensor) -> Tensor:
        return logits.argmax(dim=-1)


class TemperedTwice(LastPrediction):
    """The temperature belongs to the logits, and is applied to the probabilities of them once more."""

    def propose(self, logits: Tensor) -> Tensor:
        p = torch.softmax(logits[0] / 0.8, dim=-1) ** (1.0 / 0.8)
        return torch.multinomial(p, 1).T


class Neighbour(LastPrediction):
    """Logits that are shifted by one position, as those of a model that predicts the next token are."""

    def propose(self, logits: Tensor) -> Tensor:
        return super().propose(logits.roll(1, dims=1))


class OneDraw(LastPrediction):
    """The outcomes of a table are drawn once for all positions: each token has its law, and both hang together."""

    def propose(self, logits: Tensor) -> Tensor:
        p = torch.softmax(logits[0].double(), dim=-1)
        edges = torch.cat([torch.zeros(1, dtype=p.dtype), p.cumsum(-1).reshape(-1)]).clamp(max=1.0).unique()
        middle = (edges[1:] + edges[:-1]) / 2.0
        u = middle[torch.multinomial(edges.diff(), 1)]
        return (p.cumsum(-1) <= u).sum(-1).clamp(max=p.shape[-1] - 1)[None]


class NoToken(LastPrediction):
    """Counts tokens from 1."""

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor) -> tuple[Tensor]:
        (found,) = super().step(model_output, timestep, sample)
        return (found + 1 if int(timestep) + 1 == self.steps else found,)


class OddCounts(Masked):
    """The last of an odd number of steps is forgotten where there are several."""

    def count(self, timestep: int, length: int) -> int:
        return length if self.steps == 1 or self.steps == 4 else super().count(timestep, length)

    def propose(self, logits: Tensor) -> Tensor:
        return logits.argmax(dim=-1) if self.steps == 2 else super().propose(logits)


# With what their verdict says, and at which severity.
RIGHT = (Posterior, Descending, Masked, LeftToRight, Absorbing)
WRONG = {
    LateLevels: ("diverges", "a share of"),
    BackToFront: ("converges", "with its timesteps in the opposite order"),
    LowConfidence: ("diverges", "(1 - a)^2 for 1 - a"),
    TooFew: ("diverges", "are masks, or no tokens"),
    LastPrediction: ("conditional", "right for a model that does not look at the canvas"),
    Renoised: ("diverges", "1 of 2 tokens is uniformly random"),
    SomeNoise: ("diverges", "a share of 0.100 of its tokens is uniformly random"),
    Tempered: ("conditional", "draws at temperature 0.5"),
    Greedy: ("conditional", "takes the likeliest token: temperature 0"),
    TemperedTwice: ("conditional", "draws at temperature 0.64"),
    Neighbour: ("diverges", "another law"),
    OneDraw: ("diverges", "are not drawn independently"),
    NoToken: ("diverges", "are masks, or no tokens"),
    OddCounts: ("uneven", "takes the likeliest token"),
}
