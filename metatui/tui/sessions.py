"""Where training sessions come from. The real ones import torch, so only when one is asked for, in its thread."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from metatui.learning.events import TaskView
from metatui.settings import Settings
from metatui.tui.training import SessionLike


class Sessions(Protocol):
    """All that the app asks of the trainer. Called in threads; tests give one that trains nothing."""

    def start(self, settings: Settings, preset: str | None) -> SessionLike: ...

    def resume(self, run_id: str) -> SessionLike: ...

    def views(self, run_id: str, tasks: int) -> tuple[TaskView, ...]:
        """Adaptation of a run's best parameters on the first `tasks` held-out tasks, which are the same for all runs
        with the same task settings and evaluation seed."""
        ...


class RealSessions:
    """Runs under `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def start(self, settings: Settings, preset: str | None) -> SessionLike:
        from metatui.runs.session import Session

        return Session.start(settings, runs_dir=self._root, preset=preset)

    def resume(self, run_id: str) -> SessionLike:
        from metatui.runs.session import Session
        from metatui.runs.store import RunStore

        return Session.resume(RunStore(self._root).find(run_id))

    def views(self, run_id: str, tasks: int) -> tuple[TaskView, ...]:
        from metatui.runs.evaluating import views
        from metatui.runs.store import RunStore

        return views(RunStore(self._root).find(run_id), range(tasks))
