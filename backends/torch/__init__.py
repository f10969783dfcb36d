"""Networks, losses, training and data for torch, around the kernels of theory and numerics."""
