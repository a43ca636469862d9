"""Command line interface, with one module for each command."""

from metatui.cli.main import main

__all__ = ["main"]
