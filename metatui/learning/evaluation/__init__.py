"""Evaluation on held-out tasks, its statistics, the explorer of single tasks, and trajectories of adaptation."""
