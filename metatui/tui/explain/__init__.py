"""Explanations of the algorithms with the current settings."""
