"""Captures screenshots of the app in tmux: `python -m tests.recording`."""
