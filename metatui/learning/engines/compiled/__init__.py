"""Whole meta-steps that run as one compiled function or as one CUDA graph."""
