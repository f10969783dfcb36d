"""Recipes of ART, as package data."""
