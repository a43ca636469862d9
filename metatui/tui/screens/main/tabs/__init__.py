"""Tabs with the lists of runs and presets."""
