"""Compare screen: runs evaluated on identical held-out tasks, with their curves, tests and tables."""
