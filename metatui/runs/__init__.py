"""Runs on disk: one folder each, and the folder is the truth. Reading one needs no torch."""
