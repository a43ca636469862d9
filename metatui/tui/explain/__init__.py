"""Algorithms explained, with one's own settings put in."""
