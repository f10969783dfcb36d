"""Dry runs: the memory that they predict is that which torch's allocator reports of the trainings themselves."""

from __future__ import annotations

import importlib
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
for name in ("accelerate", "diffusers", "peft", "transformers"):
    pytest.importorskip(name)

from driftproof import UnmetHypothesis
from driftproof.backends.torch.kit.memory import Estimate, Gpu, Ledger, Machine, gpu_of, imagined
from driftproof.backends.torch.pretrained.shapes import configs_of
from driftproof.backends.torch.pretrained.sit import SIT_XL_2
from driftproof.backends.torch.pretrained.small import small_network
from driftproof.backends.torch.recipes import find, names
from driftproof.backends.torch.reward_gap.methods import AbstractPolicyGradient
from driftproof.backends.torch.rl.trainer import RolloutTrainer
from tests.memory_measured import measured_peak

HERE = Machine(gpu_of("h200"), precision="no", cuda=False)  # with the kernels of this computer
BOUND = 0.15  # what is promised
SHORT = ("budget.epochs=2", "budget.pairs=2", "sampling.steps=2")
STEPS = ("budget.max_steps=2",)


def paper(name: str) -> Any:
    return importlib.import_module(f"driftproof.backends.torch.{name}").main


def estimate(name: str, config: str, *changes: str) -> Estimate:
    found: Estimate = paper(name).estimate(find(name, config), True, changes, HERE)
    return found


def maker(name: str, config: str, *changes: str) -> Callable[[Any], RolloutTrainer[Any]]:
    """The trainer of a recipe, as a training makes it."""
    recipe = paper(name).recipes.load(find(name, config), True, changes)[0]
    made = importlib.import_module(f"driftproof.backends.torch.{name}.experiment")
    match name:
        case "adjoint":
            return lambda accelerator: made.flow_trainer(recipe, accelerator)[0].trainer
        case "score_as_action":
            return lambda accelerator: made.pipeline_trainer(recipe, recipe.actors[0], accelerator)[0]
    return lambda accelerator: made.pipeline_trainer(recipe, accelerator)[0]


PAIRS = {
    "DDPO on a UNet, 8 rows": ("reward_gap", "ddpo-sd15", *SHORT, "budget.prompts=8"),
    "DDPO on a UNet, 12 rows, recomputed": (
        *("reward_gap", "ddpo-sd15", *SHORT, "pipeline.checkpointing=true", "budget.prompts=24"),
        *("budget.per_device_train_batch_size=12", "budget.per_device_rollout_batch_size=4"),
    ),
    "Flow-GRPO on an MMDiT, 24 rows, with a reference": ("reward_gap", "flow-grpo-sd3", *SHORT),
    "MixGRPO on FLUX, 18 rows": (
        *("reward_gap", "mixgrpo-flux", *SHORT, "budget.per_device_train_batch_size=18"),
        *("window.size=1", "budget.num_generations=9"),
    ),
    "actor and critic on a UNet, 4 rows": (
        *("score_as_action", "sd15", "budget.epochs=3", "budget.prompts=8", "sampling.steps=2"),
        *("budget.per_device_train_batch_size=4", "critic.steps=2"),
    ),
    "adjoint matching of SiT, 10 rows": ("adjoint", "sit-xl-2", *STEPS),
    "adjoint matching of FLUX.2, 8 rows": ("adjoint", "flux2-klein-4b", *STEPS),
}


QUICK = (
    "Flow-GRPO on an MMDiT, 24 rows, with a reference",
)  # the others take longer to measure, and CI does


@pytest.mark.parametrize(
    "pair", [pytest.param(pair, marks=() if pair in QUICK else pytest.mark.slow(ci=True)) for pair in PAIRS]
)
def test_the_predicted_peak_is_the_measured_one(pair: str) -> None:
    predicted = estimate(*PAIRS[pair]).peak
    measured = measured_peak(maker(*PAIRS[pair]))
    assert abs(predicted / measured - 1.0) <= BOUND, (pair, predicted, measured)


FLOW_GRPO = PAIRS["Flow-GRPO on an MMDiT, 24 rows, with a reference"]


def test_a_ledger_that_forgets_to_forget_is_out_of_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    right = estimate(*FLOW_GRPO).peak
    monkeypatch.setattr(Ledger, "_drop", lambda self, key, size: self._known.discard(key))
    assert estimate(*FLOW_GRPO).peak > (1.0 + BOUND) / (1.0 - BOUND) * right


