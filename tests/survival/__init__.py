"""Runs that are killed, again and again, and go on as if they never had been; and runs whose memory stays flat.

`python -m tests.survival --kills 50` and `python -m tests.survival memory`.
"""
