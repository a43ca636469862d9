"""Whole meta-steps as one compiled function or one CUDA graph."""
