"""Whole meta-steps, each as one compiled function or one CUDA graph."""
