r"""Claims of *Tweedie's formulae and diffusion generative models beyond Gaussian*.

Everything is compared with :mod:`.textbook`: transition densities written out from their textbook forms
in mpmath, at fifty digits, which share no code with the library.
"""
