"""The command line: one short file a command, imported when it is used."""

from metatui.cli.main import main

__all__ = ["main"]
