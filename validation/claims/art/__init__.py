"""Claims of `art`: the exact error of a grid on Gaussian data, grids that are optimal, ART and ART-RL."""