def test_what_a_training_keeps_beside_is_noticed_to_the_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    right, kept, size = estimate(*FLOW_GRPO), [], 1 << 20
    loss = AbstractPolicyGradient.loss

    def keeping(self: Any, *given: Any) -> Any:
        if not kept:
            kept.append(torch.zeros(size, dtype=torch.uint8))
        return loss(self, *given)

    monkeypatch.setattr(AbstractPolicyGradient, "loss", keeping)
    assert estimate(*FLOW_GRPO).peak == right.peak + size


def test_shapes_alone_hold_what_numbers_hold() -> None:
    def run(ledger: Ledger) -> tuple[int, int, float]:
        with ledger.phase("run") as spent:
            network = small_network("flux2")
            network(
                hidden_states=torch.randn(2, 16, 16),
                timestep=torch.rand(2),
                encoder_hidden_states=torch.randn(2, 4, 12),
                txt_ids=torch.zeros(2, 4, 4),
                img_ids=torch.zeros(2, 16, 4),
                return_dict=False,
            )[0].sum().backward()
        return spent.peak, ledger.live, spent.single

    run(Ledger())  # what is made once, tables of positions for instance
    with Ledger() as ledger:
        numbers = run(ledger)
    with imagined() as ledger:
        shapes = run(ledger)
    assert numbers[0] > 0
    assert abs(shapes[0] / numbers[0] - 1.0) < 0.01, (numbers, shapes)
    assert shapes[2] == numbers[2]


def test_recomputing_activations_takes_less() -> None:
    kept, recomputed = (
        estimate("reward_gap", "ddpo-sd15", *SHORT, "budget.prompts=16", f"pipeline.checkpointing={flag}")
        for flag in ("false", "true")
    )
    updates = [next(p for p in found.phases if p.name == "update") for found in (kept, recomputed)]
    assert updates[1].peak < 0.75 * updates[0].peak
    assert updates[1].single > updates[0].single


def test_norms_are_cast_as_on_cuda_also_where_they_are_recomputed() -> None:
    def dtypes(cuda: bool) -> list[Any]:
        with imagined(cuda=cuda), torch.autocast("cpu", torch.bfloat16):
            x = torch.zeros(2, 8, dtype=torch.bfloat16)
            return [f(x).dtype for f in (torch.nn.LayerNorm(8), torch.nn.Linear(8, 8))]

    assert dtypes(False) == [torch.bfloat16, torch.bfloat16]
    assert dtypes(True) == [torch.float32, torch.bfloat16]
    given = ("adjoint", "flux2-klein-4b", *STEPS, "pipeline.checkpointing=true")
    main = paper(given[0])
    found = main.estimate(find(*given[:2]), True, given[2:], Machine(HERE.gpu, precision="bf16"))
    assert found.peak > 0  # torch refuses to recompute another dtype


def test_what_does_not_fit_is_told_settings_that_take_less() -> None:
    toy = Machine(Gpu("toy", 0.0, 1.0, 1.0, 1.0), precision="no", cuda=False)
    main = paper("reward_gap")
    found = main.estimate(find("reward_gap", "flow-grpo-sd3"), True, SHORT, toy)
    assert not found.fits
    peaks = list(found.advice.values())
    assert peaks
    assert all(after < before for before, after in itertools.pairwise([found.peak, *peaks]))
    change, peak = next(iter(found.advice.items()))
    assert estimate(*FLOW_GRPO, *change.split(" --set ")).peak == peak
    assert any(f"with {change}" in line for line in found.lines())


def test_processes_share_the_rows() -> None:
    alone, shared = (
        paper("reward_gap").estimate(
            find("reward_gap", "ddpo-sd15"), True, SHORT, Machine(HERE.gpu, count, "no", cuda=False)
        )
        for count in (1, 8)
    )
    work = [sum(phase.single for phase in found.phases) for found in (alone, shared)]
    assert abs(8.0 * work[1] / work[0] - 1.0) < 0.05
    assert shared.peak < alone.peak


# As the models' own pages, or the sizes of their files, tell them.
PARAMETERS = {
    ("stable-diffusion-v1-5", "unet"): 859_520_964,
    ("stable-diffusion-v1-5", "vae"): 83_653_863,
    ("stable-diffusion-xl-base-1.0", "unet"): 2_567_463_684,
    ("stable-diffusion-3.5-medium", "transformer"): 2_243_171_520,
    ("stable-diffusion-3.5-medium", "vae"): 83_819_683,
    ("FLUX.1-dev", "transformer"): 11_901_408_320,
    ("FLUX.2-klein-base-4B", "transformer"): 3_875_544_576,
    ("FLUX.2-klein-base-4B", "vae"): 84_046_115,
}


