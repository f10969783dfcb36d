"""Claims of what all papers share: special functions, gradients of every law, and what holds at extreme scales."""
