"""Published image models: one loader, and one set of adapters to what diffusers calls them; and small trained ones."""

from .models import zoo

__all__ = ["zoo"]