@pytest.mark.parametrize("part", PARAMETERS)
def test_configurations_are_those_of_the_published_models(part: tuple[str, str]) -> None:
    import diffusers

    config = configs_of(part[0])[part[1]]
    with imagined():
        made = getattr(diffusers, config["_class_name"]).from_config(config)
    assert sum(weight.numel() for weight in made.parameters()) == PARAMETERS[part]


def test_the_reward_model_and_the_flow_are_those_that_are_published() -> None:
    from diffusers import DiTTransformer2DModel
    from transformers import CLIPConfig, CLIPModel

    with imagined():
        clip = CLIPModel(CLIPConfig(**configs_of("openai/clip-vit-large-patch14")["clip"]))
        sit = DiTTransformer2DModel(**{**SIT_XL_2, "num_layers": 1})
    assert sum(weight.numel() for weight in clip.parameters()) == 427_616_513
    assert sum(weight.numel() for weight in sit.parameters()) > 0


@pytest.mark.parametrize(
    ("gpu", "options", "message"),
    [
        ("h20", {}, "did you mean h200"),
        ("h200", {"count": 0}, "at least one processor"),
        ("h200", {"precision": "fp8"}, "one of no, bf16, fp16"),
    ],
)
def test_refused_machines(gpu: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UnmetHypothesis, match=message):
        Machine(gpu_of(gpu), **options)


def test_refused_recipes() -> None:
    with pytest.raises(UnmetHypothesis, match="by rollouts"):
        estimate("reward_gap", "gaussian")
    with pytest.raises(UnmetHypothesis, match=r"stable-diffusion-v1-5.*'someone/model'"):
        estimate("reward_gap", "ddpo-sd15", 'pipeline.name="someone/model"')
    with pytest.raises(UnmetHypothesis, match="divide the rows"):
        paper("reward_gap").estimate(find("reward_gap", "ddpo-sd15"), True, SHORT, Machine(HERE.gpu, 7, "no"))


def test_the_command_writes_its_document_and_nothing_else(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from driftproof.cli import app

    file, out = tmp_path / "plan.json", tmp_path / "out"
    given = ["train", "reward_gap", "--config", "flow-grpo-sd3", "--smoke", "--dry-run", "--gpu", "h100"]
    done = CliRunner().invoke(app, [*given, "--count", "2", "--out", str(out), "--json", str(file)])
    assert done.exit_code == 0, done.output
    assert "2 x h100" in done.output
    document = json.loads(file.read_text(encoding="utf-8"))
    assert document["peak"] == max(phase["peak"] for phase in document["phases"])
    assert document["fits"]
    assert not out.exists()


FULL = [
    *(("reward_gap", name) for name in names("reward_gap") if name != "gaussian"),
    *(("adjoint", name) for name in names("adjoint") if name != "gaussian"),
    ("score_as_action", "sd15"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "config"), FULL)
def test_every_full_recipe_has_a_dry_run(name: str, config: str) -> None:
    found = paper(name).estimate(find(name, config), False, (), Machine(gpu_of("h200")))
    held = sum(found.held.values())
    assert held < found.peak
    assert all(phase.peak >= 0.9 * held for phase in found.phases)
    assert found.fits, found.lines()


@pytest.mark.slow
def test_the_front_page_shows_what_the_command_says() -> None:
    found = paper("reward_gap").estimate(
        find("reward_gap", "ddpo-sd15"), False, (), Machine(gpu_of("h200"), 8)
    )
    assert "\n".join(found.lines()) in (Path(__file__).parent.parent / "README.md").read_text(
        encoding="utf-8"
    )


@pytest.mark.gpu
@pytest.mark.parametrize("pair", PAIRS)
def test_the_peak_on_a_gpu_is_the_predicted_one(pair: str) -> None:
    from accelerate import Accelerator

    main, (name, config, *changes) = paper(PAIRS[pair][0]), PAIRS[pair]
    machine = Machine(gpu_of("h200"), precision="no")
    predicted = main.estimate(find(name, config), True, changes, machine).peak
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    maker(*PAIRS[pair])(Accelerator()).train()
    measured = torch.cuda.max_memory_allocated() - before
    # Models as small as these are less than the workspaces of CUDA's libraries.
    assert predicted <= (1.0 + BOUND) * measured, (pair, predicted, measured)
