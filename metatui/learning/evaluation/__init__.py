"""Held-out evaluation, statistics, explorer and trajectories."""
