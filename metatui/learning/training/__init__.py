"""The trainer, its state and the set-up of an experiment."""
