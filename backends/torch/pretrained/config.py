"""Which published model is trained, and its adapter."""

from __future__ import annotations

from dataclasses import field
from typing import Annotated, Literal, TypeAlias, final

from pydantic import NonNegativeInt, PositiveInt

from driftproof._namespace import UnmetHypothesis
from driftproof.backends.torch.kit.identity import HOW
from driftproof.backends.torch.kit.schema import NOT_EMPTY, validated

__all__ = ["DIFFUSIONS", "Kind", "Lora", "PipelineModel"]

Kind: TypeAlias = Literal[
    "stable_diffusion", "stable_diffusion_xl", "stable_diffusion_3", "flux", "flux2", "sit", "unconditional"
]
DIFFUSIONS: frozenset[Kind] = frozenset(
    {"stable_diffusion", "stable_diffusion_xl", "unconditional"}
)  # the others are flows


@final
@validated(frozen=True, slots=True)
class Lora:
    """Arguments of PEFT's ``LoraConfig``."""

    rank: PositiveInt
    alpha: int
    targets: Annotated[tuple[str, ...], NOT_EMPTY]


@final
@validated(frozen=True, slots=True)
class PipelineModel:
    """A pipeline of diffusers, or a SiT.

    Arguments:
        kind: Its family.
        lora: The adapter that is trained.
        name: For ``from_pretrained`` (safetensors only, no remote code), or a folder; for a SiT the file of its
            weights.  ``zoo:NAME`` for a small trained one of :func:`.models.zoo`, and for its ``vae`` so as well.  Empty
            for a small configuration of the same classes with random weights.
        vae: Of a SiT, for ``from_pretrained``.
        guidance: The weight of classifier-free guidance, as in the pipeline.
        side: Height and width of the images; 0 for those of the configuration.
        dtype: Of the frozen weights.
        prompts: The prompts, or
        prompt_file: a file with one a line, or
        labels: the classes of a SiT.
        revision: Of the repository.
        checkpointing: Recompute activations in backward passes.
        at_once: Rows that the network is given at a time, where a trainer cuts no batches of its own; 0 for all.
    """

    kind: Kind
    lora: Lora
    name: str = ""
    vae: str = ""
    guidance: float = 1.0
    side: NonNegativeInt = 0
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    prompts: tuple[str, ...] = ()
    prompt_file: str = field(default="", metadata=HOW)  # the prompts themselves are known by their digest
    labels: tuple[int, ...] = ()
    revision: str = "main"
    checkpointing: bool = field(default=False, metadata=HOW)
    at_once: NonNegativeInt = field(default=0, metadata=HOW)

    def __post_init__(self) -> None:
        given = [bool(self.prompts), bool(self.prompt_file), bool(self.labels)]
        if sum(given) != 1 or given[2] != (self.kind == "sit"):
            hypothesis = "prompts or a prompt_file, and labels for sit"
            got = (
                f"{len(self.prompts)} prompts, prompt_file = {self.prompt_file!r}, {len(self.labels)} labels"
            )
            raise UnmetHypothesis("PipelineModel", hypothesis, got)
