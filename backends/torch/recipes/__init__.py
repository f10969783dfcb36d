"""Recipes that come with the package: one folder a paper, one TOML file an experiment."""
