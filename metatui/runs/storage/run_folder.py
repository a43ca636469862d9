"""One run's folder: where its files are, and what they say."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from metatui.config import presets
from metatui.config.schedule import Planned
from metatui.config.settings import Settings
from metatui.events import TaskView
from metatui.runs.storage.journal import Entry, Status, effective_entries, last_status, read_journal
from metatui.runs.storage.lock import is_held
from metatui.runs.storage.metrics import MetricsReader
from metatui.runs.storage.result_files import AdaptationRecord, EvaluationRecord, read_record
from metatui.utils.errors import BadInput, quote
from metatui.utils.text import sanitize


@dataclass(frozen=True)
class RunFolder:
    """A run on disk, alive or over. Every method reads what is there now."""

    path: Path

    @property
    def id(self) -> str:
        """The folder's name, safe to show."""
        return sanitize(self.path.name, limit=80)

    @property
    def settings_path(self) -> Path:
        return self.path / "settings.toml"

    @property
    def journal_path(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def evaluation_path(self) -> Path:
        return self.path / "evaluation.json"

    @property
    def adaptation_path(self) -> Path:
        return self.path / "adaptation.json"

    @property
    def checkpoints_path(self) -> Path:
        return self.path / "checkpoints"

    @property
    def tensorboard_path(self) -> Path:
        return self.path / "tensorboard"

    @property
    def lock_path(self) -> Path:
        return self.path / "lock"

    @property
    def crash_path(self) -> Path:
        return self.path / "crash.log"

    def is_run(self) -> bool:
        try:
            return self.settings_path.is_file()
        except (OSError, ValueError):
            return False

    def settings(self) -> Settings:
        """What the run was started with. Raises BadInput where the file cannot be used."""
        return presets.read(self.settings_path).settings

    def changes(self) -> tuple[Planned, ...]:
        """What was planned when it was started, to be done on the way. Raises BadInput."""
        return presets.read(self.settings_path).changes

    def journal(self) -> list[Entry]:
        """Every event, also those that a restart from an earlier checkpoint undid."""
        return read_journal(self.journal_path)

    def validations(self) -> list[Entry]:
        """The validations that still hold, in order: the points of a validation curve (see `RunWriter`). Of several
        after one meta-step, which a resumed run makes again, the last."""
        held = (entry for entry in effective_entries(self.journal()) if entry.event == "evaluated")
        last = {entry.iteration: entry for entry in held}
        return [last[iteration] for iteration in sorted(last)]

    def metrics(self) -> MetricsReader:
        """A reader at the start of the metrics, to be asked again for what is new."""
        return MetricsReader(self.metrics_path)

    def evaluation(self) -> EvaluationRecord:
        """The last and the best validation, and the test; each None until it was made. Raises BadInput."""
        return read_record(self.evaluation_path, EvaluationRecord) or EvaluationRecord()

    def views(self) -> tuple[TaskView, ...]:
        """The held-out tasks of the last evaluation; empty before the first. Raises BadInput."""
        record = read_record(self.adaptation_path, AdaptationRecord)
        return record.views if record else ()

    def is_live(self) -> bool:
        """Whether a living process writes this run."""
        return is_held(self.lock_path)

    def status(self) -> Status:
        """What the run is doing; `interrupted` where its process is gone without a word."""
        return status_of(self.journal(), live=self.is_live())


def status_of(entries: list[Entry], *, live: bool) -> Status:
    said = last_status(entries)
    if said in (None, "running", "paused") or live:
        if not live:
            return "interrupted"
        return "paused" if said == "paused" else "running"
    assert said is not None
    return said


def run_folder(path: Path) -> RunFolder:
    """The run in the folder `path`. Raises BadInput where there is none."""
    run = RunFolder(path)
    if not run.is_run():
        raise BadInput(f"{quote(str(path), 200)} is not a run: it has no settings.toml")
    return run
