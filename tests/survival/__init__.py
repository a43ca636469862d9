"""Kill runs repeatedly and compare them with uninterrupted ones; watch the memory of long runs.

`python -m tests.survival --kills 50` and `python -m tests.survival memory`.
"""
