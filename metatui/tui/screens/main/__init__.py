"""The panes of the work screen and the other tabs."""
