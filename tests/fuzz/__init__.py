"""Fuzzing of every file that metatui reads: `python -m tests.fuzz`."""
