"""Survival tests: kill runs repeatedly and compare them with uninterrupted runs, or monitor the memory of long runs.

Run `python -m tests.survival --kills 50` or `python -m tests.survival memory`.
"""
