"""Tests on simulated CUDA devices.

To run one file of tests: `python -m tests.cuda.run -m pytest -n 0 tests/cuda/scenarios/FILE.py`.
"""
