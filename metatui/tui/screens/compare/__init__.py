"""Runs compared in the app: measured in a child process, drawn from the one `Comparison` that exports come from too."""
