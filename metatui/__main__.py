"""`metatui` and `python -m metatui`."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    from metatui.cli import main as command_line

    code = command_line(sys.argv[1:])
    # A second Ctrl-C that comes this late has nothing left to stop: it would only make Python's exit print a traceback.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


if __name__ == "__main__":
    sys.exit(main())
