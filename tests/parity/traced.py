"""What jax cannot trace: what these do depends on numbers."""

UNTRACEABLE = {
    "numerics.samplers.reverse.matched_bridge_step": "BesselCount draws by rejection until all are accepted",
    "numerics.sensing.greedy.debias": "the largest support is the shape of an array",
}
