"""Run folders: paths and contents of the files of a run."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from metatui.config import presets
from metatui.config.schedule import Planned
from metatui.config.settings import Settings
from metatui.events import Progress, TaskView
from metatui.learning.data.schema import DataSchema
from metatui.runs.storage.checkpoints import saved_meta_step
from metatui.runs.storage.journal import Entry, Status, effective_entries, last_status, read_journal
from metatui.runs.storage.lock import is_held, released_by
from metatui.runs.storage.metrics import MetricsReader, first_progress, last_progress
from metatui.runs.storage.result_files import AdaptationRecord, DataRecord, EvaluationRecord, read_record
from metatui.utils import paths
from metatui.utils.errors import BadInput, quote
from metatui.utils.text import sanitize


class _File:
    """Descriptor for the path of a file in a run folder."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, run: RunFolder, _: type[RunFolder]) -> Path:
        return run.path / self._name


@dataclass(frozen=True)
class RunFolder:
    """Folder of a run, which may still be training or may have ended. Every method reads the current files."""

    path: Path

    @property
    def id(self) -> str:
        """Name of the folder, safe to print."""
        return sanitize(self.path.name, limit=80)

    @property
    def argument(self) -> str:
        """Name of the run, or its path if it is not in the default folder, as a quoted argument for shell commands."""
        text = self.path.name if self.path.parent == paths.runs_dir() else str(self.path)
        return shlex.quote(sanitize(text, limit=4096))

    @property
    def resume_command(self) -> str:
        """Shell command that resumes the run."""
        return f"metatui run --resume {self.argument}"

    @property
    def link_target(self) -> str | None:
        """Target of the symbolic link to the folder, as text that is safe to print; None if `path` is not a link."""
        try:
            return quote(os.readlink(self.path), 200)
        except (OSError, ValueError):
            return None

    settings_path = _File("settings.toml")
    journal_path = _File("journal.jsonl")
    metrics_path = _File("metrics.jsonl")
    evaluation_path = _File("evaluation.json")
    adaptation_path = _File("adaptation.json")
    data_path = _File("data.json")
    checkpoints_path = _File("checkpoints")
    tensorboard_path = _File("tensorboard")
    lock_path = _File("lock")
    crash_path = _File("crash.log")

    def is_run(self) -> bool:
        try:
            return self.settings_path.is_file()
        except (OSError, ValueError):
            return False

    def is_forbidden(self) -> bool:
        """Return whether access to the folder is denied, for example because it belongs to another user."""
        try:
            self.settings_path.stat()
        except PermissionError:
            return True
        except (OSError, ValueError):
            pass
        return False

    def settings(self) -> Settings:
        """Return the settings at the start of the run. Raises BadInput if they are invalid."""
        return presets.read(self.settings_path).settings

    def changes(self) -> tuple[Planned, ...]:
        """Return the changes and validations that were scheduled at the start. Raises BadInput if they are invalid."""
        return presets.read(self.settings_path).changes

    def journal(self) -> list[Entry]:
        """Return every event, including those undone by resuming from an earlier checkpoint."""
        return read_journal(self.journal_path)

    def validations(self, *, whole: bool = False) -> list[Entry]:
        """Return the validations in order, without undone ones and with only the last one of each meta-step.

        Args:
            whole: whether to raise BadInput if an existing journal cannot be read.
        """
        entries = effective_entries(read_journal(self.journal_path, whole=whole))
        effective = (entry for entry in entries if entry.event == "evaluated")
        last = {entry.iteration: entry for entry in effective}
        return [last[iteration] for iteration in sorted(last)]

    def metrics(self, *, whole: bool = False) -> MetricsReader:
        """Return a reader of the run's metrics, which starts at the first meta-step.

        Args:
            whole: whether reading raises BadInput if an existing file cannot be read.
        """
        return MetricsReader(self.metrics_path, whole)

    def evaluation(self) -> EvaluationRecord:
        """Return the results of the last validation, the best validation and the test; missing results are None.

        Raises:
            BadInput: if evaluation.json is invalid.
        """
        return read_record(self.evaluation_path, EvaluationRecord) or EvaluationRecord()

    def views(self) -> tuple[TaskView, ...]:
        """Return the held-out tasks of the last evaluation, with predictions; an empty tuple if there are none.

        Raises:
            BadInput: if adaptation.json is invalid.
        """
        record = read_record(self.adaptation_path, AdaptationRecord)
        return record.views if record else ()

    def schema(self) -> DataSchema | None:
        """Return the schema of the data set; None if it was not recorded. Raises BadInput if the file is invalid."""
        record = read_record(self.data_path, DataRecord)
        return record.data if record else None

    def lost_metrics(self) -> str | None:
        """Describe which metrics of this run are missing (see the function `lost_metrics`); None if none are."""
        live = self.is_live()  # read before the journal, as in `summarise`
        entries = self.journal()
        return lost_metrics(self, entries, last_progress(self.metrics_path), status_of(entries, live=live))

    def size(self) -> int:
        """Return the total size of the files in the folder in bytes. Files deleted during the call count as 0."""
        total = 0
        for folder, _, names in os.walk(self.path):
            for name in names:
                with suppress(OSError):
                    total += os.lstat(os.path.join(folder, name)).st_size
        return total

    def is_live(self) -> bool:
        """Return whether a process is training this run, that is, whether it holds the run's lock."""
        return is_held(self.lock_path)

    def status(self) -> Status:
        """Return the status of the run, which is `interrupted` if the run's process died."""
        return status_of(self.journal(), live=self.is_live())

    def not_live_error(self) -> BadInput:
        """Return an error stating that no process trains the run, with the status of the run and what to do."""
        entries = self.journal()
        status = status_of(entries, live=False)
        why = end_reason(self, entries, status)
        reason = f" ({why})" if why else ""
        advice = f"; resume it with {self.resume_command}" if status in ("interrupted", "stopped") else ""
        return BadInput(f"run {quote(self.id)} is not training: it is {status}{reason}{advice}")


