"""One valid instance of every public dataclass of theory and numerics, as its arguments."""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from driftproof.numerics.adjoint.affine import AffinePolicy
from driftproof.numerics.adjoint.objective import Certificate
from driftproof.numerics.adjoint.trajectories import Trajectory as FlowTrajectory
from driftproof.numerics.art.actor_critic import ClockPaths
from driftproof.numerics.art.learning import LearnedClock
from driftproof.numerics.csdm import Latents, SparseDecoder
from driftproof.numerics.diffpo.rollouts import Rollouts
from driftproof.numerics.doob.baselines import Accepted
from driftproof.numerics.doob.particles import ParticleRun
from driftproof.numerics.doob.trajectories import TrajectoryStore
from driftproof.numerics.montecarlo.sequences import ConfidenceSequence
from driftproof.numerics.montecarlo.verdict import ErrorBudget, Verdict
from driftproof.numerics.rates import Equivalence, RateFit
from driftproof.numerics.reward_gap.gap import PairedGap
from driftproof.numerics.reward_gap.windows import Window
from driftproof.numerics.rich_po.curation import PairMoments
from driftproof.numerics.rich_po.editing import EditedPairs, EditingPipeline
from driftproof.numerics.samplers.loop import SamplerRun
from driftproof.numerics.samplers.methods import Method
from driftproof.numerics.samplers.trajectory import Trajectory
from driftproof.numerics.score_as_action.rollouts import Rollout
from driftproof.numerics.sensing.denoising import Denoised
from driftproof.numerics.sensing.solver import Solution
from driftproof.numerics.transfer.curves import CurveFit
from driftproof.numerics.transfer.inversion import Seeds
from driftproof.numerics.transfer.models import Composed
from driftproof.numerics.transport.assignment import PlanMap
from driftproof.numerics.transport.entropic import EntropicMap
from driftproof.numerics.transport.gaussian import AffineMap
from driftproof.numerics.transport.quantile import QuantileMap
from driftproof.numerics.tweedie.empirical_bayes import MarginalModel
from driftproof.numerics.tweedie.npmle import NPMLE
from driftproof.theory.adjoint.discrete import DiscreteFlow
from driftproof.theory.adjoint.flow import GaussianFlow
from driftproof.theory.adjoint.memoryless import MemorylessFlow
from driftproof.theory.adjoint.metric import MetricFlow
from driftproof.theory.adjoint.mixture import MixtureFlow
from driftproof.theory.adjoint.noisy import NoisyFlow
from driftproof.theory.adjoint.regularized import RegularizedFlow
from driftproof.theory.adjoint.regularizers import BallCost, ElasticCost, HuberCost, PowerCost, QuadraticCost
from driftproof.theory.art.clock import ClockProblem
from driftproof.theory.art.cumulative import Cumulative
from driftproof.theory.csdm.stress import FactorModel
from driftproof.theory.diffpo.denoisers import ConsistentDenoiser, Prompted, TabularDenoiser
from driftproof.theory.diffpo.likelihood import Path
from driftproof.theory.diffpo.polya import PolyaDenoiser
from driftproof.theory.diffpo.samplers import (
    Blocks,
    Confidence,
    EntropyBound,
    LeftToRight,
    RandomOrder,
    Ranked,
)
from driftproof.theory.divergences.base import FDivergence
from driftproof.theory.doob import Ball, Box, Complement, Orthant, Slab, Union
from driftproof.theory.laws import (
    Discrete,
    Gamma,
    GammaMixedChi2,
    Gaussian,
    GaussianMixture,
    LogNormal,
    Mixture,
    NoncentralChi2,
    Normal,
)
from driftproof.theory.laws.bessel_count import BesselCount
from driftproof.theory.laws.bridges import SquaredBesselBridge
from driftproof.theory.opd.sequence import AutoregressivePair
from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, Identity, LinearClock
from driftproof.theory.reward_gap.ddpo import DDPOToy, Tuned
from driftproof.theory.rewards import Linear, Quadratic
from driftproof.theory.rich_po.units import BetaConvention
from driftproof.theory.score_as_action.feedback import LinearFeedback
from driftproof.theory.score_as_action.posterior import Posterior, Problem
from driftproof.theory.score_as_action.shifts import ShiftedScore
from driftproof.theory.transfer.fourier import TruncationRisk
from driftproof.validation.inventory import modules

