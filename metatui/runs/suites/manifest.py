"""Which runs are a suite's: a small folder among the runs, so that the same suite goes on where it was left."""

from __future__ import annotations

import json
from collections.abc import Hashable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from metatui.runs.storage.lock import RunLock, holder, is_held
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.runs.suites.models import PlannedRun, Suite, identity
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import read_bounded, remove_leftovers, write_atomically, writing
from metatui.utils.text import sanitize

FOLDER = ".suites"
LARGEST = 4 * 1024 * 1024


class SuiteManifest:
    """The runs of one suite that were started, known by their settings. Whoever starts more of them must hold it.

    A run whose folder is gone, or says other settings, is none of the suite's any more; a suite whose file has
    changed keeps the runs that it still has.
    """

    def __init__(self, suite: Suite, store: RunStore) -> None:
        self.folder = store.root / FOLDER / suite.name
        self._suite = suite
        self._store = store
        self._lock: RunLock | None = None
        self._identities: dict[tuple[Path, int], Hashable] = {}
        """Of the settings.toml of each run, by its time."""

    @property
    def path(self) -> Path:
        return self.folder / "runs.json"

    @property
    def messages_path(self) -> Path:
        """What libraries print while runs train."""
        return self.folder / "messages.log"

    @property
    def failures_path(self) -> Path:
        """Why runs failed since the suite was last begun or gone on with; some of them have no folder to say it."""
        return self.folder / "failures.json"

    @property
    def lock_path(self) -> Path:
        return self.folder / "lock"

    def is_held(self) -> bool:
        """Whether a living process makes the suite's runs."""
        return is_held(self.lock_path)

    def __enter__(self) -> SuiteManifest:
        """Raises BadInput where another process runs the suite, MetatuiError where nothing can be written."""
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
            remove_leftovers(self.folder, (self.path.name, self.failures_path.name))
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
            with suppress(BadInput, OSError):  # deleted, or no longer to be read: it is run anew
                found[self._identity(run)] = run
        return found

    def add(self, run: RunFolder) -> None:
        """Remembers a run that was started. Raises MetatuiError where it cannot be written."""
        names = [name for name in self._names() if name != run.path.name]
        text = json.dumps({"suite": self._suite.name, "runs": [*names, run.path.name]}, indent=1)
        write_atomically(self.path, text.encode())

    def failed(self, run: PlannedRun, sentence: str) -> None:
        """Remembers why a run failed. Raises MetatuiError where it cannot be written."""
        write_atomically(self.failures_path, json.dumps({**self.failures(), run.name: sentence}, indent=1).encode())

    def failures(self) -> dict[str, str]:
        """Why runs failed, by their names in the suite."""
        with suppress(BadInput, ValueError, RecursionError):
            found = json.loads(read_bounded(self.failures_path, LARGEST))
            if isinstance(found, dict):
                return {name: sanitize(said, limit=400) for name, said in found.items() if isinstance(said, str)}
        return {}

    def folders(self) -> list[tuple[PlannedRun, RunFolder | None]]:
        """Each run of the suite with its folder; None where it was not started."""
        runs = self.runs()
        return [(run, runs.get(run.identity)) for run in self._suite.runs]

    def missing(self) -> list[tuple[PlannedRun, RunFolder | None]]:
        """Those that are not finished."""
        return [(run, folder) for run, folder in self.folders() if folder is None or folder.status() != "finished"]

    def _identity(self, run: RunFolder) -> Hashable:
        # Whoever watches a suite asks again every second, and settings.toml is written once.
        key = run.path, run.settings_path.stat().st_mtime_ns
        if key not in self._identities:
            self._identities[key] = identity(run.settings())
        return self._identities[key]

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
            f"{quote(str(self.path), 200)} does not name the runs of a suite: delete it to run the suite anew"
        )
