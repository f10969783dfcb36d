"""Adapters to diffusers against the pipelines' own calls, and small models trained end to end."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from driftproof import UnmetHypothesis
from driftproof.backends.torch.adjoint import (
    FlowTrainer,
    Matching,
    NetworkFlow,
    main,
)
from driftproof.backends.torch.adjoint.config import RECIPES as SHIPPED
from driftproof.backends.torch.adjoint.models import prepared
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.pretrained.denoisers import Flux2Denoiser, SD3Denoiser, SiTDenoiser, Velocity
from driftproof.backends.torch.pretrained.loader import noise_times
from driftproof.backends.torch.pretrained.sit import converted
from driftproof.backends.torch.pretrained.small import small_network, small_parts
from driftproof.backends.torch.rl.rewards import make_reward
from tests.small_pipelines import flow_model

pytest.importorskip("diffusers")
RECIPES = Path(__file__).parent.parent / "backends" / "torch" / "recipes" / "adjoint"


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_flux2_is_called_as_its_pipeline_calls_it():
    from diffusers import Flux2KleinPipeline

    network = small_network("flux2").eval()
    x, prompt = torch.randn(2, 16, 4, 6), torch.randn(2, 3, 12)
    with torch.no_grad():
        ours = Velocity(Flux2Denoiser(network))(x, 0.7, {"prompt": prompt})
        ids = Flux2KleinPipeline._prepare_latent_ids(x)
        theirs = network(
            hidden_states=Flux2KleinPipeline._pack_latents(x),
            timestep=torch.full((2,), 0.7),
            encoder_hidden_states=prompt,
            txt_ids=Flux2KleinPipeline._prepare_text_ids(prompt),
            img_ids=ids,
            return_dict=False,
        )[0]
        theirs = Flux2KleinPipeline._unpack_latents_with_ids(theirs, ids, 4, 6)
    torch.testing.assert_close(ours, theirs)


def test_guidance_runs_both_halves():
    network = small_network("flux2").eval()
    x = torch.randn(2, 16, 4, 4)
    rows = {"prompt": torch.randn(2, 3, 12), "negative": torch.randn(2, 3, 12)}
    with torch.no_grad():
        given, without = (
            Velocity(Flux2Denoiser(network))(x, 0.4, {"prompt": rows[n]}) for n in ("prompt", "negative")
        )
        torch.testing.assert_close(
            Velocity(Flux2Denoiser(network, 3.0))(x, 0.4, rows),
            without + 3.0 * (given - without),
            rtol=1e-4,
            atol=1e-5,
        )
        with pytest.raises(UnmetHypothesis, match="negative conditions"):
            Velocity(Flux2Denoiser(network, 3.0))(x, 0.4, {"prompt": rows["prompt"]})


def test_sd3_takes_a_thousand_times_the_noise_time():
    network = small_network("stable_diffusion_3").eval()
    x, rows = torch.randn(2, 4, 8, 8), {"prompt": torch.randn(2, 3, 8), "pooled": torch.randn(2, 6)}
    with torch.no_grad():
        theirs = network(x, rows["prompt"], rows["pooled"], torch.full((2,), 250.0), return_dict=False)[0]
        torch.testing.assert_close(Velocity(SD3Denoiser(network))(x, 0.25, rows), theirs)


def sit_state(layers, width, classes):
    """Random weights under the names of the published SiT."""
    shapes = {
        "x_embedder.proj": (width, 4, 2, 2),
        "t_embedder.mlp.0": (width, 256),
        "t_embedder.mlp.2": (width, width),
        "final_layer.adaLN_modulation.1": (2 * width, width),
        "final_layer.linear": (32, width),
    }
    for i in range(layers):
        shapes |= {
            f"blocks.{i}.adaLN_modulation.1": (6 * width, width),
            f"blocks.{i}.attn.qkv": (3 * width, width),
            f"blocks.{i}.attn.proj": (width, width),
            f"blocks.{i}.mlp.fc1": (4 * width, width),
            f"blocks.{i}.mlp.fc2": (width, 4 * width),
        }
    state = {"y_embedder.embedding_table.weight": torch.randn(classes + 1, width)}
    for name, shape in shapes.items():
        state[f"{name}.weight"] = 0.3 * torch.randn(shape)
        state[f"{name}.bias"] = 0.3 * torch.randn(shape[0])
    return state


def published_sit(state, positions, x, t, labels, heads):
    """The forward pass of SiT, written from its definition: time to the data, velocity to the data."""

    def linear(name, value):
        return F.linear(value, state[f"{name}.weight"], state[f"{name}.bias"])

    frequencies = torch.exp(-math.log(10_000) * torch.arange(128) / 128)
    angles = t[:, None] * frequencies
    embedded = torch.cat([angles.cos(), angles.sin()], dim=-1)
    c = linear("t_embedder.mlp.2", F.silu(linear("t_embedder.mlp.0", embedded)))
    c = c + state["y_embedder.embedding_table.weight"][labels]
    name = "x_embedder.proj"
    h = F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride=2).flatten(2).transpose(1, 2)
    h = h + positions
    norm = lambda value: F.layer_norm(value, value.shape[-1:], eps=1e-6)
    layers = sum(key.endswith("attn.proj.weight") for key in state)
    for i in range(layers):
        b = f"blocks.{i}"
        parts = linear(f"{b}.adaLN_modulation.1", F.silu(c)).chunk(6, dim=1)
        shift, scale, gate, shift2, scale2, gate2 = (p[:, None] for p in parts)
        q, k, v = linear(f"{b}.attn.qkv", norm(h) * (1 + scale) + shift).chunk(3, dim=-1)
        split = lambda value: value.unflatten(-1, (heads, -1)).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(split(q), split(k), split(v)).transpose(1, 2).flatten(2)
        h = h + gate * linear(f"{b}.attn.proj", mixed)
        hidden = F.gelu(linear(f"{b}.mlp.fc1", norm(h) * (1 + scale2) + shift2), approximate="tanh")
        h = h + gate2 * linear(f"{b}.mlp.fc2", hidden)
    shift, scale = (p[:, None] for p in linear("final_layer.adaLN_modulation.1", F.silu(c)).chunk(2, dim=1))
    out = linear("final_layer.linear", norm(h) * (1 + scale) + shift)
    side = x.shape[-1] // 2
    image = out.reshape(-1, side, side, 2, 2, 8).permute(0, 5, 1, 3, 2, 4).reshape(-1, 8, 2 * side, 2 * side)
    return image.chunk(2, dim=1)[0]


def test_converted_sit_weights_give_the_published_velocity():
    network = small_network("sit", layers=2).eval()
    state = sit_state(2, 16, 5)
    missing = network.load_state_dict(converted(state, 2), strict=False)
    assert not missing.unexpected_keys and all("pos_embed" in name for name in missing.missing_keys)
    x, labels, t = torch.randn(3, 4, 4, 4), torch.tensor([0, 3, 5]), 0.3
    with torch.no_grad():
        ours = Velocity(SiTDenoiser(network))(x, t, {"label": labels})
        positions = network.pos_embed.pos_embed
        theirs = published_sit(state, positions, x, torch.full((3,), 1.0 - t), labels, heads=2)
    torch.testing.assert_close(ours, -theirs, rtol=1e-4, atol=1e-4)
    with pytest.raises(KeyError):
        converted({}, 1)


@pytest.mark.parametrize("kind", ["sit", "flux2", "stable_diffusion_3"])
def test_small_models_train_and_their_vjps_are_right(kind):
    choice = make_reward(SHIPPED.load(RECIPES / "sit-xl-2.toml", True)[0].reward, torch.device("cpu"))
    model = flow_model(kind)
    made = prepared(model, 3, choice, torch.device("cpu"), seed=0)
    rows = torch.tensor([0, 1])
    condition, x, a = (
        made.task.condition(rows),
        torch.randn(2, *made.task.shape),
        torch.randn(2, *made.task.shape),
    )
    # The transpose against a derivative along a direction.
    d = torch.randn_like(x)
    v, pulled = made.flow.vjp(x, 0.6, a, condition)
    torch.testing.assert_close(v, made.flow.base(x, 0.6, condition))
    with torch.no_grad():
        h = 1e-2
        pushed = (made.flow.base(x + h * d, 0.6, condition) - made.flow.base(x - h * d, 0.6, condition)) / (
            2 * h
        )
    torch.testing.assert_close((pulled * d).sum(), (pushed * a).sum(), rtol=2e-2, atol=2e-2)
    # Adapters begin at zero: no control yet.
    with torch.no_grad():
        torch.testing.assert_close(made.flow.tuned(x, 0.6, condition), made.flow.base(x, 0.6, condition))
    matching = Matching(lam=0.1, last=2, mode="frozen", chosen=2)
    plan = Plan(max_steps=2, train_batch_size=4, learning_rate=0.05, ema_decay=0.0)
    trainer = FlowTrainer(made.flow, made.task, made.times, matching, plan)
    log = trainer.train().log
    assert bool(torch.isfinite(log).all()) and float(log[0, 2]) > 0.0
    with torch.no_grad():
        assert not torch.equal(made.flow.tuned(x, 0.6, condition), made.flow.base(x, 0.6, condition))


@pytest.mark.parametrize("kind", ["sit", "flux2"])
def test_checkpointing_changes_no_adjoint_of_a_tuned_model(kind):
    """The recomputation must see the base network, too, although adapters are on outside."""
    pulled = {}
    for checkpointing in (False, True):
        model = flow_model(kind, checkpointing=checkpointing)
        made = prepared(model, 2, lambda i, p: i.flatten(1).sum(1), torch.device("cpu"), seed=0)
        torch.manual_seed(1)
        with torch.no_grad():
            for weight in made.flow.trainable():
                weight.copy_(torch.randn_like(weight))
        x, a = torch.randn(2, *made.task.shape), torch.randn(2, *made.task.shape)
        condition = made.task.condition(torch.tensor([0, 1]))
        pulled[checkpointing] = made.flow.vjp(x, 0.6, a, condition)[1]
    torch.testing.assert_close(pulled[True], pulled[False])


@pytest.mark.parametrize("guidance", ["none", "rollout", "full"])
def test_the_modes_of_guidance(guidance):
    model = flow_model("flux2", guidance=3.0)
    made = prepared(model, 2, lambda i, p: i.flatten(1).sum(1), torch.device("cpu"), seed=0)
    plan = Plan(max_steps=1, train_batch_size=2, learning_rate=0.05)
    trainer = FlowTrainer(made.flow, made.task, made.times, Matching(0.1, guidance=guidance), plan)
    trainer.train()
    noise, rows = torch.randn(2, *made.task.shape), torch.tensor([0, 1])
    condition = made.task.condition(rows)
    path = trainer.method.path(noise, condition)
    with torch.no_grad():
        v = made.flow.tuned(noise, 1.0, condition, guidance != "none")
    torch.testing.assert_close(path.states[1], noise - 0.5 * v)


def test_guidance_needs_a_guided_velocity():
    model = flow_model("flux2")
    made = prepared(model, 2, lambda i, p: i.flatten(1).sum(1), torch.device("cpu"), seed=0)
    plan = Plan(max_steps=1, train_batch_size=2, learning_rate=0.05)
    with pytest.raises(UnmetHypothesis, match="a guided velocity"):
        FlowTrainer(made.flow, made.task, made.times, Matching(0.1, guidance="rollout"), plan).train()


def test_without_adapters_a_frozen_copy_is_the_base():
    network = small_network("sit")
    flow = NetworkFlow(Velocity(SiTDenoiser(network)))
    x, condition = torch.randn(2, 4, 4, 4), {"label": torch.tensor([0, 1])}
    before = flow.base(x, 0.5, condition)
    with torch.no_grad():
        network.proj_out_2.weight.add_(1.0)
    torch.testing.assert_close(flow.base(x, 0.5, condition), before)
    assert not torch.allclose(flow.tuned(x, 0.5, condition), before)
    with pytest.raises(UnmetHypothesis, match="both velocities share a network"):
        NetworkFlow(Velocity(SiTDenoiser(network)), Velocity(SiTDenoiser(small_network("sit"))))
    with pytest.raises(UnmetHypothesis, match="some weight requires a gradient"):
        NetworkFlow(Velocity(SiTDenoiser(small_network("sit").requires_grad_(False))))


def test_the_grid_of_a_scheduler_is_in_noise_time():
    from diffusers import FlowMatchEulerDiscreteScheduler

    parts = small_parts(flow_model("stable_diffusion_3"), ("cat",), torch.device("cpu"))
    times = noise_times(parts.scheduler_config, "stable_diffusion_3", 5, parts.shape)
    assert times[0] == 1.0 and times[-1] == 0.0 and all(s > t for s, t in pairwise(times))
    config = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True).config
    shifted = noise_times(config, "flux2", 5, parts.shape)
    assert shifted[0] == 1.0 and shifted[-1] == 0.0 and shifted[1] > 0.8


@pytest.mark.slow(ci=True)
def test_a_small_sit_through_the_command_and_again_from_its_checkpoint(tmp_path):
    text = (RECIPES / "sit-xl-2.toml").read_text()
    cut = text.replace("max_steps = 40, train_batch_size = 8", "max_steps = 3, train_batch_size = 2").replace(
        "held_out = 16", "held_out = 4"
    )
    (tmp_path / "small.toml").write_text(cut)
    reports = []
    for _ in range(2):
        main(tmp_path / "small.toml", True, tmp_path / "out")
        reports.append(json.loads((tmp_path / "out" / "report.json").read_text()))
    assert reports[0]["tables"] == reports[1]["tables"]
    assert (tmp_path / "out" / "checkpoints" / "lora" / "pytorch_lora_weights.safetensors").stat().st_size > 0


def test_recipes_name_modules_that_exist():
    """The targets of the full recipes are layers of the classes that they load."""
    for name, layers in (("flux2-klein-4b", "flux2"), ("sit-xl-2", "sit")):
        recipe, _ = SHIPPED.load(RECIPES / f"{name}.toml", False)
        modules = [n for n, _ in small_network(layers).named_modules()]
        for target in recipe.pipeline.lora.targets:
            assert any(n == target or n.endswith(f".{target}") for n in modules), target
        assert replace(recipe, held_out=8).held_out == 8


def test_mixed_precision_leaves_no_control_where_there_is_none():
    """Adapters at zero: base and tuned velocity are rounded alike, and adjoints stay in single precision."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(True)
    try:
        accelerator = Accelerator(cpu=True, mixed_precision="bf16")
        model = flow_model("flux2")
        made = prepared(model, 2, lambda i, p: i.flatten(1).sum(1), torch.device("cpu"), seed=0)
        plan = Plan(max_steps=1, train_batch_size=2, learning_rate=0.05)
        trainer = FlowTrainer(made.flow, made.task, made.times, Matching(0.1), plan, accelerator=accelerator)
        noise, rows = torch.randn(2, *made.task.shape), torch.tensor([0, 1])
        found = trainer.evaluate(noise, rows)
        torch.testing.assert_close(found.costs, -found.rewards)  # no running cost at all
        assert found.losses.dtype == torch.float32
        assert bool(torch.isfinite(trainer.train().log).all())
    finally:
        AcceleratorState._reset_state(True)
