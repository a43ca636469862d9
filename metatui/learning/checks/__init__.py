"""Proofs of the meta-gradients, which `metatui check` runs."""
