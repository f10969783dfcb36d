"""The claims of `tweedie`: Tweedie's formulae and diffusion generative models beyond Gaussian noise."""
