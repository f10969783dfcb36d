"""Claims of `adjoint`: fine-tuning of flow models as deterministic control, beside its exact answers."""
