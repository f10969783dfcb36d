"""What is trained: adjoints against autograd through everything, parts of a batch, and bases that stay."""

import pytest
import torch

from driftproof import UnmetHypothesis
from driftproof.backends.torch.adjoint import (
    FlowTrainer,
    Matching,
    NetworkFlow,
)
from driftproof.backends.torch.adjoint.models import prepared
from driftproof.backends.torch.kit.plan import Plan
from driftproof.backends.torch.pretrained.denoisers import Flux2Denoiser, SiTDenoiser, Velocity
from driftproof.backends.torch.pretrained.small import small_network
from driftproof.numerics.adjoint import adjoints
from tests.small_pipelines import flow_model

pytest.importorskip("diffusers")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def random_adapters(flow):
    """Adapters that do something."""
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in flow.trainable():
            weight.copy_(0.2 * torch.randn_like(weight))


@pytest.mark.parametrize(("plain", "others"), [("none", 1.0), ("rollout", 1.0), ("full", 3.0)])
def test_adjoints_are_derivatives_through_the_unrolled_rollout(plain, others):
    """Independently of vjps and of guidance: the two halves by hand, and autograd through all steps at once."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    def reward(images, prompts):
        return 30.0 * (images**2 * torch.linspace(0.0, 1.0, images.shape[-1])).mean(dim=(1, 2, 3))

    model = flow_model("sit", rank=2, targets=("to_q", "to_v", "proj_out_2"), guidance=3.0)
    made = prepared(model, 3, reward, torch.device("cpu"), seed=0)
    random_adapters(made.flow)
    plan = Plan(max_steps=1, train_batch_size=3, learning_rate=0.1)
    trainer = FlowTrainer(made.flow, made.task, made.times, Matching(0.5, guidance=plain), plan)
    noise, rows = torch.randn(3, *made.task.shape), torch.tensor([0, 1, 0])
    labels = made.task.condition(rows)["label"]
    layers = [layer for layer in made.network.modules() if isinstance(layer, BaseTunerLayer)]

    def network(x, t, label):
        time = torch.full((len(x),), 1.0 - t)
        return -made.network(x, time, class_labels=label, return_dict=False)[0][:, :4]

    def velocity(x, t, weight, adapted):
        for layer in layers:
            layer._disable_adapters = not adapted
        given = network(x, t, labels)
        without = network(x, t, torch.full_like(labels, 5)) if weight != 1.0 else given
        for layer in layers:
            layer._disable_adapters = False
        return without + weight * (given - without)

    t, states = made.times, [noise]
    for k in range(3):
        with torch.no_grad():
            v = velocity(states[k], t[k], 1.0 if plain == "none" else 3.0, True)
            states.append(states[k] + (t[k + 1] - t[k]) * v)
    path = trainer.method.path(noise, made.task.condition(rows))
    torch.testing.assert_close(torch.stack(path.states), torch.stack(states), rtol=1e-5, atol=1e-5)

    _, gradient = made.task.rewards_and_gradients(path.end, rows)
    after = adjoints(path, gradient, trainer.method.vjp(made.task.condition(rows)))
    for k in range(3):
        start = states[k + 1].clone().requires_grad_()
        x = start
        for j in range(k + 1, 3):
            v = velocity(x, t[j], others, False)  # the base moves along the path of the tuned flow
            x = states[j + 1] + (x - x.detach()) + (t[j + 1] - t[j]) * (v - v.detach())
        (want,) = torch.autograd.grad(reward(made.task.decode(x), None).sum(), start)
        torch.testing.assert_close(after[k], -want, rtol=1e-4, atol=1e-5 * float(want.abs().max()))
    # The gradient of the decoder, by differences.
    d = torch.randn_like(noise)
    moved = [reward(made.task.decode(path.end + h * d), None) for h in (1e-2, -1e-2)]
    torch.testing.assert_close(
        (gradient * d).flatten(1).sum(1), (moved[0] - moved[1]) / 2e-2, rtol=2e-2, atol=2e-2
    )


def test_parts_of_a_batch_are_the_batch():
    """Also with checkpointing; only adapters get gradients."""
    found = {}
    for at_once, checkpointing in ((0, False), (1, False), (2, True), (8, True)):
        model = flow_model("flux2", guidance=2.0, at_once=at_once, checkpointing=checkpointing)
        made = prepared(model, 3, lambda i, p: (i**2).flatten(1).sum(1), torch.device("cpu"), seed=0)
        random_adapters(made.flow)
        matching = Matching(0.5, guidance="rollout", keep=0.7)
        trainer = FlowTrainer(
            made.flow,
            made.task,
            made.times,
            matching,
            Plan(max_steps=1, train_batch_size=3, learning_rate=0.1),
        )
        noise = torch.randn(3, *made.task.shape, generator=torch.Generator().manual_seed(0))
        samples = trainer.method.samples(noise, torch.tensor([0, 1, 0]), torch.full((3, 3), 0.5))
        signal = trainer.method.signal(samples)
        (batch,) = trainer.method.times.batches(samples, torch.arange(3), 3, torch.Generator(), first=True)
        loss = trainer.method.loss(batch, samples, signal).each.mean()
        loss.backward()
        grads = {n: w.grad for n, w in made.network.named_parameters() if w.grad is not None}
        assert grads and all("lora" in name for name in grads)
        found[at_once] = torch.cat([loss.detach()[None], *(grad.flatten() for grad in grads.values())])
    for at_once in (1, 2, 8):
        torch.testing.assert_close(
            found[at_once], found[0], rtol=1e-4, atol=1e-5 * float(found[0].abs().max())
        )
    with pytest.raises(UnmetHypothesis, match="at_once >= 1"):
        NetworkFlow(Velocity(SiTDenoiser(small_network("sit"))), at_once=0)


@pytest.mark.slow(ci=True)
@pytest.mark.parametrize("kind", ["sit", "flux2", "stable_diffusion_3"])
def test_adjoints_accumulate_in_single_precision_whatever_the_weights_are(kind):
    """Rounding each of 40 adjoints to 8 bits costs many times what rounding the network costs."""
    flows = {}
    for dtype in ("float32", "bfloat16"):
        torch.manual_seed(2)
        model = flow_model(kind, targets=("to_q", "to_v"), dtype=dtype)
        made = prepared(model, 40, lambda i, p: i.flatten(1).sum(1), torch.device("cpu"), seed=0)
        assert {weight.dtype for weight in made.flow.trainable()} == {torch.float32}
        plan = Plan(max_steps=1, train_batch_size=2, learning_rate=0.1)
        trainer = FlowTrainer(made.flow, made.task, made.times, Matching(1.0), plan)
        rows = torch.tensor([0, 1])
        flows[dtype] = trainer.method.vjp(made.task.condition(rows))
        if dtype == "bfloat16":
            assert next(made.network.parameters()).dtype == torch.bfloat16
            path = trainer.method.path(torch.randn(2, *made.task.shape), made.task.condition(rows))
    gradient = torch.randn_like(path.end)
    want = adjoints(path, gradient, flows["float32"])[0]
    found = adjoints(path, gradient, flows["bfloat16"])[0]
    rounded = -gradient.bfloat16()
    for k in reversed(range(1, 40)):
        pulled = flows["bfloat16"](path.states[k], path.times[k], rounded)
        rounded = rounded - (path.steps[k] * pulled).bfloat16()
    assert found.dtype == torch.float32
    assert 4.0 * float((found - want).norm()) < float((rounded.float() - want).norm())


@pytest.mark.parametrize("beside", ["weights", "adapter"])
def test_the_base_stays_what_it_was_beside_adapters(beside):
    """Other weights that are trained must not move the base; an adapter that is not trained belongs to it."""
    made = prepared(flow_model("flux2"), 2, lambda i, p: i.sum(), torch.device("cpu"), seed=0)
    network = made.network
    if beside == "weights":
        network.proj_out.weight.requires_grad_(True)
    else:
        network.add_adapter(network.peft_config["default"], "style")
        network.set_adapter(["default", "style"])
        with torch.no_grad():
            for name, weight in network.named_parameters():
                if "style" in name:
                    weight.copy_(0.3 * torch.randn_like(weight)).requires_grad_(False)
    flow = NetworkFlow(Velocity(Flux2Denoiser(network)))
    x, condition = torch.randn(2, *made.task.shape), made.task.condition(torch.tensor([0, 1]))
    with torch.no_grad():
        before = flow.base(x, 0.5, condition)
        torch.testing.assert_close(flow.tuned(x, 0.5, condition), before)
        for weight in flow.trainable():
            weight.add_(0.1)
        torch.testing.assert_close(flow.base(x, 0.5, condition), before)
        assert not torch.allclose(flow.tuned(x, 0.5, condition), before)
