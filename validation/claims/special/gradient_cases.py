"""Where every law, process, distance and matrix function is differentiated: inside, on the boundary, at repeated and
zero eigenvalues, at 0.  What the public inventory lists and these tables do not makes a claim fail."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import array_api_compat
import numpy as np

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
    kl,
    wasserstein2,
)
from driftproof.theory.laws.bessel_count import BesselCount
from driftproof.theory.laws.bridges import SquaredBesselBridge
from driftproof.theory.laws.matrices import sqrt_psd
from driftproof.theory.processes import BESQ, CIR, GBM, VE, VP, Flow

__all__ = ["DISTANCES", "LAWS", "MATRICES", "PROCESSES", "TURNED", "assembled", "coordinates", "ends"]

# A Python float selects an algorithm and is not differentiated; lists are coordinates.
Parameters = Mapping[str, Any]
EYE, TWINS = [[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, 2.0]]

LAWS: Mapping[type, Sequence[Parameters]] = {
    Normal: [
        {"x": [-1.0, 0.0, 2.5], "loc": [0.5], "scale": [0.7]},
        {"x": [0.0], "loc": [0.0], "scale": [1e-3]},
    ],
    LogNormal: [{"x": [0.3, 1.0, 4.0], "loc": [0.5], "scale": [0.7]}],
    Gamma: [
        {"x": [0.3, 2.0], "shape": [0.4, 3.0], "scale": [0.7]},
        {"x": [0.0, 1.0], "shape": 1.0, "scale": [0.5]},
        {"x": [180.0], "shape": [200.0], "scale": [1.0]},
    ],
    NoncentralChi2: [
        *(
            {"x": [0.3, 5.0], "df": df, "nc": [nc], "scale": [0.7]}
            for df, nc in ((0.5, 0.0), (0.5, 3.0), (2.0, 1e-6), (4.5, 0.0))
        ),
        {"x": [0.0], "df": 2.0, "nc": [0.0], "scale": [1.0]},
        {"x": [0.0], "df": 2.0, "nc": [3.0], "scale": [1.0]},
        {"x": [70.0], "df": 3.0, "nc": [50.0], "scale": [1.0]},
        {"x": [0.8, 5.0], "df": [3.0], "nc": [0.0], "scale": [0.7]},
        {"x": [0.8, 5.0], "df": [3.0], "nc": [2.0], "scale": [0.7]},
    ],
    GammaMixedChi2: [
        {"x": [0.3, 5.0], "df": 3.0, "shape": 1.3, "mixing": [0.7], "scale": [0.5]},
        {"x": [0.0, 2.0], "df": 2.0, "shape": 0.4, "mixing": [1e-6], "scale": [0.5]},
        {"x": [60.0], "df": 5.0, "shape": 2.0, "mixing": [9.0], "scale": [0.5]},
    ],
    BesselCount: [
        {"x": np.asarray([0.0, 3.0]), "nu": 0.5, "z": [2.0]},
        {"x": np.asarray([0.0]), "nu": -0.5, "z": [0.0]},
    ],
    SquaredBesselBridge: [
        {"x": [0.3, 5.0], "delta": delta, "left": [left], "right": [right], "scale": [0.7]}
        for delta, left, right in (
            (0.7, 0.0, 0.0),
            (0.7, 0.0, 2.0),
            (2.0, 1.5, 0.0),
            (5.0, 1.5, 1.5),
            (5.0, 30.0, 40.0),
        )
    ]
    + [{"x": [0.0], "delta": 2.0, "left": [left], "right": [2.0], "scale": [1.0]} for left in (0.0, 2.0)],
    Gaussian: [
        {"x": [0.5, -1.0], "mean": [0.2, 0.3], "cov": cov} for cov in (EYE, TWINS, [[2.0, 0.6], [0.6, 1.0]])
    ],
    GaussianMixture: [
        {"x": [0.5, -1.0], "weights": weights, "means": [[0.2, 0.3], [1.0, -1.0]], "covs": [EYE, TWINS]}
        for weights in ([0.4, 0.6], [0.0, 1.0])
    ],
    Mixture: [
        {
            "x": [0.5, 3.0],
            "weights": [0.0, 0.4, 0.6],
            "components": (Normal, {"loc": [0.0, 1.0, 1.0], "scale": [1.0, 2.0, 2.0]}),
        },
        {
            "x": [0.0, 3.0],
            "weights": [0.3, 0.7],
            "components": (NoncentralChi2, {"df": 2.0, "nc": [0.0, 2.0], "scale": [1.0, 0.5]}),
        },
    ],
    Discrete: [
        {"atoms": [0.0, 1.0, 3.0], "weights": [0.2, 0.3, 0.5]},
        {"atoms": [0.0, 1.0], "weights": [0.0, 1.0]},
    ],
}

DATA = Normal(0.3, 0.8)

PROCESSES: Mapping[type, Sequence[Mapping[str, Any]]] = {
    VP: [
        {"parameters": (0.1, 20.0, 1.0), "data": DATA, "x": (0.0, 1.2), "x0": (0.0, 0.7), "times": (0.1, 0.4)}
    ],
    VE: [
        {"parameters": (0.2, 2.0, 1.0), "data": DATA, "x": (0.0, 1.2), "x0": (0.0, 0.7), "times": (0.3, 0.6)}
    ],
    Flow: [{"parameters": (), "data": DATA, "x": (0.0, 1.2), "x0": (0.0, 0.7), "times": (0.2, 0.5)}],
    GBM: [
        {
            "parameters": (0.3, 0.7),
            "data": LogNormal(0.2, 0.5),
            "x": (0.5, 1.2),
            "x0": (0.7, 1.3),
            "times": (0.3, 0.6),
        }
    ],
    BESQ: [
        {"parameters": (delta,), "data": data, "x": x, "x0": (0.0, 0.7), "times": (0.5, 1.2)}
        for delta, data, x in (
            (0.5, Gamma(0.25, 0.8), (0.5, 2.0)),
            (2.0, Discrete([0.0, 1.0], [0.4, 0.6]), (0.0, 2.0)),
        )
    ],
    CIR: [
        {
            "parameters": (1.0, 1.0, 1.0),
            "data": Gamma(1.3, 0.8),
            "x": (0.5, 1.2),
            "x0": (0.0, 0.7),
            "times": (0.5, 1.2),
        }
    ],
}

# Pairs of laws of one family; of the second, what is given as numbers is fixed.
_PLANE = {"mean": [0.2, 0.3], "cov": TWINS}
DISTANCES: Mapping[Callable[..., Any], Mapping[type, Sequence[tuple[Parameters, Parameters]]]] = {
    wasserstein2: {
        Normal: [
            ({"loc": [0.0], "scale": [1.0]}, {"loc": [0.5], "scale": [2.0]}),
            ({"loc": [0.5], "scale": [1.0]}, {"loc": [0.0], "scale": [1.0]}),
        ],
        Gaussian: [
            ({"mean": [0.0, 0.0], "cov": cov}, {"mean": [0.5, -1.0], "cov": other})
            for cov, other in (
                (EYE, EYE),
                (EYE, TWINS),
                (TWINS, [[1.0, 0.3], [0.3, 2.0]]),
                ([[3.0, 0.0], [0.0, 1.0]], EYE),
            )
        ],
        Discrete: [
            (
                {"atoms": [0.0, 1.0, 2.5], "weights": [0.2, 0.3, 0.5]},
                {"atoms": [0.3, 3.0], "weights": [0.6, 0.4]},
            ),
            (
                {"atoms": [[0.0, 0.0], [1.0, 0.5]], "weights": [0.3, 0.7]},
                {"atoms": [[0.2, 1.0], [3.0, 0.1]], "weights": [0.6, 0.4]},
            ),
        ],
    },
    kl: {
        Normal: [
            ({"loc": [0.0], "scale": [1.0]}, {"loc": [0.5], "scale": [2.0]}),
            ({"loc": [0.5], "scale": [1.0]}, {"loc": [0.5], "scale": [1.0]}),
        ],
        LogNormal: [({"loc": [0.0], "scale": [1.0]}, {"loc": [0.5], "scale": [2.0]})],
        Gamma: [
            ({"shape": [2.0], "scale": [1.0]}, {"shape": [3.5], "scale": [0.4]}),
            ({"shape": [2.0], "scale": [1.0]}, {"shape": [2.0], "scale": [1.0]}),
            ({"shape": [0.3], "scale": [1.0]}, {"shape": [0.3000001], "scale": [1.0]}),
        ],
        Gaussian: [
            (_PLANE, {"mean": [0.5, -1.0], "cov": other}) for other in (EYE, TWINS, [[1.0, 0.3], [0.3, 2.0]])
        ]
        + [(_PLANE, _PLANE)],
        Discrete: [
            (
                {"atoms": np.asarray([0.0, 1.0, 2.5]), "weights": [0.2, 0.3, 0.5]},
                {"atoms": np.asarray([0.0, 1.0, 2.5]), "weights": other},
            )
            for other in ([0.6, 0.3, 0.1], [0.2, 0.3, 0.5])
        ],
    },
}

# Symmetric matrices, and eigenvalues of matrices that are turned and scaled, which keeps a null space null.
MATRICES: Mapping[Callable[..., Any], Sequence[list[list[float]]]] = {
    sqrt_psd: [EYE, TWINS, [[2.0, 0.6], [0.6, 1.0]]],
}
TURNED = ((1.0, 1.0), (4.0, 0.25), (1.0, 1e-6), (4.0, 0.0))


def coordinates(given: Parameters) -> tuple[float, ...]:
    """The coordinates of parameters, in their order."""
    found: list[float] = []
    for value in given.values():
        if isinstance(value, list):
            found += np.asarray(value).reshape(-1).tolist()
        elif isinstance(value, tuple):
            found += coordinates(value[1])
    return tuple(found)


def ends(kind: type, given: Parameters, start: int = 0) -> frozenset[int]:
    """Which coordinates are at the end of their domain: a 0 where negative numbers are none."""
    found: set[int] = set()
    inner = given["components"][0] if "components" in given else kind
    for name, value in given.items():
        if isinstance(value, list):
            flat = np.asarray(value).reshape(-1).tolist()
            closed = name in ("nc", "left", "right", "z", "weights")
            closed = closed or (name == "x" and getattr(inner, "support", "finite") == ">= 0")
            found |= {start + k for k, v in enumerate(flat) if v == 0.0 and closed}
            start += len(flat)
        elif isinstance(value, tuple):
            found |= ends(value[0], value[1], start)
            start += len(coordinates(value[1]))
    return frozenset(found)


def assembled(given: Parameters, theta: Any) -> dict[str, Any]:
    """Parameters with coordinates in the places of their numbers: matrices symmetric, weights with sum 1."""
    xp = array_api_compat.array_namespace(theta)
    made, start = {}, 0
    for name, value in given.items():
        if isinstance(value, np.ndarray):
            made[name] = xp.asarray(value, dtype=theta.dtype)
        elif isinstance(value, list):
            shape = np.asarray(value).shape
            stop = start + int(np.prod(shape))
            part = xp.reshape(theta[start:stop], shape)
            if name in ("cov", "covs"):
                part = 0.5 * (part + xp.matrix_transpose(part))
            made[name], start = part / xp.sum(part) if name == "weights" else part, stop
        elif isinstance(value, tuple):
            stop = start + len(coordinates(value[1]))
            made[name], start = value[0](**assembled(value[1], theta[start:stop])), stop
        else:
            made[name] = value
    return made
