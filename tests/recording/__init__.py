"""Records pictures of the app in tmux during `tests.terminal.journey`: `python -m tests.recording`."""