def end_reason(run: RunFolder, entries: list[Entry], status: Status) -> str | None:
    """Return the reason why `run` failed or was interrupted, given its journal.

    The result is None if the run has another status, or if the journal does not contain the reason.
    """
    if status not in ("failed", "interrupted"):
        return None
    if has_died(entries, status):
        saved = saved_meta_step(run.checkpoints_path)
        what = "it had saved no checkpoint" if saved is None else f"its newest checkpoint is from meta-step {saved:,}"
        pid = next((entry.details.get("pid") for entry in reversed(entries) if entry.event == "started"), None)
        if pid is not None and released_by(run.lock_path) == pid:  # the disk refused the last entry of the journal
            return f"the process ended, but could not write its last data, and {what}"
        return f"the process was killed or crashed, and {what}"
    details = next((entry.details for entry in reversed(entries) if entry.event == status), {})
    if status == "failed":
        sentence = details.get("sentence")
        return sanitize(sentence, limit=400) if isinstance(sentence, str) else None
    cause = details.get("cause", details.get("reason"))
    return f"it received {sanitize(cause)}" if isinstance(cause, str) and cause != "interrupted" else None


def lost_metrics(run: RunFolder, entries: list[Entry], last: Progress | None, status: Status) -> str | None:
    """Return a description of the missing metrics, worded to follow the name of the run; None if none are missing.

    Args:
        last: metrics of the last meta-step in the file.
    """
    reached = entries[-1].iteration if entries else 0
    name = run.metrics_path.name
    # When a run is resumed, metrics after its checkpoint are removed before the journal records that it was resumed.
    live = status in ("running", "paused")
    if last is None:
        lost = reached > 0 and not live
        return f"reached meta-step {reached:,}, but its {name} is missing, empty or damaged" if lost else None
    if status in ("finished", "stopped") and last.iteration < reached:
        return f"reached meta-step {reached:,}, but its {name} ends at {last.iteration:,}"
    first = first_progress(run.metrics_path)
    if first is None:
        return None if live else f"has a {name} that is damaged at its start"
    return f"has a {name} that starts at meta-step {first.iteration:,}" if first.iteration > 1 else None


def lost_after(iteration: int) -> str:
    """Describe a gap in the metrics of a run after meta-step `iteration`, worded to follow the name of the run."""
    return f"has a metrics.jsonl with missing or damaged lines, the first of them for meta-step {iteration + 1:,}"


def has_died(entries: list[Entry], status: Status) -> bool:
    """Return whether the process of a run ended without recording why, for example because it was killed."""
    return status == "interrupted" and last_status(entries) in ("running", "paused")


def status_of(entries: list[Entry], *, live: bool) -> Status:
    """Return the status of a run with the given journal.

    Args:
        live: whether a process is still training the run.
    """
    status = last_status(entries)
    if live:
        return "paused" if status == "paused" else "running"
    return "interrupted" if status in (None, "running", "paused") else status


def run_folder(path: Path) -> RunFolder:
    """Return the run in the folder `path`. Raises BadInput if it is not a run or cannot be read."""
    run = RunFolder(path)
    if not run.is_run():
        why = "cannot be read: permission denied" if run.is_forbidden() else "is not a run: it has no settings.toml"
        raise BadInput(f"{quote(str(path), 200)} {why}")
    return run
