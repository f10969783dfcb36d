"""Published image models: one loader, and one set of adapters to what diffusers calls them."""
