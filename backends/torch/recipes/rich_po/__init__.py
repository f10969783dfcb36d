"""Recipes of ``rich_po``."""
