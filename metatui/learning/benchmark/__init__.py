"""Measurement of the training speed with each task, algorithm and engine, relative to the limits of this machine."""
