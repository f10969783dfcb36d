"""GDDIMScheduler: diffusers' numbers where they are right, exact laws elsewhere, densities."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from driftproof.backends.torch.schedulers import GDDIMScheduler

SD = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "set_alpha_to_one": False,
    "steps_offset": 1,
}
ETAS = (0.0, 0.3, 1.0, 2.5)


def network(x, t):
    return torch.tanh(x) + 0.1 * x


def draw(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# -- beside diffusers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("schedule", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_eta_zero_and_one_are_diffusers_ddim(kind, spacing, eta, schedule):
    """diffusers computes its coefficients in float32, where 1 - a - s^2 cancels; here it has float64 for them."""
    settings = {**SD, "beta_schedule": schedule, "clip_sample": False}
    peer = diffusers.DDIMScheduler(**settings, prediction_type=kind, timestep_spacing=spacing)
    ours = GDDIMScheduler.from_config(peer.config)
    assert torch.equal(ours.alphas_cumprod, peer.alphas_cumprod)
    peer.alphas_cumprod, peer.final_alpha_cumprod = (
        value.double() for value in (peer.alphas_cumprod, peer.final_alpha_cumprod)
    )
    peer.set_timesteps(20)
    ours.set_timesteps(20)
    assert torch.equal(ours.timesteps, peer.timesteps) and ours.timesteps.dtype == peer.timesteps.dtype
    x = draw(2, 4, 8, 8, dtype=torch.float64)
    for i, t in enumerate(peer.timesteps):
        z = draw(2, 4, 8, 8, seed=i + 1, dtype=torch.float64)
        out = network(x, t)
        theirs = peer.step(out, t, x, eta=eta, variance_noise=z if eta else None)
        mine = ours.step(out, t, x, eta=eta, noise=z)
        for name in ("prev_sample", "pred_original_sample"):
            got, want = getattr(mine, name), getattr(theirs, name)
            assert float((got - want).abs().max()) <= 1e-10 * float(want.abs().max()), (name, int(t))
        x = theirs.prev_sample


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_out_of_the_box_in_single_precision(eta):
    peer = diffusers.DDIMScheduler(**SD, clip_sample=False)
    ours = GDDIMScheduler.from_config(peer.config)
    peer.set_timesteps(20)
    ours.set_timesteps(20)
    x = draw(2, 4, 8, 8)
    for i, t in enumerate(peer.timesteps):
        z = draw(2, 4, 8, 8, seed=i + 1)
        theirs = peer.step(network(x, t), t, x, eta=eta, variance_noise=z if eta else None).prev_sample
        mine = ours.step(network(x, t), t, x, eta=eta, noise=z).prev_sample
        assert float((mine - theirs).abs().max()) <= 1e-6 * float(theirs.abs().max())
        x = theirs


def test_clipping_and_zero_snr_are_diffusers():
    settings = {**SD, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
    peer = diffusers.DDIMScheduler(**settings, rescale_betas_zero_snr=True, clip_sample_range=0.7)
    ours = GDDIMScheduler.from_config(peer.config)
    assert ours.config.clip_sample  # a default of the other class, kept
    peer.set_timesteps(10)
    ours.set_timesteps(10)
    assert float(ours.alphas_cumprod[-1]) == 0.0
    x = draw(2, 4, 8, 8)
    for t in peer.timesteps:
        out = network(x, t)
        theirs, mine = peer.step(out, t, x).prev_sample, ours.step(out, t, x).prev_sample
        assert torch.allclose(mine, theirs, rtol=1e-5, atol=1e-5)
        x = theirs
    # From pure noise every eta > 0 forgets the state and draws afresh.
    state = ours.step(x, ours.timesteps[0], x, eta=0.5, noise=torch.zeros_like(x))
    data = ours.step(x, ours.timesteps[0], x, eta=0.5).pred_original_sample
    assert torch.allclose(state.prev_sample, float(ours._grid.alpha[1]) * data, rtol=1e-6)


@pytest.mark.parametrize(
    "settings", [{"shift": 1.0}, {"shift": 3.0}, {"shift": 3.0, "use_dynamic_shifting": True}]
)
@pytest.mark.parametrize("custom", [False, True])
def test_flows_are_diffusers_euler_at_eta_zero(settings, custom):
    peer = diffusers.FlowMatchEulerDiscreteScheduler(**settings)
    ours = GDDIMScheduler.from_config(peer.config)
    assert ours.config.prediction_type == "flow_prediction"
    mu = {"mu": 0.8} if "use_dynamic_shifting" in settings else {}
    grid = {"sigmas": np.linspace(1.0, 0.1, 10)} if custom else {"num_inference_steps": 10}
    peer.set_timesteps(**grid, **mu)
    ours.set_timesteps(**grid, **mu)
    assert torch.allclose(ours.timesteps, peer.timesteps, rtol=1e-6)
    assert torch.allclose(ours.sigmas, peer.sigmas, rtol=1e-6)
    x = y = draw(2, 4, 8, 8)
    for t, u in zip(peer.timesteps, ours.timesteps, strict=True):
        x = peer.step(network(x, t), t, x, return_dict=False)[0]
        y = ours.step(network(y, u), u, y, return_dict=False)[0]
    assert torch.allclose(x, y, rtol=1e-5, atol=2e-6)


RESPACINGS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas")


@pytest.mark.parametrize("name", RESPACINGS)
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_respaced_grids_are_those_of_diffusers(name, spacing):
    settings = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", name: True}
    peer = diffusers.EulerDiscreteScheduler(**settings, timestep_spacing=spacing, steps_offset=1)
    ours = GDDIMScheduler.from_config(peer.config)
    peer.set_timesteps(8)
    ours.set_timesteps(8)
    assert torch.allclose(ours.sigmas, peer.sigmas, rtol=1e-5)
    assert torch.allclose(ours.timesteps, peer.timesteps.float(), rtol=1e-4, atol=5e-3)
    ours.set_timesteps(timesteps=[900, 20])  # one's own grid is taken as it is
    assert ours.timesteps.tolist() == [900, 20]
    flow = diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0, **{name: True})
    twin = GDDIMScheduler.from_config(flow.config)
    for grid in ({"num_inference_steps": 8}, {"sigmas": [1.0, 0.6, 0.5, 0.1]}):
        flow.set_timesteps(**grid)
        twin.set_timesteps(**grid)
        assert torch.allclose(twin.sigmas, flow.sigmas, rtol=1e-5)
        assert torch.allclose(twin.timesteps, flow.timesteps, rtol=1e-5)


def test_flows_of_the_multistep_solvers_are_flows():
    """As Sana and Wan write theirs: betas by default, and a flow all the same."""
    settings = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
    for solver in (diffusers.DPMSolverMultistepScheduler, diffusers.UniPCMultistepScheduler):
        peer = solver(**settings)
        ours = GDDIMScheduler.from_config(peer.config)
        assert (ours.config.prediction_type, ours.config.shift) == ("flow_prediction", 3.0)
        assert GDDIMScheduler.from_config(peer.config, shift=5.0).config.shift == 5.0
        assert GDDIMScheduler.from_config(ours.config).config.shift == 3.0
        peer.set_timesteps(8)
        ours.set_timesteps(timesteps=peer.timesteps.tolist())  # one name for one level
        assert torch.allclose(ours.sigmas, peer.sigmas, atol=1e-3)


def test_a_run_ends_where_the_configuration_says():
    peer = diffusers.EulerDiscreteScheduler(final_sigmas_type="sigma_min")
    ours = GDDIMScheduler.from_config(peer.config)
    peer.set_timesteps(4)  # whole timesteps: Euler does not round others
    ours.set_timesteps(4)
    assert torch.allclose(ours.sigmas, peer.sigmas, rtol=1e-5)
    assert float(ours.sigmas[-1]) > 0.0


def test_the_forward_process_is_diffusers():
    peer = diffusers.DDIMScheduler(**SD)
    ours = GDDIMScheduler(**SD)
    x, z, t = draw(5, 4, 8, 8), draw(5, 4, 8, 8, seed=1), torch.tensor([0, 1, 500, 998, 999])
    assert torch.allclose(ours.add_noise(x, z, t), peer.add_noise(x, z, t), rtol=1e-5, atol=1e-6)
    assert torch.allclose(ours.get_velocity(x, z, t), peer.get_velocity(x, z, t), rtol=1e-5, atol=1e-6)
    flow = GDDIMScheduler(prediction_type="flow_prediction")
    half = flow.add_noise(x, z, torch.full((5,), 500.0))
    assert torch.allclose(half, 0.5 * (x + z)) and torch.equal(flow.get_velocity(x, z, t), z - x)
    assert torch.equal(flow.scale_noise(x, torch.full((5,), 500.0), z), half)
    assert ours.scale_model_input(x) is x and len(ours) == 1000 and ours.init_noise_sigma == 1.0


# -- exact laws -----------------------------------------------------------------------------------------


def output_for(kind, a, b, x0, eps):
    return {
        "epsilon": eps,
        "sample": x0,
        "v_prediction": a * eps - b * x0,
        "flow_prediction": eps - x0,
    }[kind]


@pytest.mark.parametrize("kind", ["epsilon", "sample", "v_prediction", "flow_prediction"])
@pytest.mark.parametrize("eta", [*ETAS, 6.0])
@pytest.mark.parametrize("grid", ["default", "timesteps", "sigmas"])
def test_data_at_one_point_keep_their_exact_law_on_every_grid(kind, eta, grid):
    """Mean and variance of a run, by the steps on (0, 1, noise): exact for data at one point, for every eta."""
    flow = kind == "flow_prediction"
    scheduler = GDDIMScheduler(prediction_type=kind) if flow else GDDIMScheduler(**SD, prediction_type=kind)
    own = {
        "timesteps": {"timesteps": [900.5, 700, 300, 17]},
        "sigmas": {"sigmas": [0.9, 0.5, 0.2] if flow else [11.0, 3.0, 0.4]},
        "default": {"num_inference_steps": 7},
    }[grid]
    scheduler.set_timesteps(**own)
    x0 = 0.8
    mean, variance = None, None
    levels = list(zip(scheduler._grid.alpha, scheduler._grid.sigma, strict=True))
    for t, (a, b), (c, d) in zip(scheduler.timesteps, levels[:-1], levels[1:], strict=True):
        if mean is None:
            mean, variance = a * x0, b * b
        x = torch.tensor([[0.0], [1.0], [0.0]], dtype=torch.float64)
        z = torch.tensor([[0.0], [0.0], [1.0]], dtype=torch.float64)
        out = output_for(kind, a, b, x0 + 0.0 * x, (x - a * x0) / b)
        moved = scheduler.step(out, t, x, eta=eta, noise=z).prev_sample[:, 0].numpy()
        slope, spread = moved[1] - moved[0], moved[2] - moved[0]
        mean, variance = moved[0] + slope * mean, slope**2 * variance + spread**2
        assert mean == pytest.approx(c * x0, rel=1e-9, abs=1e-9)
        assert variance == pytest.approx(d * d, rel=1e-8, abs=1e-12)


def test_own_grids_are_the_levels_that_were_asked_for():
    scheduler = GDDIMScheduler(**SD)
    ratio = ((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod).sqrt()
    scheduler.set_timesteps(timesteps=[800, 650, 20])
    assert scheduler.timesteps.dtype == torch.int64
    assert torch.allclose(scheduler.sigmas[:3], ratio[[800, 650, 20]])
    scheduler.set_timesteps(sigmas=[float(ratio[800]), float(ratio[20]), 0.0])
    assert torch.allclose(scheduler.timesteps, torch.tensor([800.0, 20.0]), atol=1e-2)
    assert float(scheduler.sigmas[-1]) == 0.0
    flow = GDDIMScheduler(prediction_type="flow_prediction", shift=3.0)
    flow.set_timesteps(timesteps=[750, 250])  # named after the shift
    assert flow.sigmas.tolist() == [0.75, 0.25, 0.0]


# -- densities ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_density_of_a_stored_step_is_that_of_the_draw(dtype):
    scheduler = GDDIMScheduler(**SD)
    scheduler.set_timesteps(10)
    x = draw(3, 4, 8, 8).to(dtype)
    out, t = network(x, 0).requires_grad_(), scheduler.timesteps[4]
    generator = torch.Generator().manual_seed(3)
    drawn = scheduler.step(out, t, x, eta=1.5, generator=generator, return_log_prob=True)
    again = scheduler.step(out, t, x, eta=1.5, prev_sample=drawn.prev_sample.detach(), return_log_prob=True)
    assert drawn.prev_sample.dtype == dtype and drawn.log_prob.dtype == torch.float32
    assert torch.equal(again.log_prob, drawn.log_prob) and drawn.log_prob.shape == (3,)
    mean, std = scheduler.moments(out, t, x, eta=1.5)
    law = torch.distributions.Normal(mean, std)
    want = law.log_prob(drawn.prev_sample.float()).sum(dim=(1, 2, 3))
    assert torch.allclose(drawn.log_prob, want, rtol=1e-5)
    again.log_prob.sum().backward()
    assert bool(torch.isfinite(out.grad).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_of_a_drawn_step_is_that_of_a_policy(dtype):
    """The state that was drawn is an action: through its own draw log p would not depend on the model."""
    scheduler = GDDIMScheduler(**SD)
    scheduler.set_timesteps(10)
    x, out = draw(3, 4, 8, 8).to(dtype), draw(3, 4, 8, 8, seed=1).to(dtype).requires_grad_()
    t, z = scheduler.timesteps[4], draw(3, 4, 8, 8, seed=2).to(dtype)
    drawn = scheduler.step(out, t, x, eta=1.5, noise=z, return_log_prob=True)
    got = torch.autograd.grad(drawn.log_prob.sum(), out)[0].float()
    gain = scheduler._row(t, 1.5, x).output
    mean, std = scheduler.moments(out, t, x, eta=1.5)
    want = gain * (drawn.prev_sample.float() - mean) / std**2
    assert torch.allclose(got, want.detach(), rtol=1e-2 if dtype == torch.bfloat16 else 1e-4, atol=1e-4)
    assert drawn.prev_sample.requires_grad  # the path itself stays differentiable


def test_a_batch_of_timesteps_is_its_rows():
    scheduler = GDDIMScheduler(**SD)
    scheduler.set_timesteps(10)
    x, out, z = draw(3, 4, 2, 2), draw(3, 4, 2, 2, seed=1), draw(3, 4, 2, 2, seed=2)
    t = scheduler.timesteps[[1, 7, 4]]
    whole = scheduler.step(out, t, x, eta=0.7, noise=z, return_log_prob=True)
    for i in range(3):
        one = slice(i, i + 1)
        alone = scheduler.step(out[one], t[i], x[one], eta=0.7, noise=z[one], return_log_prob=True)
        assert torch.allclose(whole.prev_sample[one], alone.prev_sample, rtol=1e-6)
        assert torch.allclose(whole.log_prob[one], alone.log_prob, rtol=1e-5)


def test_generators_seeds_and_half_precision():
    scheduler = GDDIMScheduler(**SD, eta=1.0)
    scheduler.set_timesteps(10)
    x, out, t = draw(2, 4, 8, 8), draw(2, 4, 8, 8, seed=1), scheduler.timesteps[3]
    runs = [scheduler.step(out, t, x, generator=torch.Generator().manual_seed(5))[0] for _ in range(2)]
    assert torch.equal(*runs)
    several = [torch.Generator().manual_seed(k) for k in (1, 2)]
    assert scheduler.step(out, t, x, generator=several)[0].shape == x.shape
    low = scheduler.step(out.half(), t, x.half(), eta=0.0)[0]
    single = scheduler.step(out.half().float(), t, x.half().float(), eta=0.0)[0]
    assert low.dtype == torch.float16 and torch.equal(low, single.half())
