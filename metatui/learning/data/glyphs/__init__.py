"""Endless handwriting-like characters."""
