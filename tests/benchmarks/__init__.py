"""Benchmarks, which are not part of the test suite. See `python -m tests.benchmarks --help`."""
