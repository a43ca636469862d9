"""Layers with explicit double backward passes, fused layers, and the functions that put them into a model."""
