"""Entry point of `metatui` and `python -m metatui`."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    """Run the command line and return its exit code."""
    if "--detach" in sys.argv:  # the run must start even if the terminal is closed while this process loads
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from metatui.cli import main as command_line

    code = command_line(sys.argv[1:])
    # Ignore Ctrl-C from here on: it would only print a traceback while Python exits.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


if __name__ == "__main__":
    sys.exit(main())
