"""Samplers of tokens, audited exactly: every canvas, every draw, over a vocabulary of two or three.

What is known of a text is its law; what a sampler is given is the exact denoiser of that law, and the law of what it
ends with is found by listing all that its code can draw.
"""

from .laws import is_discrete
from .rows import STEPS, audit_discrete, discrete_rows

__all__ = ["STEPS", "audit_discrete", "discrete_rows", "is_discrete"]
