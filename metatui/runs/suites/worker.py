"""Trains one run for a suite, in a process of its own.

What to train comes as one JSON object on the first line of standard input; every further line, and its end, asks for
the meta-step to be finished, saved and left at that: so no run outlives its suite. What happens is told on standard
output, a JSON object a line.
"""

from __future__ import annotations

import json
import os
import sys
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
from metatui.utils.errors import MetatuiError

EVERY_SECONDS = 0.25
"""Between two messages of progress."""


def main() -> None:
    # What libraries print is not to be taken for a message.
    messages = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(what: str, **details: Any) -> None:
        with suppress(BrokenPipeError):  # the suite is gone, and its end asks for ours
            print(json.dumps({"what": what, **finite(details)}), file=messages, flush=True)

    request = sys.stdin.readline()
    if not request:  # the suite was ended before it had said what to train
        return
    try:
        with ending_softly() as ending:
            ending.defer()
            with told_of_packing(lambda done, total: say("packed", done=done, total=total)):
                session = _session(json.loads(request))
            say("created", run=str(session.run.path))
            Thread(target=_interrupted, args=(session,), daemon=True).start()
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


def _interrupted(session: Session) -> None:
    # Not through sys.stdin: Python cannot end while a thread waits in it.
    os.read(0, 1)
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
