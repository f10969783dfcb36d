"""Claims of `opd`: the exact gradient of f-divergence distillation, and what the stop-gradient descends."""
