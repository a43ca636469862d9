"""Benchmark screen. `plot` needs neither torch nor textual and also serves the command line."""