# What the library makes for itself, under a name that no package exports.
OWN = (Cumulative, Posterior, Problem, SamplerRun, Seeds)

ONE, TWO, EYE = np.ones(1), np.asarray([0.5, 1.5]), np.eye(2)
FLOW = GaussianFlow([0.5], [[4.0]])
LAW = Gaussian([0.5], [[2.0]])


def _square(xp: Any, delta: Any) -> Any:
    return delta * delta


def _step(xp: Any, process: Any, x: Any, *_: Any) -> Any:
    return x


def _double(x: Any) -> Any:
    return 2.0 * x


class _Zero:
    def predict(self, x: Any) -> Any:
        return 0.0 * x


VALID: Mapping[type, Mapping[str, Any]] = {
    # Processes
    LinearClock: {"beta_min": 0.1, "beta_max": 2.0, "T": 3.0},
    VP: {"beta_min": 0.1, "beta_max": 2.0, "T": 1.0},
    VE: {"sigma_min": 0.01, "sigma_max": 5.0, "T": 1.0},
    GBM: {"mu": 0.3, "sigma": 0.7, "clock": Identity()},
    BESQ: {"delta": 2.0, "clock": Identity()},
    CIR: {"kappa": 1.0, "theta": 0.1, "sigma": 1.0, "clock": LinearClock(0.1, 2.0, 3.0)},
    # Laws
    Normal: {"loc": TWO, "scale": TWO},
    LogNormal: {"loc": TWO, "scale": TWO},
    Gamma: {"shape": TWO, "scale": TWO},
    NoncentralChi2: {"df": TWO, "nc": TWO, "scale": TWO},
    GammaMixedChi2: {"df": 2.0, "shape": 1.5, "mixing": TWO, "scale": TWO},
    BesselCount: {"nu": 0.5, "z": TWO},
    SquaredBesselBridge: {"delta": 2.0, "left": TWO, "right": TWO, "scale": TWO},
    Gaussian: {"mean": TWO, "cov": EYE},
    GaussianMixture: {"weights": np.asarray([0.5, 0.5]), "means": EYE, "covs": np.stack([EYE, EYE])},
    Mixture: {"weights": np.asarray([0.5, 0.5]), "components": Normal(TWO, TWO)},
    Discrete: {"atoms": TWO, "weights": np.asarray([0.5, 0.5])},
    # Rewards, divergences, models
    Linear: {"c": TWO},
    Quadratic: {"c": TWO, "Q": EYE},
    FDivergence: {
        "name": "square",
        "value": _square,
        "slope": _square,
        "curvature": _square,
        "centred": _square,
        "at_zero": math.inf,
        "slope_at_infinity": 1.0,
        "convex": True,
    },
    FactorModel: {"loadings": EYE, "factor_cov": EYE, "residual_cov": EYE},
    AutoregressivePair: {
        "student": (np.log(np.asarray([[0.5, 0.5]])),),
        "teacher": (np.log(np.asarray([[0.5, 0.5]])),),
    },
    DDPOToy: {
        "process": VP(6.0, 6.0, 1.0),
        "mean": 0.5,
        "variance": 0.49,
        "target": 1.0,
        "beta": 0.3,
    },
    Tuned: {"theta": 0.1, "kappa": 1.0, "trained": 0.5, "deployed": 0.4, "kl": 0.1},
    # Flows
    GaussianFlow: {"mean": TWO, "cov": EYE, "path": "linear"},
    NoisyFlow: {"flow": FLOW, "noise": 0.5},
    DiscreteFlow: {"flow": FLOW, "times": [1.0, 0.5, 0.0], "index": 1},
    MemorylessFlow: {"flow": FLOW},
    MetricFlow: {"flow": FLOW, "metric": np.asarray([[2.0]])},
    MixtureFlow: {"law": Mixture([0.5, 0.5], Normal([0.0, 1.0], 1.0))},
    RegularizedFlow: {"flow": FLOW, "cost": QuadraticCost()},
    PowerCost: {"p": 1.5},
    BallCost: {"bound": 2.0},
    ElasticCost: {"kappa": 1.0},
    HuberCost: {"delta": 1.0},
    LinearFeedback: {
        "process": VP(2.0, 2.0, 1.0),
        "data": LAW,
        "reward": Linear([3.0]),
        "beta": 0.5,
        "gain": 0.1,
        "start": LAW,
    },
    ShiftedScore: {
        "process": VP(2.0, 2.0, 1.0),
        "data": LAW,
        "reward": Linear([3.0]),
        "beta": 0.5,
        "shift": ONE,
        "start": LAW,
    },
    # Configurations of algorithms
    Latents: {"sketch": EYE, "centre": TWO, "scale": 2.0},
    SparseDecoder: {
        "sketch": EYE,
        "lam": 0.5,
        "basis": EYE,
        "low": -math.inf,
        "high": math.inf,
        "refit": False,
        "tolerance": 1e-6,
        "max_iterations": 100,
    },
    ErrorBudget: {"total": 1e-6},
    Window: {"size": 2, "stride": 1, "every": 10},
    Method: {
        "wants": "epsilon",
        "step": _step,
        "eta": 1.0,
        "reaches_zero": False,
        "memory": 0,
    },
    Composed: {"transport": _double, "model": _Zero()},
    AffinePolicy: {"gains": np.ones((3, 2, 2)), "offsets": np.ones((3, 2))},
    EditingPipeline: {
        "w": TWO,
        "attributes": EYE,
        "step": 0.5,
        "critic_cov": EYE,
        "editor_cov": EYE,
    },
    BetaConvention: {"of": "squared error", "factor": 0.5, "mean": True},
    # Results
    PairMoments: {"mean": TWO, "cov": EYE, "kept": 0.5},
    EditedPairs: {"chosen": EYE, "rejected": EYE, "edit_won": TWO, "made": 3},
    Certificate: {"low": 0.1, "high": 0.2},
    FlowTrajectory: {"times": (1.0, 0.0), "states": (TWO, TWO)},
    ConfidenceSequence: {"lower": TWO, "upper": TWO, "alpha": 0.01, "validity": "exact"},
    Verdict: {
        "test": "mean",
        "p_value": 0.5,
        "effect": 0.1,
        "detectable": 0.2,
        "unit": "sd",
        "n": 100,
        "alpha": 0.01,
        "power": 0.9,
        "validity": "exact",
    },
    RateFit: {
        "order": 1.0,
        "constant": 2.0,
        "local_orders": (1.0, 1.0),
        "interval": (0.9, 1.1),
        "constant_interval": (1.9, 2.1),
        "order_error": 0.1,
        "constant_error": 0.1,
        "level": 0.999,
    },
    Equivalence: {"estimate": 1.0, "target": 1.0, "margin": 0.1, "p_value": 0.01, "alpha": 0.05},
    PairedGap: {"ode": 1.0, "sde": 0.9, "gap": 0.1, "low": 0.0, "high": 0.2, "level": 0.95, "pairs": 10},
    Trajectory: {
        "times": (1.0, 0.0),
        "etas": (1.0,),
        "states": np.ones((2, 3)),
        "means": np.ones((1, 3)),
        "stds": np.ones((1, 3)),
    },
    Rollout: {
        "times": TWO,
        "states": np.ones((2, 3)),
        "actions": np.ones((1, 3)),
        "excess": np.ones((1, 3)),
        "noise": np.ones((1, 3)),
        "g2dt": ONE,
    },
    ClockPaths: {
        "psi": np.asarray([[0.0, 0.5, 1.0]]),
        "speed": np.ones((1, 2)),
        "noise": np.zeros((1, 2)),
        "stiffness": np.ones((1, 2)),
    },
    LearnedClock: {
        "knots": np.asarray([0.0, 0.5, 1.0]),
        "speed": np.ones(2),
        "multiplier": -2.0,
        "evaluations": 64,
    },
    ClockProblem: {"stiffness": lambda t: 1.0 + 0.0 * t, "horizon": 1.0},
    Accepted: {"points": np.ones((2, 1)), "tries": 5},
    ParticleRun: {
        "states": np.ones((2, 1)),
        "log_weights": np.zeros(2),
        "segments": np.zeros(3),
        "sizes": np.ones(3),
    },
    TrajectoryStore: {"times": (1.0, 0.5), "states": np.ones((2, 3, 1)), "hits": np.asarray([1.0, 0.0, 1.0])},
    Ball: {"centre": TWO, "radius": 1.0},
    Box: {"low": -TWO, "high": TWO},
    Slab: {"normal": TWO, "low": -1.0, "high": 1.0},
    Orthant: {"normals": EYE, "levels": TWO},
    Complement: {"event": Ball(TWO, 1.0)},
    Union: {"parts": (Slab(TWO, 0.0), Slab(-TWO, 1.0))},
    TabularDenoiser: {"logits": np.zeros((9, 2, 2))},
    ConsistentDenoiser: {"log_joint": np.log(np.full((2, 2), 0.25))},
    PolyaDenoiser: {"a": 1.0, "b": 1.0, "length": 3},
    Prompted: {"denoiser": PolyaDenoiser(1.0, 1.0, 3), "prompt": (0,)},
    RandomOrder: {"tokens": 1},
    LeftToRight: {"tokens": 1},
    EntropyBound: {"gamma": 0.5},
    Confidence: {"threshold": 0.9, "at_least_one": True},
    Ranked: {"by": "margin", "tokens": 1},
    Blocks: {"sampler": LeftToRight(), "size": 2},
    Path: {"step": np.asarray([1, 2]), "log_probs": np.asarray([-0.1, -0.2])},
    Rollouts: {
        "x": np.asarray([[0, 1]]),
        "step": np.asarray([[1, 2]]),
        "log_probs": np.asarray([[-0.1, -0.2]]),
        "log_choices": np.asarray([0.0]),
    },
    Denoised: {"x": TWO, "lam": 0.5, "residual": 0.1, "gap": 0.0},
    Solution: {"x": TWO, "gap": ONE, "steps": 3},
    CurveFit: {
        "exponent": 0.5,
        "constant": 1.0,
        "floor": 0.0,
        "exponent_interval": (0.4, 0.6),
        "floor_interval": (0.0, 0.1),
        "burn_in": 0,
        "fits": True,
        "level": 0.95,
    },
    TruncationRisk: {"variance": 0.1, "bias": 0.2, "cutoff": 3},
    PlanMap: {"points": EYE, "images": EYE, "cost": 0.0, "extension": "nearest"},
    EntropicMap: {
        "points": EYE,
        "atoms": EYE,
        "potential": TWO,
        "self_potential": TWO,
        "epsilon": 0.1,
        "cost": 0.5,
        "iterations": 10,
        "marginal_error": 1e-9,
    },
    AffineMap: {"matrix": EYE, "shift": TWO, "cost": 0.5},
    QuantileMap: {"knots": TWO, "images": TWO, "cost": 0.5},
    MarginalModel: {
        "process": BESQ(2.0),
        "t": 0.5,
        "knots": (0.1, 0.5),
        "coefficients": (0.1, 0.5),
        "deviance": 1.0,
        "iterations": 5,
    },
    NPMLE: {
        "process": BESQ(2.0),
        "t": 0.5,
        "prior": Discrete(TWO),
        "log_likelihood": -1.0,
        "gap": 0.1,
        "iterations": 5,
    },
}


def public_dataclasses() -> set[type]:
    """Every dataclass of theory and numerics with a public name and at least one argument."""
    found = set()
    for module in modules():
        for name, thing in vars(module).items():
            if not inspect.isclass(thing) or name.startswith("_") or thing in OWN:
                continue
            ours = thing.__module__.startswith(("driftproof.theory.", "driftproof.numerics."))
            if ours and dataclasses.is_dataclass(thing) and any(f.init for f in dataclasses.fields(thing)):
                found.add(thing)
    return found
