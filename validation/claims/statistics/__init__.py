"""Claims about what judges: tests of counts, means and distributions, their power, and fitted rates."""
