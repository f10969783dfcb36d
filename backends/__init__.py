"""Where it runs: the torch shell around the kernels of theory and numerics."""
