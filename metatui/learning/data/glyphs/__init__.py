"""Glyphs: an unlimited number of generated, handwriting-like characters."""
