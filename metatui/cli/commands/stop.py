"""`metatui stop`: stop a run that trains in another process."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from threading import Timer

import click

from metatui.cli.console.output import emit
from metatui.cli.options import complete_runs, examples, json_option, runs_dir_option
from metatui.events import Failed, Finished, Stop
from metatui.runs.execution.control import LiveRun
from metatui.runs.storage.store import RunStore
from metatui.utils.errors import MetatuiError

WAIT_SECONDS = 60.0
"""Maximum number of seconds to wait for a run to end. The run first finishes its meta-step and any compilation."""


@click.command(
    epilog=examples(
        "metatui stop latest",
    )
)
@click.argument("run", shell_complete=complete_runs)
@runs_dir_option
@json_option
def stop(run: str, runs_dir: Path | None, as_json: bool) -> None:
    """Stop RUN, which trains on this machine: it finishes its meta-step, saves and ends.

    RUN is the name of a run, the start of its name, its folder, or latest for the newest run. The command waits at
    most a minute for the run to end.
    """
    folder = RunStore(runs_dir).find(run)
    last = None
    with closing(LiveRun.attach(folder)) as live:
        live.submit(Stop())
        timeout = Timer(WAIT_SECONDS, live.close)
        timeout.start()
        try:
            for event in live:
                last = event
        finally:
            timeout.cancel()
    if not isinstance(last, Finished | Failed):
        raise MetatuiError(
            f"run {folder.id} did not stop within {WAIT_SECONDS:g} seconds: it stops when its meta-step is done"
        )
    if as_json:
        emit({"run": folder.id, "dir": str(folder.path), "status": folder.status(), "iterations": last.iteration})
    elif isinstance(last, Finished):
        click.echo(f"{folder.id}: {folder.status()} after {last.iteration:,} meta-steps and saved")
    if isinstance(last, Failed):
        raise MetatuiError(last.sentence)
