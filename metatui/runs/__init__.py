"""Runs: their folders, execution, analysis, suites and search. Reading a run does not import torch."""
