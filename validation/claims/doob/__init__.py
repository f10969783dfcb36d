"""Claims of `doob`: hard constraints by the h-transform, with what it costs and what errors cost."""
