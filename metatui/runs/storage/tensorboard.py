"""Event files for TensorBoard, in addition to a run's own metrics.

Scalars are named after the fields of `metrics.jsonl` (`train/meta_loss`, ...), and after the metrics of validations and
of the test, measured after the last inner step (`val/accuracy`, `val/accuracy_ci95`, ...). The step of a scalar is its
meta-step.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from metatui.events import Evaluated, Evaluation, Event, Finished, Progress
from metatui.runs.storage.jsonl import AppendOnlyFile
from metatui.utils.errors import Problem, SettingsError, quote
from metatui.utils.files import make_own_folder, writing

if TYPE_CHECKING:
    from tensorboard.compat.proto.event_pb2 import Event as Record

EVERY = 0.1
"""Minimum number of seconds between two meta-steps that are written. If meta-steps are fast, writing all of them would
double the training time, and TensorBoard shows only about a thousand points of a curve."""

FLUSH_AFTER = 10.0
"""Maximum number of seconds before a point is written to disk."""

_NAME = re.compile(r"events\.out\.tfevents\.([0-9]{10})\.metatui")


def check_tensorboard() -> None:
    """Raise SettingsError if the `tensorboard` package is missing or unusable."""
    try:
        import tensorboard.compat.proto.event_pb2
        import tensorboard.summary.writer.record_writer  # noqa: F401
    except ModuleNotFoundError as error:
        package = (error.name or "tensorboard").split(".")[0]
        remedy = "install it with pip install 'metatui[tensorboard]', or set logging.tensorboard to false"
        _refuse(f"{package} is not installed: {remedy}")
    except Exception as error:  # for example, because of an incompatible version of protobuf
        _refuse(f"tensorboard cannot be imported: {quote(str(error), 200)}")


def _refuse(why: str) -> None:
    raise SettingsError([Problem("logging.tensorboard", f"logging.tensorboard is true, but {why}")])


class TensorBoardLog:
    """Writer of one event file for each session of a run. Scalars stay in memory until `flush`."""

    def __init__(self, folder: Path, *, iteration: int) -> None:
        """Initialise the log.

        Args:
            folder: folder of the run's event files.
            iteration: meta-step after which the session starts. TensorBoard then ignores points of later meta-steps in
                earlier files.
        """
        from tensorboard.compat.proto.event_pb2 import Event as Record
        from tensorboard.compat.proto.event_pb2 import SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        make_own_folder(folder)
        with writing(folder):
            earlier = [int(found[1]) for path in folder.iterdir() if (found := _NAME.fullmatch(path.name))]
            # TensorBoard reads the files of a run in the order of their names.
            number = max(int(time.time()), *(start + 1 for start in earlier), 0)
            self._path = folder / f"events.out.tfevents.{number:010d}.metatui"
        self._file = AppendOnlyFile(self._path, fresh=True)
        self._records = RecordWriter(self._file)
        self._pending: Progress | None = None
        self._written = self._flushed = -float("inf")
        self._validated: int | None = None
        self._write(Record(wall_time=time.time(), file_version="brain.Event:2"))
        if earlier:
            start = SessionLog(status=SessionLog.START)
            self._write(Record(wall_time=time.time(), step=iteration + 1, session_log=start))

    def add_event(self, event: Event) -> None:
        """Buffer the scalars of `event` until the next `flush`."""
        match event:
            case Progress():
                self._pending = event
                if time.monotonic() - self._written >= EVERY:
                    self._write_pending()
            case Evaluated(evaluation=evaluation) if evaluation.iteration != self._validated:
                self._write_pending()
                self._validated = evaluation.iteration
                self._scalars(evaluation.iteration, _named(evaluation))
            case Finished(test=test):
                self._write_pending()
                if test is not None:
                    self._scalars(event.iteration, _named(test))

    @property
    def is_due(self) -> bool:
        """Whether the last flush was at least `FLUSH_AFTER` seconds ago."""
        return time.monotonic() - self._flushed >= FLUSH_AFTER

    def flush(self) -> None:
        """Pass all data to the operating system.

        Raises:
            WriteRefusedError: if the data cannot be written. The next call writes the remaining data.
        """
        self._write_pending()
        self._flushed = time.monotonic()
        self._file.flush()

    def close(self) -> None:
        self._write_pending()
        self._file.close()

    def _write_pending(self) -> None:
        """Write the scalars of the last meta-step if they have not been written yet."""
        if self._pending is None:
            return
        values = asdict(self._pending)
        step = values.pop("iteration")
        self._scalars(step, {f"train/{name}": value for name, value in values.items() if value is not None})
        self._pending, self._written = None, time.monotonic()

    def _scalars(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.event_pb2 import Event as Record
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        self._write(Record(wall_time=time.time(), step=step, summary=summary))

    def _write(self, record: Record) -> None:
        self._records.write(record.SerializeToString())


def _named(evaluation: Evaluation) -> dict[str, float]:
    """Return the scalars of an evaluation: values of its protocol, and its metrics after the last inner step."""
    named = {}
    for name, curve in (("loss", evaluation.loss), ("accuracy", evaluation.accuracy)):
        if curve is not None:
            named[f"{evaluation.split}/{name}"] = curve.mean[-1]
            named[f"{evaluation.split}/{name}_ci95"] = curve.ci95[-1]
    if evaluation.inner_lr is not None:
        named[f"{evaluation.split}/inner_lr"] = evaluation.inner_lr
    if evaluation.diverged is not None:
        named[f"{evaluation.split}/diverged"] = evaluation.diverged
    if evaluation.checkpoint is not None:
        named[f"{evaluation.split}/parameters_of"] = evaluation.iteration
    return named
