"""`metatui stop`: stop a run that is training in another process."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from threading import Timer

import click

from metatui.cli.console.output import echo, emit
from metatui.cli.options import complete_live_runs, examples, json_option, runs_dir_option
from metatui.events import Died, Failed, Finished
from metatui.runs.execution.control import LiveRun, stop_run
from metatui.runs.execution.control.client import wait_until_ended
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.utils.errors import BadInput, MetatuiError, quote

WAIT_SECONDS = 60.0
"""Maximum number of seconds to wait for a run to end. The run first finishes its meta-step and any compilation."""


@click.command(
    epilog=examples(
        "metatui stop # stop the only run that is training",
        "metatui stop latest",
    )
)
@click.argument("run", required=False, shell_complete=complete_live_runs)
@runs_dir_option
@json_option
def stop(run: str | None, runs_dir: Path | None, as_json: bool) -> None:
    """Stop RUN, which must be training on this machine. The run finishes its current meta-step and is saved.

    RUN is the name of a run, the beginning of its name, its folder, or latest for the newest run. The beginning of a
    name is enough if it matches only one run that is training. RUN is required only if several runs are training. The
    command waits at most a minute for the run to end. If a new run is still loading, nothing is saved. If a resumed run
    is still loading, its saved state does not change. A run that metatui.train started in a Python program or
    a notebook can be stopped only after training has begun.
    """
    store = RunStore(runs_dir)
    folder = store.find(run, live=True) if run is not None else _only_live(store)
    live = stop_run(folder)
    if not (last := _end(live) if live else _end_before_training(folder)):
        raise MetatuiError(
            f"run {folder.id} did not stop within {WAIT_SECONDS:g} seconds: it will stop after its current meta-step"
        )
    is_saved = live is not None or folder.is_run()
    status = folder.status() if is_saved else "stopped"
    if as_json:
        emit({"run": folder.id, "dir": str(folder.path), "status": status, "iterations": last.iteration})
    elif not is_saved:
        echo(f"{folder.id}: stopped before training began, so nothing was saved")
    elif isinstance(last, Finished):
        echo(f"{folder.id}: {status} at meta-step {last.iteration:,} and saved")
    if isinstance(last, Died):
        raise MetatuiError(f"{last.sentence}: resume the run with {folder.resume_command}")
    if isinstance(last, Failed):
        raise MetatuiError(last.sentence)


def _only_live(store: RunStore) -> RunFolder:
    """Return the only run that is training.

    Raises:
        BadInput: if no run or several runs are training.
    """
    live = store.require_live_runs()
    if len(live) == 1:
        return live[0]
    where = quote(str(store.root), 200)
    names = ", ".join(quote(folder.id)[1:-1] for folder in live)
    raise BadInput(f"RUN is missing, but must name one of the {len(live)} runs in {where} that are training: {names}")


def _end(live: LiveRun) -> Finished | Failed | None:
    """Wait for the last event of a run; return None if it does not arrive in time."""
    last = None
    timeout = Timer(WAIT_SECONDS, live.close)
    timeout.start()
    with closing(live):
        try:
            for event in live:
                last = event
        finally:
            timeout.cancel()
    return last if isinstance(last, Finished | Failed) else None


def _end_before_training(run: RunFolder) -> Finished | None:
    """Wait for the end of a run whose process accepts no connections; return None if the run does not end in time."""
    if not wait_until_ended(run, WAIT_SECONDS):
        return None
    journal = run.journal()
    return Finished(journal[-1].iteration if journal else 0, "stopped", 0.0, None)
