"""The thread that follows a run: events leave by a mailbox, commands arrive whenever they like.

The run trains in a process of its own. The thread touches no widget and calls nothing in the app.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from metatui.events import Command, Event, Failed, Progress
from metatui.learning.data.packing import told_of_packing
from metatui.tui.controllers.mailbox import Mailbox
from metatui.utils import paths
from metatui.utils.errors import MetatuiError

# What the first frame needs none of is imported where it is used.
if TYPE_CHECKING:
    from metatui.runs.storage.run_folder import RunFolder
    from metatui.tui.controllers.smoothing import Smoother

log = logging.getLogger(__name__)


class SessionLike(Protocol):
    """A run that tells while it is iterated what happens to it, as `metatui.runs.execution.control.LiveRun` does."""

    @property
    def run(self) -> RunFolder: ...

    @property
    def pid(self) -> int:
        """The process that trains it, on this machine."""
        ...

    def __iter__(self) -> Iterator[Event]: ...

    def submit(self, command: Command) -> None: ...

    def close(self) -> None:
        """Follow it no longer: the iteration ends, and the run goes on."""
        ...


class Training:
    """One run that is followed, from the moment it is asked for; commands given before it is ready wait for it."""

    def __init__(self, opening: Callable[[], SessionLike], smoother: Smoother | None = None) -> None:
        """
        Args:
            opening: starts, resumes or connects to the run.
            smoother: one that has averaged the meta-steps known so far; None if there are none.
        """
        self.mailbox = Mailbox()
        self.opened = threading.Event()
        """Set when the run trains, or cannot."""
        self.over = threading.Event()
        """Set when the thread has nothing more to do: the run is saved and closed, or no longer followed."""
        self.packed: tuple[int, int] | None = None
        """How many images are packed, and of how many, where that comes before the training."""
        self._opening = opening
        self._smoother = smoother
        self._lock = threading.Lock()
        self._session: SessionLike | None = None
        self._waiting: list[Command] = []
        self._left = False

    @property
    def session(self) -> SessionLike | None:
        """None until the run trains."""
        return self._session

    def start(self) -> None:
        """Follow it in a thread that does not keep this process from ending: the run needs neither."""
        threading.Thread(target=self.run, name="training", daemon=True).start()

    def submit(self, command: Command) -> None:
        """Tell the trainer; called from any thread."""
        with self._lock:
            if self._session is None:
                self._waiting.append(command)
            else:
                self._session.submit(command)

    def leave(self) -> None:
        """Follow the run no longer; called from any thread. The run goes on, also one that has yet to begin."""
        with self._lock:
            self._left = True
            if self._session:
                self._session.close()

    def run(self) -> None:
        """Open the session and follow it to its end. Whatever goes wrong becomes an event."""
        try:
            self._follow()
        except MetatuiError as error:
            self.mailbox.put(Failed(0, str(error)))
        except Exception as error:
            log.exception("the thread that follows a run failed")
            name = type(error).__name__
            self.mailbox.put(
                Failed(0, f"An error in metatui itself ended what is seen of the run ({name}): {paths.log_file()}")
            )
        finally:
            self.opened.set()
            self.over.set()

    def _follow(self) -> None:
        from metatui.tui.controllers.smoothing import Smoother

        with told_of_packing(self._see_packed):
            session = self._opening()
        with self._lock:
            self._session = session
            for command in self._waiting:
                session.submit(command)
            if self._left:
                session.close()
        self.opened.set()
        smoother = self._smoother or Smoother(session.run.metrics_path)
        for event in session:
            # Averaged before the mailbox, which drops meta-steps if the app is too slow.
            self.mailbox.put(smoother.step(event) if isinstance(event, Progress) else event)

    def _see_packed(self, done: int, total: int) -> None:
        self.packed = done, total
