"""Model of a run for display: history of metrics, events, results."""
