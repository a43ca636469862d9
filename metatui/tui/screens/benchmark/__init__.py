"""Benchmark screen. The command line also uses the module `plot`, which imports neither torch nor textual."""
