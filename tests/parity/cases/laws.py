"""Elementwise laws: density, score and moments as functions of the point and the parameters."""

from tests.parity.rows import HALF_LINE, POSITIVE, REAL, mesh, row

SCALES = (1e-3, 0.7, 30.0)
DEGREES = (0.3, 1.0, 2.0, 4.0, 9.5, 80.0)
CENTRES = (0.0, 1e-6, 0.8, 50.0, 1e4)
ORDERS = (-0.95, -0.5, 0.0, 1.0, 30.0)
ARGUMENTS = (0.0, 1e-6, 0.5, 3.0, 50.0, 1e4, 1e8)
PULLS = (0.0, 1e-6, 0.8, 50.0, 1e4)

counts = [mesh({"nu": nu}, z=ARGUMENTS) for nu in ORDERS]
ends = [mesh({"delta": delta}, left=PULLS, right=PULLS, scale=SCALES) for delta in DEGREES]
inside = [mesh({"delta": delta}, x=HALF_LINE, left=PULLS, right=PULLS, scale=SCALES) for delta in DEGREES]

# Tails are asked anywhere.  Beyond 100 deviations the noise of the bounds moves where log_ndtr rounds its square.
everywhere = (-3.0, 0.0, 1e-300, 1e-3, 0.5, 4.0, 90.0)
normal_tails = [mesh(x=(-40.0, -3.0, -1e-8, 0.0, 0.5, 40.0), loc=(-2.0, 3.0), scale=(0.5, 30.0))]
lognormal_tails = [mesh(x=everywhere, loc=(-2.0, 3.0), scale=(0.7, 3.0))]
gamma_tails = [
    mesh({"shape": 0.3}, x=everywhere, scale=(0.7,)),
    mesh(x=everywhere, shape=(0.3, 60.0), scale=(0.7,)),
]
noncentral_tails = [mesh({"df": df}, x=everywhere, nc=(0.0, 50.0), scale=(0.7,)) for df in (0.3, 80.0)]
mixed_tails = [
    mesh({"df": df, "shape": 1.3}, x=everywhere, mixing=(1e-3, 30.0), scale=(0.7,)) for df in (0.3, 80.0)
]
bridge_tails = [
    mesh({"delta": delta}, x=everywhere, left=(0.0, 50.0), right=(0.8,), scale=(0.7,))
    for delta in (0.3, 80.0)
]
count_tails = [mesh({"nu": nu}, x=(-3.0, 0.0, 4.5, 40.0), z=(0.0, 0.5, 50.0, 1e4)) for nu in (-0.5, 30.0)]

