"""Controller of garbage collection: collects garbage between key presses, so that it does not delay responses."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

# Imported for type checking only, because the app imports this module.
if TYPE_CHECKING:
    from metatui.tui.app import MetatuiApp

CHECK_SECONDS = 0.25
PAUSE_SECONDS = 0.2
"""Seconds without input after which new objects can be collected, because the app has usually responded by then."""
NEW_OBJECTS = 10_000
"""Garbage among new objects is collected if there are at least this many of them. This takes about 10 ms."""
IDLE_SECONDS = 1.0
"""Seconds without input after which all objects can be collected. This takes up to 150 ms."""
NEW_COLLECTIONS = 10
"""Minimum number of collections of new objects between two collections of all objects."""
THRESHOLDS = 100_000, 20, 20
"""Thresholds of automatic collections, which limit memory use when input never pauses."""


class GarbageController:
    def __init__(self, app: MetatuiApp) -> None:
        self._app = app

    def start(self) -> None:
        """Take over garbage collection if it was disabled during startup. Existing objects are never collected."""
        if gc.isenabled():
            return
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
        gc.enable()
        self._app.set_interval(CHECK_SECONDS, self.collect_in_pause)

    def collect_in_pause(self) -> None:
        """Collect garbage if enough of it has accumulated and the user is not waiting for a response."""
        created, _, collections = gc.get_count()
        pause = time.monotonic() - self._app.last_input
        if pause >= IDLE_SECONDS and collections >= NEW_COLLECTIONS:
            gc.collect()
        elif pause >= PAUSE_SECONDS and created >= NEW_OBJECTS:
            gc.collect(1)
