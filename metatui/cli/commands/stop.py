"""`metatui stop`: end a run that trains in another process."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from threading import Timer

import click

from metatui.cli.console.output import emit
from metatui.cli.options import complete_runs, json_option, runs_dir_option
from metatui.events import Failed, Finished, Stop
from metatui.runs.execution.control import LiveRun
from metatui.runs.storage.store import RunStore
from metatui.utils.errors import MetatuiError

WAIT_SECONDS = 60.0
"""A run that is told to stop finishes its meta-step first, and what the compiler is at."""


@click.command()
@click.argument("run", shell_complete=complete_runs)
@runs_dir_option
@json_option
def stop(run: str, runs_dir: Path | None, as_json: bool) -> None:
    """End RUN, wherever it trains on this machine: it finishes its meta-step, saves, and is over.

    RUN is a run's name, the start of it, or its folder. Waits until the run has ended, for a minute at most.
    """
    folder = RunStore(runs_dir).find(run)
    last = None
    with closing(LiveRun.attach(folder)) as live:
        live.submit(Stop())
        patience = Timer(WAIT_SECONDS, live.close)
        patience.start()
        try:
            for event in live:
                last = event
        finally:
            patience.cancel()
    if not isinstance(last, Finished | Failed):
        raise MetatuiError(
            f"run {folder.id} was told to stop, but has not yet after {WAIT_SECONDS:g} seconds: "
            "it ends after its meta-step"
        )
    if as_json:
        emit({"run": folder.id, "dir": str(folder.path), "status": folder.status(), "iterations": last.iteration})
    elif isinstance(last, Finished):
        click.echo(f"{folder.id} {folder.status()} after {last.iteration:,} meta-steps, saved")
    if isinstance(last, Failed):
        raise MetatuiError(last.sentence)
