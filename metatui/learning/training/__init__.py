"""Set-up of an experiment, the training loop and its state."""
