"""`metatui` and `python -m metatui`."""

from __future__ import annotations

import sys


def main() -> int:
    from metatui.cli import main as command_line

    return command_line(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
