"""Entry point of `metatui` and `python -m metatui`."""

from __future__ import annotations

import signal
import sys


def main() -> int:
    from metatui.cli import main as command_line

    code = command_line(sys.argv[1:])
    # Ctrl-C has nothing left to stop here: it would only print a traceback while Python exits.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return code


if __name__ == "__main__":
    sys.exit(main())
