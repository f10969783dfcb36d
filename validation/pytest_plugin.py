"""Pytest plugin: every piece of evidence is a test node."""
