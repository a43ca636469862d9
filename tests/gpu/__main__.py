"""Test and measure metatui on a GPU: `python -m tests.gpu`. See README.md in this folder."""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from metatui.learning.hardware import nvml
from tests.cuda.guard import reason_unavailable
from tests.cuda.run import environment

SIMULATED = "SIMULATED_CUDA_DEVICES"


def main() -> int:
    arguments = _arguments()
    simulated = SIMULATED in os.environ
    wants_cuda = arguments.device.startswith("cuda")
    if arguments.tiny and wants_cuda and not simulated and not nvml.read_driver().gpus:
        if reason := reason_unavailable():
            sys.exit(f"there is no NVIDIA GPU, and a device cannot be simulated: {reason}")
        os.execve(sys.executable, [sys.executable, "-m", "tests.gpu", *sys.argv[1:]], environment(devices=2))

    # Import once here, for all steps. Nothing before a step may touch the device, because CUDA does not survive a fork.
    from tests.gpu.common import StepEnvironment
    from tests.gpu.runner import Report, run_all
    from tests.gpu.steps import STEPS

    names = [step.name for step in STEPS]
    wanted = arguments.only.split(",") if arguments.only else names
    if unknown := [name for name in wanted if name not in names]:
        sys.exit(f"--only names {', '.join(unknown)}, but the steps are {', '.join(names)}")
    began = time.monotonic()
    env = StepEnvironment(arguments.device, arguments.tiny, simulated and wants_cuda, arguments.out, began)
    with closing(Report(arguments.out / "results.jsonl")) as say:
        say({"step": "start", "at": datetime.now(UTC).isoformat(timespec="seconds"), "arguments": sys.argv[1:]})
        failed = run_all([step for step in STEPS if step.name in wanted], env, 60 * arguments.minutes, say)
        took = round(time.monotonic() - began, 1)
        say({"step": "end", "status": "failed" if failed else "ok", "failed": failed, "seconds": took})
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu", description=__doc__)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu (cuda)")
    parser.add_argument("--minutes", type=float, default=8.0, help="time limit for all steps together (8)")
    parser.add_argument("--only", default="", metavar="STEP,...", help="run only these steps")
    parser.add_argument("--tiny", action="store_true", help="smallest sizes; on a simulated device if there is no GPU")
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder of results.jsonl (gpu-results)")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # the current step has been killed
        sys.exit(130)
