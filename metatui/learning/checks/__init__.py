"""Verification of the meta-gradients by `metatui check`."""
