"""Claims of `rich_po`: what pairs can teach, what they cannot, and where the losses go instead."""
