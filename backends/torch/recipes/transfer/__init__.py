"""Recipes of `transfer`."""
