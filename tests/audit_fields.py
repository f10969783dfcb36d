"""What every row of a document of an audit has had since its first version."""

FIELDS = frozenset(
    {"object", "options", "verdict", "mean_error", "std_error", "order", "floor", "reason", "reproduction"}
)
