"""Claims of `diffpo`: exact laws of masked diffusion, its estimators and losses, by enumeration."""
