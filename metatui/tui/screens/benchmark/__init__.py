"""Benchmark screen. `rows` and `plot` need neither torch nor textual and also serve the command line."""
