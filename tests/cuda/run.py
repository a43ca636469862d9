"""Run a program, and all Python programs that it starts, with simulated CUDA devices.

python -m tests.cuda.run [--devices N] -m MODULE [ARGUMENT...]
python -m tests.cuda.run [--devices N] SCRIPT [ARGUMENT...]
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.cuda.guard import reason_unavailable

FOLDER = Path(__file__).parent


def environment(devices: int = 2, base: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return environment variables that give a Python process simulated CUDA devices."""
    root = FOLDER.parent.parent
    path = os.pathsep.join(filter(None, [str(FOLDER / "site"), str(root), base.get("PYTHONPATH")]))
    return {**base, "PYTHONPATH": path, "SIMULATED_CUDA_DEVICES": str(devices)}


def main() -> None:
    program, devices = sys.argv[1:], 2
    if program[:1] == ["--devices"] and len(program) > 1:
        devices, program = int(program[1]), program[2:]
    if not program:
        sys.exit(__doc__)
    if reason := reason_unavailable():
        sys.exit(reason)
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, *program], environment(devices))


if __name__ == "__main__":
    main()
