"""Layers of networks, and weights read from files."""
