"""The recipes that come with the package, a folder for each paper, and how any recipe is read."""

from .shipped import Shipped, find, names, shipped
from .tables import RecipeError, changed, read

__all__ = ["RecipeError", "Shipped", "changed", "find", "names", "read", "shipped"]
