"""Records pictures of the app in tmux: `python -m tests.recording`."""
