"""Colours: themes, colours of runs and splits, and contrast."""
