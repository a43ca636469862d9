"""Worker process that trains one run of a suite.

The first message that the process receives describes the run. Each message that it sends back is an event of the run.
Closing the channel interrupts the run, so that no run outlives its suite: the process finishes the current meta-step,
saves the run and exits. If it is still packing images, it stops packing and exits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread
from typing import Any

from metatui import events
from metatui.config.fields import change, parse
from metatui.config.settings import Settings
from metatui.learning.hardware.devices import default_threads
from metatui.runs.execution.session import Session
from metatui.runs.execution.signals import EndedEarlyError, ending_softly
from metatui.runs.formatting import hint_text
from metatui.runs.storage.jsonl import finite
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.child_process import Channel
from metatui.utils.errors import MetatuiError
from metatui.utils.progress import packing

EVERY_SECONDS = 0.25
"""Seconds between two progress messages."""


def main() -> None:
    channel = Channel.of_child()

    def send(what: str, **details: Any) -> None:
        with suppress(OSError):  # the suite has ended, which also interrupts this run
            channel.send({"what": what, **finite(details)})

    def report_packed(done: int, total: int) -> None:
        send("packed", done=done, total=total)
        if channel.has_ended():  # packing may take minutes, and there is nothing to save yet
            raise KeyboardInterrupt

    if (request := channel.receive()) is None:  # the suite ended before it sent the run
        return
    try:
        with ending_softly() as ending:
            ending.defer()
            with packing.listener(report_packed):
                session = _session(request)
            send("created", run=str(session.run.path))
            Thread(target=_interrupt_at_end, args=(channel, session), daemon=True).start()
            ending.then(session.interrupt)
            _train(session, send)
    except (EndedEarlyError, KeyboardInterrupt):
        send("ended", status="interrupted", sentence=None)
    except MetatuiError as error:
        send("ended", status="failed", sentence=str(error))


def _session(request: Mapping[str, Any]) -> Session:
    if request["resume"]:
        return Session.resume(RunFolder(Path(request["resume"])), request["changes"])
    settings = sharing_cores(parse(request["settings"]), request["side_by_side"])
    return Session.start(settings, runs_dir=request["runs_dir"], preset=request["origin"])


def sharing_cores(settings: Settings, runs: int) -> Settings:
    """Return `settings` for one of `runs` runs that train on this machine at the same time.

    Classification runs share the CPU cores equally, unless the number of threads is set.
    """
    if runs == 1 or settings.compute.threads or not settings.is_classification:
        return settings
    return change(settings, {"compute.threads": default_threads(runs)})


def _interrupt_at_end(channel: Channel, session: Session) -> None:
    channel.wait_for_end()
    session.interrupt()


def _train(session: Session, send: Callable[..., None]) -> None:
    last = 0.0
    with closing(iter(session)) as training:
        for event in training:
            match event:
                case events.Started():
                    send("started", iteration=event.iteration, device=event.device, engine=event.engine)
                case events.Progress():
                    if (now := time.monotonic()) - last >= EVERY_SECONDS:
                        last = now
                        send(
                            "progress",
                            iteration=event.iteration,
                            meta_loss=event.meta_loss,
                            accuracy=event.accuracy,
                            tasks_seen=event.tasks_seen,
                            seconds=event.seconds,
                        )
                case events.Warned():
                    send("warned", text=event.text)
                case events.Hinted():
                    send("warned", text=hint_text(event))
                case events.Finished(warning=str(text)):
                    send("warned", text=text)
                case _:
                    pass
    outcome = session.outcome
    send("ended", status=outcome.status, iteration=outcome.iteration, sentence=outcome.sentence)
