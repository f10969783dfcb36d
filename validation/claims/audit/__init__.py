"""What the audit of samplers and losses sees, and what it leaves alone."""
