"""Layers of PyTorch rewritten for faster first and second derivatives."""
