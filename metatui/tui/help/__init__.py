"""Texts of the help and their search."""
