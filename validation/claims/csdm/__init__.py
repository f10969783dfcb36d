"""Claims of `csdm`: what sparse data need, what a sampler in a sketch costs, and how to decode it."""
