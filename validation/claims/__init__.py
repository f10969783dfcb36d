"""The claims, one module or folder a paper."""
