"""Where runs come from that the app follows. Each trains in a process of its own, so this one never imports torch."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from metatui.config.schedule import Planned
from metatui.config.settings import Settings
from metatui.events import Stop, TaskView
from metatui.tui.controllers.event_thread import SessionLike
from metatui.utils.errors import MetatuiError

# What the first frame needs none of is imported where it is used.
if TYPE_CHECKING:
    from metatui.runs.storage.run_folder import RunFolder
    from metatui.tui.controllers.run_model import Monitor
    from metatui.tui.helper import Helper, Reply


NICENESS = 10
"""Of runs started here: they take every core, and an answer to a key would wait for its turn on one of them."""


@dataclass(frozen=True)
class Attached:
    """A live run of another process, with what is known of it until now."""

    session: SessionLike
    monitor: Monitor
    paused: bool


class Sessions(Protocol):
    """All that the app asks of runs. Called in threads; tests give one that trains nothing."""

    def start(self, settings: Settings, preset: str | None, changes: Sequence[Planned] = ()) -> SessionLike:
        """`changes` are made on the way (`Preset.changes`)."""
        ...

    def resume(self, run_id: str) -> SessionLike: ...

    def attach(self, run: RunFolder) -> Attached:
        """Raises BadInput where `run` is not live, or its process cannot be reached from here."""
        ...

    def stop(self, run: RunFolder) -> None:
        """Tell a live run to finish its meta-step, save and end. Raises as `attach`."""
        ...

    def views(self, run_id: str, tasks: int) -> tuple[TaskView, ...]:
        """Adaptation of a run's best parameters on the first `tasks` held-out tasks, which are the same for all runs
        with the same task settings and evaluation seed."""
        ...

    def close(self) -> None:
        """The app ends: end what computes for it. Runs go on."""
        ...


class RealSessions:
    """Runs under `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._asking = threading.Lock()
        self._helper: Helper | None = None
        self._replies: Iterator[Reply] = iter(())

    def start(self, settings: Settings, preset: str | None, changes: Sequence[Planned] = ()) -> SessionLike:
        from metatui.runs.execution.control import start_detached
        from metatui.tui.controllers.attached_run import Followed

        return Followed(
            start_detached(settings, runs_dir=self._root, preset=preset, changes=changes, niceness=NICENESS)
        )

    def resume(self, run_id: str) -> SessionLike:
        from metatui.runs.execution.control import resume_detached
        from metatui.runs.storage.store import RunStore
        from metatui.tui.controllers.attached_run import Followed

        return Followed(resume_detached(RunStore(self._root).find(run_id), niceness=NICENESS))

    def attach(self, run: RunFolder) -> Attached:
        from metatui.runs.execution.control import LiveRun
        from metatui.tui.controllers.attached_run import attached

        return attached(LiveRun.attach(run))

    def stop(self, run: RunFolder) -> None:
        from metatui.runs.execution.control import LiveRun

        live = LiveRun.attach(run)
        live.submit(Stop())
        live.close()

    def views(self, run_id: str, tasks: int) -> tuple[TaskView, ...]:
        from metatui.tui.helper import Helper, StepInfo, WorkerError

        with self._asking:
            if self._helper is None:
                self._helper = Helper()
                self._replies = self._helper.replies()
            self._helper.ask(partial(_views, self._root, run_id, tasks))
            reply = next(self._replies, None)
            if isinstance(reply, StepInfo):
                views: tuple[TaskView, ...] = reply.value
                return views
            if reply is None or (isinstance(reply, WorkerError) and reply.dead):
                self._helper = None
            raise MetatuiError(reply.sentence if isinstance(reply, WorkerError) else "the app ends")

    def close(self) -> None:
        if self._helper:
            self._helper.stop()


def _views(root: Path, run_id: str, tasks: int) -> Generator[None, None, tuple[TaskView, ...]]:
    """What the helper computes."""
    from metatui.runs.analysis.evaluate import views
    from metatui.runs.storage.store import RunStore

    yield from ()  # nothing on the way
    return views(RunStore(root).find(run_id), range(tasks))
