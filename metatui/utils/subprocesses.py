"""Commands that run a module of metatui in another process."""

from __future__ import annotations

import sys
from pathlib import Path


def module(name: str) -> tuple[str, ...]:
    """Return the command that runs `main` of the module `name`, without importing from the current folder."""
    start = f"import sys; sys.path.append(sys.argv.pop(1)); from {name} import main; sys.exit(main())"
    return sys.executable, "-P", "-c", start, str(Path(__file__).parents[2])
