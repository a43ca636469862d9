"""Child process that runs fuzz cases one after the other and prints their results as lines of JSON.

It is started with `python -m tests.fuzz.child FOLDER SEED FIRST END [TARGETS]`. `FOLDER/samples` must exist.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

from metatui.utils.errors import MetatuiError
from tests.fuzz import mutations, readers, samples
from tests.fuzz.targets import TARGETS, target_of
from tests.fuzz.watch import TooLongError, Watch, forget_peak, limit_memory, peak

SECRET = b"nobody's business\n"


class Cases:
    """Fuzz cases drawn with a seed.

    Args:
        folder: folder that contains the sample files and the home folder of the current case.
        only: comma-separated names of the targets to use; by default, all.
    """

    def __init__(self, folder: Path, seed: int, only: str | None = None) -> None:
        self._samples, self._home, self._outside = folder / "samples", folder / "home", folder / "outside"
        self._seed, self._only = seed, only
        for name in only.split(",") if only else ():
            TARGETS[name]  # fail before the imports, which take seconds
        self._outside.write_bytes(SECRET)
        mutations.OUTSIDE = self._outside
        self._watch = Watch(self._home)

    def run(self, number: int) -> dict[str, Any]:
        """Run a case and return its result. The `outcome` is `read`, `refused` or a description of the failure."""
        name, rng = target_of(number, self._seed, self._only)
        target = TARGETS[name]
        self._create_home(target.needs)
        how = target.mutate(self._home, rng)
        before, began = forget_peak(), time.perf_counter()
        outcome, detail = "read", ""
        with self._watch.case() as forbidden:
            try:
                target.read(self._home, rng)
            except MetatuiError as error:
                outcome, detail = "refused", str(error)
            except TooLongError as error:
                outcome, detail = "hang", "".join(traceback.format_exception(error))
            except BaseException as error:
                outcome, detail = type(error).__name__, "".join(traceback.format_exception(error))
        if outcome == "refused" and (not detail.strip() or len(detail) > 3000 or not detail.isprintable()):
            outcome = "unreadable sentence"
        if forbidden:
            outcome, detail = "forbidden", "; ".join(forbidden)
        if self._outside.read_bytes() != SECRET:
            outcome = "a file outside was changed"
            self._outside.write_bytes(SECRET)
        took = round(time.perf_counter() - began, 3)
        return {"case": number, "target": name, "how": how, "outcome": outcome, "detail": detail, "seconds": took,
                "bytes": max(0, peak() - before)}  # fmt: skip

    def _create_home(self, needs: tuple[str, ...]) -> None:
        """Create a new home folder that contains only the sample files in `needs`."""
        if self._home.exists():
            shutil.rmtree(self._home)
        for name in ("config", "data", "cache", "state", "tmp"):
            (self._home / name).mkdir(parents=True)
        for name in needs:
            if (self._samples / name).exists():
                shutil.copytree(self._samples / name, self._home / name, dirs_exist_ok=True)


def main(arguments: list[str]) -> None:
    folder, seed, first, end = Path(arguments[0]), int(arguments[1]), int(arguments[2]), int(arguments[3])
    say = os.fdopen(os.dup(1), "w", buffering=1)
    log = os.open(folder / "child.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(samples.environment(folder / "home"))
    os.environ.pop("METATUI_RUNS", None)
    sys.dont_write_bytecode = True
    cases = Cases(folder, seed, arguments[4] if len(arguments) > 4 else None)
    _warm_up()
    limit_memory()
    _run(cases, range(first, end), say)


def _run(cases: Cases, numbers: range, say: TextIO) -> None:
    for number in numbers:
        print(json.dumps({"begin": number}), file=say)
        print(json.dumps(cases.run(number)), file=say)


def _warm_up() -> None:
    """Import the modules that cases need, so that the memory limit applies only to the cases."""
    import matplotlib.font_manager  # noqa: F401  # lists the fonts once, by fc-list
    import torch

    import metatui.runs.execution.session
    import metatui.tui.app  # noqa: F401

    torch.set_num_threads(1)
    torch.ones(2, requires_grad=True).sum().backward()  # type: ignore[no-untyped-call] # starts the thread that computes gradients
    with contextlib.suppress(MetatuiError):
        readers.preferences(Path(), None)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1:])
