"""Access to runs. Each run trains in its own process, so the app never imports torch."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from metatui.config.schedule import STEP_LIMIT, Planned
from metatui.config.settings import Settings
from metatui.events import Command, Event, TaskView
from metatui.utils.errors import MetatuiError

# Imported in the functions that use them, because the first frame does not need them.
if TYPE_CHECKING:
    from metatui.runs.execution.control.messages import Hello
    from metatui.runs.storage.run_folder import RunFolder
    from metatui.tui.helper.on_demand import OnDemandHelper
    from metatui.tui.model.run_model import RunModel

NICENESS = 10
"""Niceness of runs that the app starts. Runs use every core, but the app must respond to keys immediately."""


class FollowedRun(Protocol):
    """A connection to a run. Iterating over it yields the run's events until the run ends or `close` is called."""

    @property
    def run(self) -> RunFolder: ...

    @property
    def hello(self) -> Hello:
        """The run's state when the connection was opened, and the id of the process that trains the run."""
        ...

    def __iter__(self) -> Iterator[Event]: ...

    def submit(self, command: Command) -> None: ...

    def close(self) -> None:
        """Stop following the run. The iteration over its events ends, but the run continues."""
        ...


@runtime_checkable
class StartingRun(Protocol):
    """A run whose process is still loading libraries and data."""

    def wait(self) -> FollowedRun:
        """Wait until training begins. Raises BadInput or MetatuiError if the process ends before that."""
        ...

    def stop(self) -> None:
        """End the process. A run that is already training is saved first. Any thread may call this method."""
        ...


OpenRun = Callable[[], FollowedRun | StartingRun]
"""Function that starts, resumes or connects to a run, and returns the connection."""


@dataclass(frozen=True)
class Attached:
    """A connection to a run that is training, and a model that was read from the run's folder."""

    session: FollowedRun
    model: RunModel
    written: Mapping[tuple[str, int], int]
    """Number of entries written to the journal after the connection was opened, for each pair of name and meta-step.
    The run also sends the events of these entries. These events must be ignored, because the model already has
    them."""


class Sessions:
    """Operations on the runs in the folder `root`. The app calls them in threads, because they may take seconds."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lock = threading.Lock()
        self._helper: OnDemandHelper | None = None

    def start(self, settings: Settings, preset: str | None, changes: Sequence[Planned] = ()) -> StartingRun:
        """Start a run. `changes` are the scheduled setting changes of the preset (`Preset.changes`)."""
        from metatui.runs.execution import control

        return control.StartingRun.start(
            settings, runs_dir=self._root, preset=preset, changes=changes, niceness=NICENESS
        )

    def resume(self, run_id: str) -> StartingRun:
        from metatui.runs.execution import control
        from metatui.runs.storage.store import RunStore

        return control.StartingRun.resume(RunStore(self._root).find(run_id), niceness=NICENESS)

    def attach(self, run: RunFolder) -> Attached:
        """Connect to a run that is training.

        Raises:
            BadInput: if the run is not training, or its process cannot be reached.
        """
        from metatui.runs.execution.control import LiveRun
        from metatui.runs.execution.run_log import RunLog
        from metatui.tui.model.replay import Replay

        live = LiveRun.attach(run)
        since = datetime.now(UTC) - timedelta(milliseconds=1)  # the journal has times in whole milliseconds
        try:
            # Read after connecting, so that every event is in the folder, or is sent, or both.
            model = Replay(run).read()
            # In the settings of the process, `auto` is replaced by the selected device and engine.
            settings = RunLog.read(run).settings_after(STEP_LIMIT)
            written = Counter((entry.event, entry.iteration) for entry in run.journal() if entry.time >= since)
        except MetatuiError:
            live.close()
            raise
        model.reopen(settings)
        live.known(model.iteration)
        return Attached(live, model, written)

    def stop(self, run: RunFolder) -> None:
        """Stop a run: save and end it after the current meta-step, or end it immediately if training has not begun.

        Raises:
            BadInput: for the same reasons as `attach`.
        """
        from metatui.runs.execution.control import stop_run

        if live := stop_run(run):
            live.close()

    def views(self, run_id: str, tasks: int) -> tuple[TaskView, ...]:
        """Adapt a run's best meta-parameters to the first `tasks` held-out tasks, and return a view of each task.

        Runs with the same task settings and evaluation seed have the same tasks.
        """
        from metatui.tui.helper.on_demand import OnDemandHelper

        with self._lock:
            self._helper = self._helper or OnDemandHelper()
        found: tuple[TaskView, ...] = self._helper.result_of(partial(_views, self._root, run_id, tasks))
        return found

    def close(self) -> None:
        """Stop the helper process. Runs continue."""
        if self._helper:
            self._helper.close()


def _views(root: Path, run_id: str, tasks: int) -> Generator[None, None, tuple[TaskView, ...]]:
    """Return the views that `Sessions.views` returns. This function runs in the helper process."""
    from metatui.runs.analysis.evaluate import views
    from metatui.runs.storage.store import RunStore

    yield from ()  # the helper runs generators
    return views(RunStore(root).find(run_id), range(tasks))
