"""Pictures of the app on the way of `tests.terminal.journey`, made in tmux: `python -m tests.recording`."""
