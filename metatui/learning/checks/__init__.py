"""Checks of the meta-gradients, run by `metatui check`."""