ROWS = {
    "theory.laws.GammaMixedChi2.log_cdf": row(mixed_tails),
    "theory.laws.GammaMixedChi2.log_sf": row(
        mixed_tails,
        rounded=True,
        reason="at 1e-3 it is the exponential of -400, a sum with a log-gamma, which the noise leaves out; its rounding "
        "is 400 of those of the result",
    ),
    "theory.laws.SquaredBesselBridge.log_cdf": row(bridge_tails),
    "theory.laws.SquaredBesselBridge.log_sf": row(bridge_tails),
    "theory.laws.BesselCount.log_cdf": row(count_tails, gentle={"x": (0.5, 1.5, 4.5)}),
    "theory.laws.BesselCount.log_sf": row(count_tails, gentle={"x": (0.5, 1.5, 4.5)}),
    "theory.laws.Normal.log_cdf": row(normal_tails),
    "theory.laws.Normal.log_sf": row(normal_tails),
    "theory.laws.LogNormal.log_cdf": row(lognormal_tails),
    "theory.laws.LogNormal.log_sf": row(lognormal_tails),
    "theory.laws.Gamma.log_cdf": row(gamma_tails),
    "theory.laws.Gamma.log_sf": row(gamma_tails[1:]),
    "theory.laws.NoncentralChi2.log_cdf": row(noncentral_tails),
    "theory.laws.NoncentralChi2.log_sf": row(noncentral_tails[1:]),
    "theory.laws.Normal.log_prob": row([mesh(x=REAL, loc=(-2.0, 0.0, 3.0), scale=SCALES)]),
    "theory.laws.Normal.score": row([mesh(x=REAL, loc=(-2.0, 0.0, 3.0), scale=SCALES)]),
    "theory.laws.Normal.mean": row([mesh(loc=(-2.0, 0.0, 3.0), scale=SCALES)]),
    "theory.laws.Normal.variance": row([mesh(loc=(-2.0, 0.0, 3.0), scale=SCALES)]),
    "theory.laws.LogNormal.log_prob": row([mesh(x=POSITIVE, loc=(-2.0, 0.0, 3.0), scale=(0.01, 0.7, 3.0))]),
    "theory.laws.LogNormal.score": row([mesh(x=POSITIVE, loc=(-2.0, 0.0, 3.0), scale=(0.01, 0.7, 3.0))]),
    "theory.laws.LogNormal.mean": row([mesh(loc=(-2.0, 0.0, 3.0), scale=(0.01, 0.7, 3.0))]),
    "theory.laws.LogNormal.variance": row([mesh(loc=(-2.0, 0.0, 3.0), scale=(0.01, 0.7, 3.0))]),
    "theory.laws.Gamma.log_prob": row(
        [mesh({"shape": k}, x=HALF_LINE, scale=SCALES) for k in (0.3, 1.0, 4.0)]
        + [mesh(x=HALF_LINE, shape=(0.3, 1.0, 4.0, 300.0), scale=SCALES)]
    ),
    "theory.laws.Gamma.score": row([mesh(x=HALF_LINE, shape=(0.3, 1.0, 4.0, 300.0), scale=SCALES)]),
    "theory.laws.Gamma.mean": row([mesh(shape=(0.3, 1.0, 4.0, 300.0), scale=SCALES)]),
    "theory.laws.Gamma.variance": row([mesh(shape=(0.3, 1.0, 4.0, 300.0), scale=SCALES)]),
    "theory.laws.NoncentralChi2.log_prob": row(
        [mesh({"df": df}, x=HALF_LINE, nc=CENTRES, scale=SCALES) for df in DEGREES]
    ),
    "theory.laws.NoncentralChi2.score": row(
        [mesh({"df": df}, x=HALF_LINE, nc=CENTRES, scale=SCALES) for df in DEGREES]
    ),
    "theory.laws.NoncentralChi2.mean": row([mesh({"df": df}, nc=CENTRES, scale=SCALES) for df in DEGREES]),
    "theory.laws.NoncentralChi2.variance": row(
        [mesh({"df": df}, nc=CENTRES, scale=SCALES) for df in DEGREES]
    ),
    "theory.laws.GammaMixedChi2.log_prob": row(
        [mesh({"df": df, "shape": 1.3}, x=HALF_LINE, mixing=SCALES, scale=SCALES) for df in DEGREES]
    ),
    "theory.laws.GammaMixedChi2.score": row(
        [mesh({"df": df, "shape": 1.3}, x=HALF_LINE, mixing=SCALES, scale=SCALES) for df in DEGREES],
    ),
    "theory.laws.GammaMixedChi2.mean": row(
        [mesh({"df": df, "shape": 1.3}, mixing=SCALES, scale=SCALES) for df in DEGREES]
    ),
    "theory.laws.GammaMixedChi2.variance": row(
        [mesh({"df": df, "shape": 1.3}, mixing=SCALES, scale=SCALES) for df in DEGREES]
    ),
    "theory.laws.BesselCount.log_prob": row(
        [mesh({"nu": nu}, x=(0.0, 1.0, 5.0, 40.0, 1e4), z=ARGUMENTS) for nu in ORDERS],
        gentle={"x": (0.0, 1.0, 4.0)},
    ),
    "theory.laws.BesselCount.mean": row(counts),
    "theory.laws.BesselCount.variance": row(counts),
    "theory.laws.SquaredBesselBridge.log_prob": row(inside),
    "theory.laws.SquaredBesselBridge.score": row(inside),
    "theory.laws.SquaredBesselBridge.mean": row(ends),
    "theory.laws.SquaredBesselBridge.variance": row(ends),
}
