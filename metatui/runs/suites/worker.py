"""Trains one run for a suite, in a process of its own.

The first message says what to train. The end of the channel asks the run to finish its meta-step, save and end, so no
run outlives its suite. Each message back is an event of the run.
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
from metatui.learning.data.packing import told_of_packing
from metatui.learning.hardware.devices import physical_cores
from metatui.runs.execution.session import Session
from metatui.runs.execution.signals import EndedEarly, ending_softly
from metatui.runs.storage.jsonl import finite
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils.child_process import Channel
from metatui.utils.errors import MetatuiError

EVERY_SECONDS = 0.25
"""Between two messages of progress."""


def main() -> None:
    channel = Channel.of_child()

    def say(what: str, **details: Any) -> None:
        with suppress(OSError):  # the suite is gone, which ends this run too
            channel.send({"what": what, **finite(details)})

    if (request := channel.receive()) is None:  # the suite ended before it said what to train
        return
    try:
        with ending_softly() as ending:
            ending.defer()
            with told_of_packing(lambda done, total: say("packed", done=done, total=total)):
                session = _session(request)
            say("created", run=str(session.run.path))
            Thread(target=_interrupt_at_end, args=(channel, session), daemon=True).start()
            ending.then(session.interrupt)
            _train(session, say)
    except EndedEarly:
        say("ended", status="interrupted", sentence=None)
    except MetatuiError as error:
        say("ended", status="failed", sentence=str(error))


def _session(request: Mapping[str, Any]) -> Session:
    if request["resume"]:
        return Session.resume(RunFolder(Path(request["resume"])), request["changes"])
    settings = sharing_cores(parse(request["settings"]), request["side_by_side"])
    return Session.start(settings, runs_dir=request["runs_dir"], preset=request["origin"])


def sharing_cores(settings: Settings, runs: int) -> Settings:
    """`settings` for one of `runs` simultaneous runs: a share of the CPU cores for a run that would use all of them."""
    if runs == 1 or settings.compute.threads or not settings.is_classification:
        return settings
    return change(settings, {"compute.threads": max(1, physical_cores() // runs)})


def _interrupt_at_end(channel: Channel, session: Session) -> None:
    channel.wait_for_end()
    session.interrupt()


def _train(session: Session, say: Callable[..., None]) -> None:
    said_at = 0.0
    with closing(iter(session)) as training:
        for event in training:
            match event:
                case events.Started():
                    say("started", iteration=event.iteration, device=event.device, engine=event.engine)
                case events.Progress():
                    if (now := time.monotonic()) - said_at >= EVERY_SECONDS:
                        said_at = now
                        say(
                            "progress", iteration=event.iteration, meta_loss=event.meta_loss,
                            accuracy=event.accuracy, tasks_seen=event.tasks_seen, seconds=event.seconds,
                        )  # fmt: skip
                case events.Warned():
                    say("warned", text=event.text)
                case events.Finished(warning=str(text)):
                    say("warned", text=text)
                case _:
                    pass
    outcome = session.outcome
    say("ended", status=outcome.status, iteration=outcome.iteration, sentence=outcome.sentence)
