"""Declarations of the built-in data sets, one module for each. These modules do not import torch at module level."""
