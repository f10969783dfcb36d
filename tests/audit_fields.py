"""What every document of an audit, and every row of it, has had since its first version."""

DOCUMENT = frozenset({"target", "versions", "rows"})
FIELDS = frozenset(
    {
        "object", "options", "verdict", "reason", "reproduction", "mean_error", "std_error", "order", "floor", "steps",
        "severity", "affine", "matches", "error", "value", "agrees",
    }
)  # fmt: skip
