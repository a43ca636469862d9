"""Declarations of the built-in data sets, one module for each. They import no torch at module level."""
