"""Training beyond Gaussian: prices, realised variance and digits."""
