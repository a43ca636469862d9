"""Storage, execution and analysis of runs, and suites of runs. Reading a run does not import torch."""
