"""What a list of runs shows of each, read without opening the long files whole."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from pydantic import ConfigDict

from metatui.config.settings import Settings
from metatui.events import Evaluation, Progress
from metatui.runs.storage.journal import Entry, Status, check_journal
from metatui.runs.storage.metrics import last_progress
from metatui.runs.storage.result_files import EvaluationRecord
from metatui.runs.storage.run_folder import RunFolder, status_of
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import reason
from metatui.utils.text import sanitize


@dataclass(frozen=True)
class RunSummary:
    """One line of the list of runs."""

    __pydantic_config__: ClassVar = ConfigDict(ser_json_inf_nan="strings")

    run: RunFolder
    status: Status
    started: datetime
    """UTC."""
    preset: str | None
    settings: Settings | None
    """None where settings.toml cannot be used; `problem` says why."""
    progress: Progress | None
    """The last meta-step; None before the first, and for `scratch`."""
    best: Evaluation | None
    """The best validation."""
    test: Evaluation | None
    """None before the test, and where the run was resumed after it."""
    problem: str | None
    validation: Evaluation | None = None
    """The last validation, which may not be the best."""
    warning: str | None = None
    """Why the run finished without a good result; None where it has one."""

    @property
    def id(self) -> str:
        return self.run.id

    @property
    def iteration(self) -> int:
        """Meta-steps done."""
        return self.progress.iteration if self.progress else 0


def summarise(run: RunFolder) -> RunSummary:
    """Never raises: what cannot be read is left out and said in `problem`."""
    settings, records, problem = None, EvaluationRecord(), None
    live = run.is_live()  # asked first, so that a run that ends meanwhile is not taken for interrupted
    entries = run.journal()
    try:
        records = run.evaluation()
        settings = run.settings()
        check_journal(entries, run.journal_path)
    except BadInput as error:
        problem = str(error)
    except OSError as error:  # deleted meanwhile
        problem = f"{quote(run.id)} cannot be read: {reason(error)}"
    first = next((entry for entry in entries if entry.event == "started"), None)
    preset = first.details.get("preset") if first else None
    status = status_of(entries, live=live)
    progress = last_progress(run.metrics_path)
    reached = max([progress.iteration if progress else 0, *(entry.iteration for entry in entries[-1:])])
    records = records.holding(reached, finished=status == "finished")
    return RunSummary(
        run=run,
        status=status,
        started=first.time if first else _created(run),
        preset=sanitize(preset) if isinstance(preset, str) else None,
        settings=settings,
        progress=progress,
        best=records.best,
        test=records.test,
        problem=problem,
        validation=records.validation,
        warning=_warning(entries),
    )


def _warning(entries: list[Entry]) -> str | None:
    text = entries[-1].details.get("warning") if entries and entries[-1].event == "finished" else None
    return sanitize(text, limit=400) if isinstance(text, str) else None


def _created(run: RunFolder) -> datetime:
    try:
        return datetime.fromtimestamp(run.path.stat().st_mtime, UTC)
    except (OSError, ValueError, OverflowError):
        return datetime.fromtimestamp(0, UTC)
