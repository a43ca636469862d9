"""Compare screen: runs measured on identical held-out tasks, with their curves, tests and tables."""
