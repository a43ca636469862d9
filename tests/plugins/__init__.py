"""Plugins as an outside developer writes them from `metatui/README.md`, and their tests."""
