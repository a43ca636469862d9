"""Sources of tasks and episodes."""
