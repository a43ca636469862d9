"""Model of a run for display: metric histories, events and results."""
