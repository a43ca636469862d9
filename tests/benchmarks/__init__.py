"""Side-by-side timings: `python -m tests.benchmarks`. Never part of the test suite."""
