"""The training thread: a session runs in it, events leave by a mailbox, commands arrive whenever they like.

The thread touches no widget and calls nothing in the app, so a frozen terminal never slows a run.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Protocol

from metatui import paths
from metatui.errors import MetatuiError
from metatui.learning.events import Command, Event, Failed
from metatui.tui.mailbox import Mailbox

log = logging.getLogger(__name__)


class SessionLike(Protocol):
    """A run that trains while it is iterated, as `metatui.runs.session.Session` does."""

    @property
    def run_id(self) -> str: ...

    def __iter__(self) -> Iterator[Event]: ...

    def submit(self, command: Command) -> None: ...


class Training:
    """One run in this process, from the moment it is asked for; commands given before it is ready wait for it."""

    def __init__(self, opening: Callable[[], SessionLike]) -> None:
        self.mailbox = Mailbox()
        self.run_id = ""
        self.over = threading.Event()
        """Set when the thread has nothing more to do: the run is saved and closed."""
        self._opening = opening
        self._lock = threading.Lock()
        self._session: SessionLike | None = None
        self._waiting: list[Command] = []

    def submit(self, command: Command) -> None:
        """Tell the trainer; called from any thread."""
        with self._lock:
            if self._session is None:
                self._waiting.append(command)
            else:
                self._session.submit(command)

    def run(self) -> None:
        """Open the session (which imports torch) and train to the end. Whatever goes wrong becomes an event."""
        try:
            self._train()
        except MetatuiError as error:
            self.mailbox.put(Failed(0, str(error)))
        except Exception as error:
            log.exception("the training thread failed")
            name = type(error).__name__
            self.mailbox.put(
                Failed(0, f"An error in metatui itself ended the run ({name}); it is in {paths.log_file()}")
            )
        finally:
            self.over.set()

    def _train(self) -> None:
        session = self._opening()
        with self._lock:
            self._session, self.run_id = session, session.run_id
            for command in self._waiting:
                session.submit(command)
        for event in session:
            self.mailbox.put(event)
