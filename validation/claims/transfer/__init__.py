"""Claims of `transfer`: rates with their constants by exact risk, who wins, and when transfer hurts."""
