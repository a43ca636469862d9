"""`metatui rerun`: repeat a run."""

from __future__ import annotations

import shlex
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from metatui.cli.console.output import emit
from metatui.cli.console.progress import start_shown
from metatui.cli.options import (
    changes,
    complete_runs,
    device_option,
    examples,
    json_option,
    runs_dir_option,
    set_option,
)
from metatui.runs.execution.rerun import rerun_of
from metatui.runs.storage.store import RunStore
from metatui.utils.errors import BadInput, quote


def _seeds(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdigit() for part in parts) or len({int(part) for part in parts}) < len(parts):
        raise BadInput(f"--seeds is {quote(text)}, but must be different whole numbers from 0, such as 0,1,2")
    return tuple(map(int, parts))


@click.command(
    epilog=examples(
        "metatui rerun latest # repeat exactly",
        "metatui rerun latest --set training.seed=1 # with another seed",
        "metatui rerun latest --seeds 1,2,3 # one run for each seed",
    )
)
@click.argument("run", shell_complete=complete_runs)
@set_option
@click.option(
    "--seeds",
    metavar="N,N,...",
    callback=_seeds,
    help="Train one run with each of these values of training.seed, one after the other.",
)
@device_option
@runs_dir_option
@click.option("--detach", is_flag=True, help="Train in the background and return when training has started.")
@json_option
@click.pass_context
def rerun(
    context: click.Context,
    run: str,
    assignments: tuple[str, ...],
    seeds: tuple[int, ...],
    device: str | None,
    runs_dir: Path | None,
    detach: bool,
    as_json: bool,
) -> None:
    """Repeat RUN as a new run with the same settings, seed and live changes at the same meta-steps.

    RUN is the name of a run, the start of its name, its folder, or latest for the newest run. The results are the same;
    on the CPU, they agree bit for bit. --set changes the initial settings; the live changes of RUN still apply.

    With --seeds, metatui compare summarises the runs: mean, standard deviation and 95 % interval over the seeds. --json
    then prints the list runs.
    """
    own, given = RunStore(runs_dir).find(run), changes(assignments, device)
    if seeds and "training.seed" in given:
        raise BadInput("--seeds and --set training.seed set the same setting: give only one of them")
    if seeds and detach:
        raise BadInput("--seeds cannot be combined with --detach: the runs would train at the same time")
    repeats = [rerun_of(own, {**given, "training.seed": seed}) for seed in seeds] or [rerun_of(own, given)]
    repeat = repeats[0]
    from metatui.runs.execution.signals import ending_softly

    with ending_softly() as ending:
        if detach:
            from metatui.cli.commands.run import print_detached
            from metatui.runs.execution.control import start_detached

            with start_shown():
                live = start_detached(
                    repeat.settings,
                    runs_dir=runs_dir,
                    preset=repeat.preset,
                    changes=repeat.changes,
                    origin=repeat.origin,
                )
            with closing(live):
                print_detached(live, as_json=as_json)
            return
        from metatui.cli.commands.run import train
        from metatui.runs.execution.session import Session

        ending.defer()
        reports: list[dict[str, Any]] = []
        names = []
        try:
            for repeat in repeats:
                with start_shown():
                    session = Session.start(
                        repeat.settings,
                        runs_dir=runs_dir,
                        preset=repeat.preset,
                        changes=repeat.changes,
                        origin=repeat.origin,
                    )
                names.append(session.run.id)
                train(session, ending, context, as_json=as_json, write=reports.append if seeds else emit)
        finally:
            if seeds and as_json:
                emit({"runs": reports})
    if len(names) > 1:
        click.echo(f"compare the seeds with: metatui compare {shlex.join(names)}", err=True)
