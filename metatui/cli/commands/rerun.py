"""`metatui rerun`: train a run once more."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from metatui.cli.console.pack_progress import images_shown
from metatui.cli.options import changes, complete_runs, device_option, json_option, runs_dir_option, set_option
from metatui.runs.execution.rerun import rerun_of
from metatui.runs.storage.store import RunStore


@click.command()
@click.argument("run", shell_complete=complete_runs)
@set_option
@device_option
@runs_dir_option
@click.option("--detach", is_flag=True, help="Train in the background: give the shell back once it trains.")
@json_option
@click.pass_context
def rerun(
    context: click.Context,
    run: str,
    assignments: tuple[str, ...],
    device: str | None,
    runs_dir: Path | None,
    detach: bool,
    as_json: bool,
) -> None:
    """Train RUN once more, as a new run: the same settings and seed, every change at the meta-step where it was made.

    The numbers are the same, bit for bit on the CPU. --set gives it another start; changes on the way are still made.
    """
    again = rerun_of(RunStore(runs_dir).find(run), changes(assignments, device))
    from metatui.runs.execution.signals import ending_softly

    with ending_softly() as ending:
        if detach:
            from metatui.cli.commands.run import say_detached
            from metatui.runs.execution.control import start_detached

            with images_shown():
                live = start_detached(
                    again.settings, runs_dir=runs_dir, preset=again.preset, changes=again.changes, origin=again.origin
                )
            with closing(live):
                say_detached(live, as_json=as_json)
            return
        from metatui.cli.commands.run import train
        from metatui.runs.execution.session import Session

        ending.defer()
        with images_shown():
            session = Session.start(
                again.settings, runs_dir=runs_dir, preset=again.preset, changes=again.changes, origin=again.origin
            )
        train(session, ending, context, as_json=as_json)
