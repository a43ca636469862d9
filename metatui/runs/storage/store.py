"""Store that creates, lists, finds and deletes the runs in one folder."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from metatui.config.schedule import Planned
from metatui.config.settings import Settings
from metatui.config.toml import settings_toml
from metatui.runs.storage.journal import Status
from metatui.runs.storage.lock import RunLock, holder
from metatui.runs.storage.run_folder import RunFolder, run_folder
from metatui.runs.storage.summary import RunSummary, SummaryCache, summarise
from metatui.utils import paths, slurm
from metatui.utils.errors import BadInput, did_you_mean, quote
from metatui.utils.files import reason, sync_directory, write_atomically, writing
from metatui.utils.text import format_count

LATEST = re.compile("latest(?:~([0-9]{1,6}))?")
"""Pattern of a reference to the newest run (`latest`), or to the n-th run before it (`latest~n`)."""


class RunStore:
    """Store of the runs in the folder `root`.

    By default, `root` is the folder in the environment variable METATUI_RUNS or, if this variable is not set, `runs` in
    the user's data folder.
    """

    def __init__(self, root: str | Path | None = None) -> None:
        self.root = paths.runs_dir(root)
        self._summaries = SummaryCache(self.root)

    def create(
        self,
        settings: Settings,
        *,
        preset: str | None = None,
        changes: Sequence[Planned] = (),
        origin: str | None = None,
        created: datetime | None = None,
    ) -> RunFolder:
        """Create a run folder, named after the algorithm, the task and the time, and write settings.toml to it.

        Args:
            created: time in the name of the folder, in UTC; by default, the current time.

        Raises:
            BadInput: if the root of the store is a file.
            WriteRefusedError: if the folder or the file cannot be created.
        """
        run = RunFolder(self._fresh_folder(name_of(settings, created or datetime.now(UTC))))
        source = origin or (f"preset {preset}" if preset else "own settings")
        about = {"title": f"Run {run.path.name}", "source": source}
        try:
            write_atomically(run.settings_path, settings_toml(settings, about, changes, whole=True).encode())
            with writing(self.root):
                sync_directory(self.root)
        except BaseException:  # a folder without settings would not appear in any list of runs
            shutil.rmtree(run.path, ignore_errors=True)
            raise
        return run

    def _fresh_folder(self, stem: str) -> Path:
        with writing(self.root):
            self.check_root()
            self.root.mkdir(parents=True, exist_ok=True)
            number = 1
            while True:
                path = self.root / (stem if number == 1 else f"{stem}-{number}")
                try:
                    path.mkdir()
                except FileExistsError:
                    number += 1
                else:
                    return path

    def check_root(self) -> None:
        """Raise BadInput if the root of this store is a file instead of a folder, or cannot be read."""
        name = quote(str(self.root), 200)
        if os.path.isfile(self.root):
            raise BadInput(f"{name} is a file, but must be a folder")
        try:
            os.scandir(self.root).close()
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise BadInput(f"{name} cannot be read: {reason(error)}") from None

    def runs(self) -> list[RunFolder]:
        """Return all runs in no particular order."""
        try:
            folders = [RunFolder(path) for path in self.root.iterdir()]
        except OSError:
            return []
        return [folder for folder in folders if folder.is_run()]

    def forbidden(self) -> list[str]:
        """Return the names of the folders in this store for which permission is denied, in alphabetical order."""
        try:
            folders = [RunFolder(path) for path in self.root.iterdir()]
        except OSError:
            return []
        return sorted(folder.id for folder in folders if folder.is_forbidden())

    def summaries(self) -> list[RunSummary]:
        """Return summaries of all runs, newest first. Summaries of runs that have ended are cached on disk."""
        return newest_first(self._summaries.summaries(self.runs()))

    def unfinished(self, settings: Settings, changes: Sequence[Planned] = ()) -> list[RunFolder]:
        """Return the interrupted runs that `--resume auto` may continue, newest first.

        These are the runs that were started with exactly the given settings and scheduled changes. In a requeued Slurm
        job, the runs of that job come first.
        """
        job = slurm.job()
        matching = self._matching(settings, changes, "interrupted")
        return sorted(matching, key=lambda run: not (job and _is_of_job(run, job)))

    def live_duplicates(self, settings: Settings, changes: Sequence[Planned] = ()) -> list[RunFolder]:
        """Return the live runs that were started with exactly these settings and scheduled changes, newest first."""
        return self._matching(settings, changes, "running", "paused")

    def _matching(self, settings: Settings, changes: Sequence[Planned], *statuses: Status) -> list[RunFolder]:
        matching = []
        for summary in self.summaries():
            with suppress(BadInput):
                same = summary.status in statuses and summary.settings == settings
                if same and summary.run.changes() == tuple(changes):
                    matching.append(summary.run)
        return matching

    def require_live_runs(self) -> list[RunFolder]:
        """Return the runs that a process is training, newest first.

        Raises:
            BadInput: if there is no such run, or the root of this store is a file or cannot be read.
        """
        self.check_root()
        if not (live := live_runs(self)):
            where = quote(str(self.root), 200)
            raise BadInput(f"no run in {where} is training: 'metatui runs' lists all runs")
        return [summary.run for summary in live]

    def find(self, reference: str | Path, *, live: bool = False) -> RunFolder:
        """Find a run by its name, the beginning of its name, the path of its folder, `latest` or `latest~n`.

        `latest` is the run that was started last, and `latest~1` is the run that was started before it.

        Args:
            live: whether to prefer live runs: when the names of several runs start with `reference`, and at least one
                of them is live, the others are ignored.

        Raises:
            BadInput: if no run matches (the message suggests similar names), or if the names of several runs start
                with `reference`.
        """
        text = str(reference)
        if isinstance(reference, Path) or os.sep in text or text in (".", ".."):
            return run_folder(paths.expanded(text))
        self.check_root()
        named = {run.path.name: run for run in self.runs()}
        if text in named:
            return named[text]
        if text and RunFolder(self.root / text).is_forbidden():
            return run_folder(self.root / text)
        if back := LATEST.fullmatch(text):
            return self._before_latest(int(back[1] or 0), text)
        starting = sorted(name for name in named if text and name.startswith(text))
        kind = "runs"
        if live and len(starting) > 1 and (training := [name for name in starting if named[name].is_live()]):
            starting, kind = training, "runs that are training"
        if len(starting) == 1:
            return named[starting[0]]
        if starting:
            some = ", ".join(quote(name)[1:-1] for name in starting[:3])
            more = f" and {len(starting) - 3} more" if len(starting) > 3 else ""
            raise BadInput(f"{len(starting)} {kind} have names that start with {quote(text)}: {some}{more}")
        hint = did_you_mean(text, [*named, "latest"] if named else [], "'metatui runs' lists all runs", most=3)
        raise BadInput(f"{quote(text)} is not a run in {quote(str(self.root), 200)}: {hint}")

    def _before_latest(self, back: int, reference: str) -> RunFolder:
        summaries = self.summaries()
        if back < len(summaries):
            return summaries[back].run
        where, count = quote(str(self.root), 200), format_count(len(summaries), "run")
        raise BadInput(f"there is no run {quote(reference)}: {where} has {count}")

    def delete(self, run: RunFolder) -> None:
        """Delete the folder of `run` or, if its path is a symbolic link, only the link.

        Raises:
            BadInput: if the folder is not a run, or a process is writing to it.
        """
        if run.link_target is not None:
            if run.is_live():  # the process would no longer find its files
                raise BadInput(f"run {quote(run.id)} is in use by {holder(run.lock_path)}")
            with writing(run.path):
                run.path.unlink()
            return
        if not run.is_run():
            raise BadInput(f"{quote(str(run.path), 200)} is not a run: it has no settings.toml")
        lock = RunLock(run.lock_path)
        try:
            discard(run)
        finally:
            lock.release()


def name_of(settings: Settings, created: datetime) -> str:
    """Return the name of a run. If this name is already in use, `RunStore.create` adds a number at the end."""
    return f"{settings.algorithm.name}-{settings.task.source}-{created:%Y%m%d-%H%M%S}"


def discard(run: RunFolder) -> None:
    """Remove the folder of a run. The caller must hold the run's lock, or have just created the folder."""
    with writing(run.path):
        # settings.toml first: a folder without it is not a run, so a partially deleted run is not listed.
        run.settings_path.unlink(missing_ok=True)
        shutil.rmtree(run.path)


def live_runs(store: RunStore) -> list[RunSummary]:
    """Return summaries of the runs that a process is training, newest first."""
    return newest_first([summarise(run) for run in store.runs() if run.is_live()])


def newest_first(summaries: list[RunSummary]) -> list[RunSummary]:
    return sorted(summaries, key=lambda summary: (summary.started, summary.id), reverse=True)


def _is_of_job(run: RunFolder, job: dict[str, str]) -> bool:
    """Return whether a process of the Slurm job and rank in `job` started or resumed `run`."""
    recorded = [entry.details.get("slurm") for entry in run.journal() if entry.event == "started"]
    names = ("SLURM_JOB_ID", "SLURM_PROCID")
    return any(isinstance(other, dict) and all(other.get(n) == job.get(n) for n in names) for other in recorded)
