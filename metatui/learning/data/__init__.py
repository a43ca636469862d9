"""Data sets: sources of tasks, and the episodes that they produce."""
