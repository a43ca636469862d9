"""Running a module of metatui in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path


def module(name: str) -> tuple[str, ...]:
    """The command that runs `name`'s `main`, whatever lies in the folder that somebody happens to be in."""
    start = f"import sys; sys.path.append(sys.argv.pop(1)); from {name} import main; sys.exit(main())"
    return sys.executable, "-P", "-c", start, str(Path(__file__).parents[2])
