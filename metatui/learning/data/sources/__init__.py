"""Declarations of the built-in data sets, one module for each. Importing these modules does not import torch."""
