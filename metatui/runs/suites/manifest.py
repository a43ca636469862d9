"""Manifest of a suite: a record of its runs. With this record, an interrupted suite can be continued."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from metatui.runs.storage.lock import RunLock, holder, is_held
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.runs.suites.models import PlannedRun, Suite, identity
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import read_bounded, remove_leftovers, write_atomically, writing
from metatui.utils.text import sanitize

FOLDER = ".suites"
MAX_BYTES = 4 * 1024 * 1024


class SuiteManifest:
    """Record of the started runs of a suite, identified by their settings.

    As a context manager, it holds the suite's lock. Only the process that holds the lock may start runs. A run
    belongs to the suite as long as it exists and the suite's file contains a run with the same settings.
    """

    def __init__(self, suite: Suite, store: RunStore) -> None:
        self.folder = store.root / FOLDER / suite.name
        self._suite = suite
        self.store = store
        self._lock: RunLock | None = None
        self._identities: dict[tuple[Path, int], Hashable] = {}
        """Cached identities of runs (`models.identity`), keyed by path and modification time of settings.toml."""

    @property
    def path(self) -> Path:
        return self.folder / "runs.json"

    @property
    def messages_path(self) -> Path:
        """File with the output of libraries during training."""
        return self.folder / "messages.log"

    @property
    def failures_path(self) -> Path:
        """File with the errors of runs that failed since the suite was last started. Such runs may have no folder."""
        return self.folder / "failures.json"

    @property
    def exports_path(self) -> Path:
        """File with the time and size of each file to which the suite's comparisons were exported."""
        return self.folder / "exports.json"

    @property
    def lock_path(self) -> Path:
        return self.folder / "lock"

    def is_held(self) -> bool:
        """Return whether a live process is running the suite."""
        return is_held(self.lock_path)

    def __enter__(self) -> SuiteManifest:
        """Acquire the suite's lock.

        Raises:
            BadInput: if another process holds the lock.
            MetatuiError: if the folder of the suite cannot be written.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock = RunLock(self.lock_path)
        except BadInput:
            raise BadInput(f"suite {quote(self._suite.name)} is being run by {holder(self.lock_path)}") from None
        try:
            with writing(self.messages_path):
                self.messages_path.write_bytes(b"")
                self.failures_path.unlink(missing_ok=True)
            remove_leftovers(self.folder, (self.path.name, self.failures_path.name, self.exports_path.name))
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
        """Return the newest run for each identity (`models.identity`); raise BadInput if the file is invalid."""
        runs = {}
        for name in self._names():
            run = RunFolder(self.store.root / name)
            # A deleted or unreadable run is trained again. ValueError: the name cannot be a file name.
            with suppress(BadInput, OSError, ValueError):
                runs[self._identity(run)] = run
        return runs

    def add(self, run: RunFolder) -> None:
        """Record a started run; raise MetatuiError if the file cannot be written."""
        names = [name for name in self._names() if name != run.path.name]
        text = json.dumps({"suite": self._suite.name, "runs": [*names, run.path.name]}, indent=1)
        write_atomically(self.path, text.encode())

    def failed(self, run: PlannedRun, sentence: str) -> None:
        """Record why a run failed; raise MetatuiError if the file cannot be written."""
        write_atomically(self.failures_path, json.dumps({**self.failures(), run.digest: sentence}, indent=1).encode())

    def failures(self) -> dict[str, str]:
        """Return the errors of failed runs, keyed by `PlannedRun.digest`."""
        failures = _read_object(self.failures_path)
        return {digest: sanitize(text, limit=400) for digest, text in failures.items() if isinstance(text, str)}

    def add_exports(self, files: Iterable[Path]) -> None:
        """Record files to which a comparison was exported; raise MetatuiError if the record cannot be written."""
        exports = {**_read_object(self.exports_path), **{str(file.absolute()): _signature(file) for file in files}}
        write_atomically(self.exports_path, json.dumps(exports, indent=1).encode())

    def has_exported(self, file: Path) -> bool:
        """Return whether `file` is as the suite exported it: nothing else has replaced or changed it since."""
        signature = _signature(file)
        return signature is not None and _read_object(self.exports_path).get(str(file.absolute())) == signature

    def folders(self) -> list[tuple[PlannedRun, RunFolder | None]]:
        """Return each run of the suite with its folder, or with None if the run has not been started."""
        runs = self.runs()
        return [(run, runs.get(run.identity)) for run in self._suite.runs]

    def missing(self) -> list[tuple[PlannedRun, RunFolder | None]]:
        """Return the unfinished runs with their folders."""
        return [(run, folder) for run, folder in self.folders() if folder is None or folder.status() != "finished"]

    def _identity(self, run: RunFolder) -> Hashable:
        # Cached, because a monitor reads the identity every second, and settings.toml is written only once.
        key = run.path, run.settings_path.stat().st_mtime_ns
        if key not in self._identities:
            self._identities[key] = identity(run.settings())
        return self._identities[key]

    def _names(self) -> list[str]:
        with suppress(PermissionError):  # which `read_bounded` reports
            if not self.path.exists():
                return []
        try:
            names = json.loads(read_bounded(self.path, MAX_BYTES))["runs"]
            if isinstance(names, list) and all(
                isinstance(name, str) and Path(name).name == name and name not in ("", "..") for name in names
            ):
                return names
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        file = quote(str(self.path), 200)
        raise BadInput(f"{file} is not a valid list of runs: delete the file to train the suite again")


def _read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in the file `path`; an empty dict if the file is missing or invalid."""
    with suppress(BadInput, ValueError, RecursionError):
        found = json.loads(read_bounded(path, MAX_BYTES))
        if isinstance(found, dict):
            return found
    return {}


def _signature(file: Path) -> list[int] | None:
    """Return the modification time (in nanoseconds) and the size of a file; None if it cannot be examined."""
    try:
        status = file.stat()
    except (OSError, ValueError):
        return None
    return [status.st_mtime_ns, status.st_size]
