"""Which runs are a suite's: a small folder among the runs, so that the same suite goes on where it was left."""

from __future__ import annotations

import json
from collections.abc import Hashable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from metatui.errors import BadInput, shown
from metatui.files import read_bounded, write_atomically, writing
from metatui.runs.folder import RunFolder
from metatui.runs.lock import RunLock, holder
from metatui.runs.store import RunStore
from metatui.runs.suite.values import PlannedRun, Suite, identity

FOLDER = ".suites"
LARGEST = 4 * 1024 * 1024


class Ledger:
    """The runs of one suite that were started, known by their settings. Whoever starts more of them must hold it.

    A run whose folder is gone, or says other settings, is none of the suite's any more; a suite whose file has
    changed keeps the runs that it still has.
    """

    def __init__(self, suite: Suite, store: RunStore) -> None:
        self.folder = store.root / FOLDER / suite.name
        self._suite = suite
        self._store = store
        self._lock: RunLock | None = None

    @property
    def path(self) -> Path:
        return self.folder / "runs.json"

    @property
    def messages_path(self) -> Path:
        """What libraries print while runs train."""
        return self.folder / "messages.log"

    def __enter__(self) -> Ledger:
        """Raises BadInput where another process runs the suite, MetatuiError where nothing can be written."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        lock = self.folder / "lock"
        try:
            self._lock = RunLock(lock)
        except BadInput:
            raise BadInput(f"suite {shown(self._suite.name)} is being run by {holder(lock)}") from None
        try:
            with writing(self.messages_path):
                self.messages_path.write_bytes(b"")
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._lock is not None
        self._lock.release()

    def runs(self) -> dict[Hashable, RunFolder]:
        """Of each identity the run that was started last. Raises BadInput where the file holds something else."""
        found = {}
        for name in self._names():
            run = RunFolder(self._store.root / name)
            with suppress(BadInput):  # deleted, or no longer to be read: it is run anew
                found[identity(run.settings())] = run
        return found

    def add(self, run: RunFolder) -> None:
        """Remembers a run that was started. Raises MetatuiError where it cannot be written."""
        names = [name for name in self._names() if name != run.path.name]
        text = json.dumps({"suite": self._suite.name, "runs": [*names, run.path.name]}, indent=1)
        write_atomically(self.path, text.encode())

    def folders(self) -> list[tuple[PlannedRun, RunFolder | None]]:
        """Each run of the suite with its folder; None where it was not started."""
        runs = self.runs()
        return [(run, runs.get(run.identity)) for run in self._suite.runs]

    def _names(self) -> list[str]:
        if not self.path.exists():
            return []
        try:
            names = json.loads(read_bounded(self.path, LARGEST))["runs"]
            if isinstance(names, list) and all(
                isinstance(name, str) and Path(name).name == name and name not in ("", "..") for name in names
            ):
                return names
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        raise BadInput(
            f"{shown(str(self.path), 200)} does not name the runs of a suite: delete it to run the suite anew"
        )
