"""A small call of every public function of arrays that is no kernel, in the arrays that ``a`` makes of lists.

Results are what the tests compare; a call without arrays in its arguments makes some itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import sympy as sp
from scipy import stats

from driftproof.numerics import (
    adjoint,
    art,
    csdm,
    montecarlo,
    opd,
    rates,
    samplers,
    sensing,
    transfer,
    transport,
)
from driftproof.numerics import diffpo as masked
from driftproof.numerics import doob as particles
from driftproof.numerics import reward_gap as gaps
from driftproof.numerics import rich_po as preferences
from driftproof.numerics import score_as_action as control
from driftproof.numerics import tweedie as reverse
from driftproof.theory import adjoint as flows
from driftproof.theory import art as clocks
from driftproof.theory import csdm as bounds
from driftproof.theory import diffpo, divergences, doob, laws, reward_gap, rewards, score_as_action, tweedie
from driftproof.theory import opd as exact
from driftproof.theory import rich_po as tilts
from driftproof.theory import transfer as moved
from driftproof.theory.laws import Discrete, Gamma, Gaussian, Normal
from driftproof.theory.processes import BESQ, VE, VP, Flow
from driftproof.theory.rewards import Linear, Quadratic

__all__ = ["CALLS"]

DRAWS = [0.31, 1.42, 0.73, 2.24, 0.95, 1.16, 0.57, 1.88]
POINTS = [[0.0], [1.0], [2.5], [3.5]]
OTHERS = [[1.0], [2.0], [4.0], [4.5]]
SKETCH = [[1.0, 0.5, -0.25], [0.25, -1.0, 0.5]]
STEPS = [1.0, 0.5, 0.0]
COV = [[2.0, 0.5], [0.5, 1.0]]
U = sp.Symbol("u", positive=True)


def _flow(a: Any) -> Any:
    return flows.GaussianFlow(a([0.5]), a([[4.0]]))


def _path(a: Any) -> Any:
    return adjoint.rollout(lambda x, t: x, a([[4.0], [2.0]]), STEPS)


def _controls(a: Any) -> list[Any]:
    return [a([[0.1], [0.2]]), a([[0.3], [-0.4]])]


def _gaussian(a: Any) -> Gaussian:
    return Gaussian(a([0.5, -0.5]), a([[2.0, 0.5], [0.5, 1.0]]))


def _reward(a: Any) -> Quadratic:
    return Quadratic(a([1.0, 0.5]), a([[1.0, 0.25], [0.25, 2.0]]))


def _policy(a: Any) -> Any:
    return score_as_action.ShiftedScore(
        VP(2.0, 2.0, 1.0), Gaussian(a([0.0]), a([[1.0]])), Quadratic(a([1.0]), a([[3.0]])), 0.5, a([0.0])
    )


def _problem(a: Any) -> tuple[Any, ...]:
    return Flow(), _gaussian(a), _reward(a)


def _denoiser(a: Any) -> Any:
    return diffpo.TabularDenoiser(a([[[0.1 * i, 0.5], [-0.3, 0.2 * i]] for i in range(9)]))


def _guided(a: Any) -> tuple[Any, ...]:
    event = doob.Union(
        [doob.half_space(a([1.0, 0.5]), 0.7), doob.half_space(a([0.0, 1.0]), -1.0, below=True)]
    )
    return VP(), _gaussian(a), event, a([[0.5, 0.2], [-1.0, 0.3]]), a([0.2, 0.6])


def _advantages(f: Any) -> Callable[[Any], Any]:
    return lambda a: f.advantage(a([-0.5, 0.25]))


CALLS: Mapping[str, Callable[[Any], Any]] = {
    "numerics.adjoint.adjoints": lambda a: adjoint.adjoints(_path(a), a([[1.0], [2.0]]), lambda x, t, v: v),
    "numerics.adjoint.chosen_steps": lambda a: adjoint.chosen_steps(a([0.5, 0.5]), [0.0, 0.9]),
    "numerics.adjoint.full_adjoints": lambda a: adjoint.full_adjoints(
        _path(a), a([[1.0], [2.0]]), lambda x, t, v: v, lambda x, t, v: 0.5 * v, lambda k, v: 0.1 * v
    ),
    "numerics.adjoint.matching_loss": lambda a: adjoint.matching_loss(
        _path(a), _controls(a), [a([[1.0], [0.5]]), a([[0.5], [0.25]])], 2.0
    ),
    "numerics.adjoint.matching_round": lambda a: adjoint.matching_round(
        _flow(a), adjoint.uncontrolled(_flow(a), 2), Linear(a([1.0])), 0.5, a([[0.3], [-1.0], [0.8]]), STEPS
    ),
    "numerics.adjoint.policy_rollout": lambda a: adjoint.policy_rollout(
        _flow(a), adjoint.uncontrolled(_flow(a), 2), a([[0.3], [-1.0]]), STEPS
    ),
    "numerics.adjoint.rollout": _path,
    "numerics.adjoint.step_probabilities": lambda a: adjoint.step_probabilities(5),
    "numerics.adjoint.trajectory_costs": lambda a: adjoint.trajectory_costs(
        _path(a), _controls(a), a([0.25, 0.5]), 2.0
    ),
    "numerics.adjoint.uncontrolled": lambda a: adjoint.uncontrolled(_flow(a), 2),
    "numerics.art.best_subgrid": lambda a: art.best_subgrid(a([[0.0, 1.0, 9.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]), 2),
    "numerics.art.clock_rollout": lambda a: art.clock_rollout(
        lambda psi: 1.0 + psi * psi, lambda t, psi: 1.0 + t * psi, a([[1.0, -1.0], [0.5, 0.25]]), 1.0, 0.5
    ),
    "numerics.art.learn_clock": lambda a: art.learn_clock(lambda psi: 1.0 + 0.0 * psi, 1.0, 2, 0, rounds=4, paths=8),
    "numerics.art.nearest_subgrid": lambda a: art.nearest_subgrid(
        lambda x, t: 2.0 * x / t, a([[[4.0]], [[1.0]], [[0.0]]]), a([2.0, 1.0, 0.0]), 2
    ),
    "numerics.art.nonuniform_grid": lambda a: art.nonuniform_grid(2, 0.1, 2.0),
    "numerics.art.solver_weights": lambda a: art.solver_weights([2.0, 1.0, 0.5]),
    "numerics.art.order_grid": lambda a: art.order_grid(a([2.0, 1.0, 0.5]), a([1.0, 2.0, 4.0]), 3),
    "numerics.art.path_acceleration": lambda a: art.path_acceleration(lambda x, t: x * t, a([1.0, 2.0]), a(0.5)),
    "numerics.art.resample_levels": lambda a: art.resample_levels([16.0, 1.0, 0.0], 3),
    "numerics.csdm.generate": lambda a: csdm.generate(
        VP(2.0, 2.0, 3.0), lambda u, t: -u, csdm.Latents(a([[1.0, 0.0], [0.0, 1.0]]), a([0.0, 0.0]), 1.0),
        lambda y: y, [3.0, 1.0, 0.1], 5, 0,
    ),
    "numerics.csdm.left_noise": lambda a: csdm.left_noise(
        Flow(), csdm.Latents(a([[1.0, 0.0], [0.0, 1.0]]), a([0.0, 0.0]), 3.0), 0.5
    ),
    "numerics.diffpo.low_confidence_rollout": lambda a: masked.low_confidence_rollout(_denoiser(a), 4, 0),
    "numerics.diffpo.quantised_gumbel_law": lambda a: masked.quantised_gumbel_law(a([0.25, 0.75]), 4),
    "numerics.diffpo.rollout": lambda a: masked.rollout(_denoiser(a), diffpo.RandomOrder(), 4, 0),
    "numerics.doob.collect": lambda a: particles.collect(
        VP(), lambda x, t: -x, doob.half_space(a([1.0, 0.5]), 0.1), [1.0, 0.5, 0.1], a([[0.5, 1.0], [2.0, -1.0]]), 0
    ),
    "numerics.doob.effective_size": lambda a: particles.effective_size(a([[0.0, -1.0, -2.0], [0.5, 0.5, 0.1]])),
    "numerics.doob.finish": lambda a: particles.finish(
        doob.Slab(a([1.0, 0.5]), 0.5, 2.0), a([[0.0, 0.3], [2.0, -1.0]]), a([[1.0, 0.3], [0.3, 0.5]]), 0
    ),
    "numerics.doob.multilevel_splitting": lambda a: particles.multilevel_splitting(
        a([0.3, 1.5, 0.7, 2.2]), lambda x: x, [0.5, 1.0], lambda x, noise: 0.9 * x + 0.1, 0
    ),
    "numerics.doob.reject": lambda a: particles.reject(
        doob.half_space(a([1.0]), 0.0), lambda n, noise: noise.normal(a([[0.0]] * n)), 3, a([0.0]), 200, 0
    ).points,
    "numerics.doob.systematic_ancestors": lambda a: particles.systematic_ancestors(a([[0.0, -1.0, -2.0]]), 0),
    "numerics.doob.twisted_particles": lambda a: particles.twisted_particles(
        a([0.3, 1.5, 0.7, 2.2]), lambda k, x, noise: (x + 0.1 * noise.normal(x), 0.0), lambda k, x: k * x, 3, 0
    ),
    "numerics.doob.variance_clock_grid": lambda a: particles.variance_clock_grid(Flow(), 1.0, 2, 0.01),
    "numerics.montecarlo.confidence_sequence": lambda a: montecarlo.confidence_sequence(
        a(DRAWS), 0.05, support=(0.0, 3.0)
    ),
    "numerics.montecarlo.distribution_test": lambda a: montecarlo.distribution_test(
        a(DRAWS), lambda x: x / 3.0, 1e-6
    ),
    "numerics.montecarlo.gaussian_test": lambda a: montecarlo.gaussian_test(
        a([[x, x * x] for x in DRAWS]), a([1.0, 1.0]), a([[1.0, 0.0], [0.0, 2.0]]), 1e-6
    ),
    "numerics.montecarlo.goodness_of_fit_test": lambda a: montecarlo.goodness_of_fit_test(
        [8, 9, 3], [0.4, 0.4, 0.2], 1e-8
    ),
    "numerics.montecarlo.mean_test": lambda a: montecarlo.mean_test(a(DRAWS), 1.0, 1e-6, sd=1.0),
    "numerics.montecarlo.poisson_test": lambda a: montecarlo.poisson_test([3, 5, 2], 3.5, 1e-8),
    "numerics.montecarlo.two_sample_distribution_test": lambda a: montecarlo.two_sample_distribution_test(
        a(DRAWS), a([x + 0.1 for x in DRAWS]), 1e-6
    ),
    "numerics.montecarlo.two_sample_mean_test": lambda a: montecarlo.two_sample_mean_test(
        a(DRAWS), a(DRAWS[::-1]), 1e-6
    ),
    "numerics.montecarlo.variance_test": lambda a: montecarlo.variance_test(a(DRAWS), 1.0, 1e-6),
    "numerics.opd.gradient_flow": lambda a: opd.gradient_flow(
        a([0.0, 0.5]), a([-0.7, -0.7]), divergences.get("jsd"), steps=3
    ),
    "numerics.rates.fit_rate": lambda a: rates.fit_rate(a([0.2, 0.1, 0.05]), a([0.13, 0.032, 0.0079])),
    "numerics.rates.local_orders": lambda a: rates.local_orders(a([1.0, 0.5, 0.25]), a([3.0, 0.75, 0.19])),
    "numerics.reward_gap.paired_gap": lambda a: gaps.paired_gap(a([2.0, 4.0, 6.5]), a([1.0, 2.0, 3.0])),
    "numerics.rich_po.best_of_pairs": lambda a: preferences.best_of_pairs(a(COV), a([0.7, -0.5]), 3).cov,
    "numerics.rich_po.edited_pairs": lambda a: preferences.edited_pairs(
        _gaussian(a), a([0.7, -0.5]), "filtered", 0.1
    ).cov,
    "numerics.rich_po.diffusion_dpo_optimum": lambda a: preferences.diffusion_dpo_optimum(
        a(COV), a([0.7, -0.5]), a([0.9, 0.5]), a([0.4, 0.8]), 0.3
    ),
    "numerics.rich_po.fit_pairs": lambda a: preferences.fit_pairs(
        a([[1.0, 0.5], [0.0, 2.0]]), a([0.7, 0.4]), a([1.0, 2.0])
    ),
    "numerics.rich_po.one_step_gain": lambda a: preferences.one_step_gain(
        preferences.random_pairs(a(COV), a([0.7, -0.5])), a(COV), a([0.7, -0.5]), 100.0
    ),
    "numerics.rich_po.signal_to_noise": lambda a: preferences.signal_to_noise(
        preferences.random_pairs(a(COV), a([0.7, -0.5])), a(COV)
    ),
    "numerics.rich_po.random_pairs": lambda a: preferences.random_pairs(a(COV), a([0.7, -0.5]), 0.1).cov,
    "numerics.samplers.sample": lambda a: samplers.sample(
        VE(), lambda x, t: -x, STEPS, 1.0, 0, "gddim", start=a([1.0, 2.0])
    ),
    "numerics.samplers.sample_trajectory": lambda a: samplers.sample_trajectory(
        VE(), lambda x, t: -x, STEPS, 1.0, 0, "gddim", start=a([1.0, 2.0])
    ),
    "numerics.score_as_action.rollout": lambda a: control.rollout(
        VE(), lambda x, t: -x, lambda x, t: -0.5 * x, [1.0, 0.5], 0, a([[1.0, 2.0], [0.5, 0.1]])
    ),
    "numerics.sensing.bpdn": lambda a: sensing.bpdn(a([[1.0, 0.0], [0.0, 1.0]]), a([3.0, 4.0]), 1.5),
    "numerics.sensing.cosine_basis": lambda a: sensing.cosine_basis(4),
    "numerics.sensing.gaussian_sketch": lambda a: sensing.gaussian_sketch(2, 3, 0, a([0.0])),
    "numerics.sensing.haar_basis": lambda a: sensing.haar_basis(4),
    "numerics.sensing.lipschitz": lambda a: sensing.lipschitz(a(SKETCH)),
    "numerics.sensing.orthogonal_sketch": lambda a: sensing.orthogonal_sketch(2, 3, 0, a([0.0])),
    "numerics.sensing.product_basis": lambda a: sensing.product_basis(sensing.haar_basis(2)),
    "numerics.sensing.rademacher_sketch": lambda a: sensing.rademacher_sketch(2, 3, 0, a([0.0])),
    "numerics.sensing.solve": lambda a: sensing.solve(a(SKETCH), a([1.0, -0.5]), 0.1),
    "numerics.transfer.direct": lambda a: transfer.direct("linear", a(POINTS), a([1.0, 3.0, 6.0, 8.0])).predict(
        a([[4.0]])
    ),
    "numerics.transfer.fit_curve": lambda a: transfer.fit_curve(
        a([10.0, 20.0, 40.0, 80.0, 160.0, 320.0]),
        a([[0.1 + c / m for c in (2.9, 3.0, 3.1)] for m in (10, 20, 40, 80, 160, 320)]),
    ),
    "numerics.transport.fit_assignment": lambda a: transport.fit_assignment(a(POINTS), a(OTHERS))(a([[0.25]])),
    "numerics.transport.fit_entropic": lambda a: transport.fit_entropic(a(POINTS), a(OTHERS), 1.0)(a([[0.25]])),
    "numerics.transport.fit_gaussian": lambda a: transport.fit_gaussian(a(POINTS), a(OTHERS))(a([[0.25]])),
    "numerics.transport.fit_quantile": lambda a: transport.fit_quantile(a(POINTS), a(OTHERS))(a([[0.25]])),
    "numerics.tweedie.fit_marginal": lambda a: reverse.fit_marginal(
        BESQ(3.0), a([4.0 * x for x in DRAWS * 4]), 1.0, knots=2, bins=8
    ),
    "numerics.tweedie.fit_prior": lambda a: reverse.fit_prior(
        BESQ(3.0), a([1.0, 4.0, 7.0]), 1.0, atoms=a([0.5, 2.0, 5.0])
    ),
    "theory.adjoint.gain_errors": lambda a: flows.gain_errors(0.5, 1.0, 3, "open-loop"),
    "theory.art.equidistribute": lambda a: clocks.equidistribute(lambda x: 1.0 / x, 2, 0.01, 1.0),
    "theory.art.error_constant": lambda a: clocks.error_constant(lambda x: 1.0 / x, 0.5, 0.01, 1.0),
    "theory.art.optimal_grid": lambda a: clocks.optimal_grid([0.5, 1.0], 2, 0.1, 1.0),
    "theory.csdm.expected_shortfall": lambda a: bounds.expected_shortfall(_gaussian(a), a([1.0, 0.5]), 0.5),
    "theory.csdm.restricted_isometry": lambda a: bounds.restricted_isometry(a(SKETCH), 2),
    "theory.csdm.simplex_etf": lambda a: bounds.simplex_etf(3),
    "theory.csdm.sparse_mixture": lambda a: bounds.sparse_mixture(a(SKETCH), 1, 4.0).cov,
    "theory.csdm.value_at_risk": lambda a: bounds.value_at_risk(_gaussian(a), a([1.0, 0.5]), 0.9),
    "theory.diffpo.elbo": lambda a: diffpo.elbo(_denoiser(a), [[0, 1], [1, 1]], "time"),
    "theory.diffpo.log_likelihood": lambda a: diffpo.log_likelihood(
        _denoiser(a), diffpo.RandomOrder(), [[0, 1], [1, 1]]
    ),
    "theory.diffpo.low_confidence_law": lambda a: diffpo.low_confidence_law(_denoiser(a)),
    "theory.diffpo.mask_moments": lambda a: diffpo.mask_moments(
        _denoiser(a), [0, 1], diffpo.ConsistentDenoiser(a([[-1.0, -2.0], [-1.5, -1.2958866681866432]]))
    ),
    "theory.diffpo.mean_field": lambda a: diffpo.mean_field(_denoiser(a), [1, 0]),
    "theory.diffpo.nfe_law": lambda a: diffpo.nfe_law(_denoiser(a), diffpo.EntropyBound(0.6)),
    "theory.diffpo.output_law": lambda a: diffpo.output_law(_denoiser(a), diffpo.RandomOrder()),
    "theory.diffpo.path": lambda a: diffpo.path(_denoiser(a), diffpo.Confidence(0.6), [1, 0]).log_probs,
    "theory.diffpo.path_log_likelihood": lambda a: diffpo.path_log_likelihood(
        diffpo.Prompted(_denoiser(a), (1,)), diffpo.LeftToRight(), [[0], [1]]
    ),
    "theory.diffpo.renoising_law": lambda a: diffpo.renoising_law(_denoiser(a), 0.6, 3, 0.8, 0.4),
    "theory.diffpo.text_law": lambda a: list(
        diffpo.text_law(_denoiser(a), diffpo.Ranked("margin"), 1).values()
    ),
    "theory.diffpo.two_mean_field": lambda a: diffpo.two_mean_field(
        _denoiser(a), diffpo.Ranked("entropy"), [1, 0], 1
    ),
    "theory.divergences.alpha": _advantages(divergences.alpha(2.0)),
    "theory.divergences.from_expression": _advantages(divergences.from_expression(U * sp.log(U))),
    "theory.divergences.from_functions": _advantages(
        divergences.from_functions(
            lambda u: 0.5 * (u - 1) ** 2, lambda u: u - 1, lambda u: u**0, 0.5, float("inf")
        )
    ),
    "theory.divergences.get": _advantages(divergences.get("jsd")),
    "theory.divergences.gjsd": _advantages(divergences.gjsd(0.3)),
    "theory.divergences.normalized_gjsd": _advantages(divergences.normalized_gjsd(0.3)),
    "theory.divergences.skew_kl": _advantages(divergences.skew_kl(0.3)),
    "theory.divergences.skew_rkl": _advantages(divergences.skew_rkl(0.3)),
    "theory.doob.conditional_mean": lambda a: doob.conditional_mean(*_guided(a)),
    "theory.doob.event_log_probability": lambda a: doob.event_log_probability(
        _gaussian(a), doob.Orthant(a([[1.0, 0.0], [1.0, 1.0]]), a([0.3, 0.1]))
    ),
    "theory.doob.guidance": lambda a: doob.guidance(*_guided(a)),
    "theory.doob.guided_divergence_bound": lambda a: doob.guided_divergence_bound(VP(), lambda t: 0.1),
    "theory.doob.guided_score": lambda a: doob.guided_score(*_guided(a)),
    "theory.doob.half_space": lambda a: doob.half_space(a([1.0, 2.0]), 0.5),
    "theory.doob.log_h": lambda a: doob.log_h(*_guided(a)),
    "theory.doob.measurement_guidance": lambda a: doob.measurement_guidance(
        Flow(), _gaussian(a), a([[1.0, -0.5]]), 0.3, a([1.2]), a([[0.5, 0.2], [0.1, 0.0]]), a(0.4)
    ),
    "theory.doob.prior_divergence": lambda a: doob.prior_divergence(VP(0.1, 3.0, 1.0), _gaussian(a)),
    "theory.doob.require_start": lambda a: doob.require_start(VP(0.1, 3.0, 1.0), _gaussian(a), 10.0),
    "theory.doob.wasserstein_bound": lambda a: doob.wasserstein_bound(VP(), 1.0, lambda t: 0.1),
    "theory.laws.from_scipy": lambda a: laws.from_scipy(stats.norm(a([0.5, 1.0]), a([2.0, 3.0]))),
    "theory.laws.kl": lambda a: laws.kl(Normal(a([2.0, 1.0]), a([1.0, 0.5])), Normal(a([0.0, 0.0]), 1.5)),
    "theory.laws.wasserstein2": lambda a: laws.wasserstein2(
        _gaussian(a), Gaussian(a([0.0, 0.0]), a([[1.0, 0.0], [0.0, 3.0]]))
    ),
    "theory.opd.gaussian_divergence": lambda a: exact.gaussian_divergence(
        Normal(a(2.0), a(1.0)), Normal(a(0.0), a(1.5)), divergences.get("reverse_kl")
    ),
    "theory.opd.gaussian_divergence_integral": lambda a: exact.gaussian_divergence_integral(
        Normal(a(2.0), a(1.0)), Normal(a(0.0), a(1.5)), divergences.get("jsd")
    ).value,
    "theory.opd.k_estimator": _advantages(exact.k_estimator("k2")),
    "theory.opd.surrogate": _advantages(exact.surrogate(divergences.get("forward_kl"))),
    "theory.reward_gap.mean_error": lambda a: reward_gap.mean_error(Flow(), 1.0, 0.7, lambda t: 1.0 / (1.0 + t)),
    "theory.reward_gap.mean_error_integral": lambda a: reward_gap.mean_error_integral(
        Flow(), 1.0, 0.7, lambda t: 1.0 / (1.0 + t)
    ).value,
    "theory.reward_gap.reward_gap": lambda a: reward_gap.reward_gap(VE(), _gaussian(a), _reward(a), 1.0),
    "theory.reward_gap.sampler_moments": lambda a: reward_gap.sampler_moments(
        lambda x, t, s, z: 0.5 * x + z, STEPS, 4.0, 4.0
    ),
    "theory.reward_gap.terminal_law": lambda a: reward_gap.terminal_law(VE(), _gaussian(a), 0.5).cov,
    "theory.reward_gap.w2_bound": lambda a: reward_gap.w2_bound(VE(), 1.0, 1.0, lambda t: 1.0 / (1.0 + t)),
    "theory.reward_gap.w2_bound_integral": lambda a: reward_gap.w2_bound_integral(
        VE(), 1.0, 1.0, lambda t: 1.0 / (1.0 + t)
    ).value,
    "theory.rewards.tilted": lambda a: rewards.tilted(_gaussian(a), _reward(a), 2.0).cov,
    "theory.rich_po.implicit_reward": lambda a: tilts.implicit_reward(
        rewards.tilted(_gaussian(a), _reward(a), 2.0), _gaussian(a), 2.0, a([[1.0, 0.5]])
    ),
    "theory.rich_po.optimal_value": lambda a: tilts.optimal_value(_gaussian(a), _reward(a), 2.0),
    "theory.score_as_action.conditional_law": lambda a: score_as_action.conditional_law(
        *_problem(a), 1.0, a([1.0, 0.5]), a(0.5)
    ).mean,
    "theory.score_as_action.jensen_gap": lambda a: score_as_action.jensen_gap(*_problem(a), a(0.5)),
    "theory.score_as_action.optimal_action": lambda a: score_as_action.optimal_action(
        *_problem(a), 1.0, a([1.0, 0.5]), a(0.5)
    ),
    "theory.score_as_action.plug_in_value": lambda a: score_as_action.plug_in_value(
        *_problem(a), a([1.0, 0.5]), a(0.5)
    ),
    "theory.score_as_action.surrogate": lambda a: score_as_action.surrogate(_policy(a), a([0.3])),
    "theory.score_as_action.surrogate_error_bound": lambda a: score_as_action.surrogate_error_bound(
        _policy(a), a([0.3])
    ),
    "theory.score_as_action.terminal_law": lambda a: score_as_action.terminal_law(*_problem(a), 1.0).cov,
    "theory.score_as_action.value": lambda a: score_as_action.value(*_problem(a), 1.0, a([1.0, 0.5]), a(0.5)),
    "theory.score_as_action.value_function_bias": lambda a: score_as_action.value_function_bias(*_problem(a), 1.0),
    "theory.transfer.gaussian_map": lambda a: moved.gaussian_map(
        a([1.0, 0.0]), a([[4.0, 1.0], [1.0, 2.0]]), a([0.0, 0.0]), a([[1.0, 0.0], [0.0, 2.0]])
    ),
    "theory.transfer.gaussian_map_constant": lambda a: moved.gaussian_map_constant(a([[4.0]]), a([[1.0]])),
    "theory.transfer.lattice_counts": lambda a: moved.lattice_counts(6, 2),
    "theory.tweedie.conjugate_posterior": lambda a: tweedie.conjugate_posterior(
        BESQ(2.0), Gamma(a(1.0), a(2.0)), a([4.0, 1.0]), a(1.0)
    ).mean,
    "theory.tweedie.posterior_weights": lambda a: tweedie.posterior_weights(
        Flow(), Discrete(a([-1.0, 1.0])), a([0.0, 0.4]), a(0.5)
    ),
}  # fmt: skip
