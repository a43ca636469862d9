"""The training loop, its state, and messages and hints about a run."""
