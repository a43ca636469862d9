"""Tests that run on simulated CUDA devices: `python -m tests.cuda.run -m pytest -n 0 tests/cuda/scenarios/FILE.py`."""
