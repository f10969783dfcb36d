"""Recipes of ``adjoint``."""
