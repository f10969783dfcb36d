"""Diffusion in a sketch: stress windows of the S&P 500, and digits."""
