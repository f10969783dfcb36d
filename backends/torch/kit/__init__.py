"""What every training shares: its identity, its file, its lock, and how it is stopped and resumed."""
