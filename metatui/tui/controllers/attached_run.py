"""Joining a run that goes on in another process, without missing what happened and without telling any of it twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from metatui.events import Command, Evaluated, Event, Noted, Paused, Progress, Resumed, Tweaked, Warned
from metatui.runs.execution.control import LiveRun
from metatui.runs.storage.run_folder import RunFolder
from metatui.tui.controllers.replay import Replay
from metatui.tui.controllers.sessions import Attached
from metatui.utils.errors import MetatuiError

IN_JOURNAL: dict[type[Event], str] = {
    Evaluated: "evaluated",
    Noted: "noted",
    Paused: "paused",
    Resumed: "resumed",
    Tweaked: "tweaked",
    Warned: "warned",
}
"""What is told to those who look on and is in the journal too, by its name there."""


def attached(live: LiveRun) -> Attached:
    """What `live` will tell, and all that its folder tells of it until now. Raises BadInput where that cannot be read;
    `live` is closed then."""
    since = datetime.now(UTC) - timedelta(milliseconds=1)  # the journal counts no less
    try:
        # After the connection was made: whatever happens is told by one, or by both.
        monitor = Replay(live.run).read()
        written = Counter((entry.event, entry.iteration) for entry in live.run.journal() if entry.time >= since)
    except MetatuiError:
        live.close()
        raise
    monitor.settings, monitor.status = live.hello.settings, ""
    live.known(monitor.iteration)
    return Attached(Followed(live, written), monitor, paused=live.hello.phase == "paused")


class Followed:
    """A live run as the app follows it."""

    def __init__(self, live: LiveRun, known: Mapping[tuple[str, int], int] | None = None) -> None:
        """`known` counts what has been written to the journal since the connection was made, by name and meta-step:
        it is known already, so it is left out."""
        self._live, self._known = live, Counter(known)

    @property
    def run(self) -> RunFolder:
        return self._live.run

    @property
    def pid(self) -> int:
        return self._live.hello.pid

    def submit(self, command: Command) -> None:
        self._live.submit(command)

    def close(self) -> None:
        self._live.close()

    def __iter__(self) -> Iterator[Event]:
        for event in self._live:
            if not isinstance(event, Progress):
                key = IN_JOURNAL.get(type(event), ""), event.iteration
                if self._known[key]:
                    self._known[key] -= 1
                    continue
            yield event
