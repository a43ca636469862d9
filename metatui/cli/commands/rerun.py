"""`metatui rerun`: repeat a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import click

from metatui.cli.commands.run import S, print_detached, train, train_seeds
from metatui.cli.console.progress import start_shown
from metatui.cli.options import (
    check_seeds,
    complete_runs,
    device_option,
    examples,
    json_option,
    parse_settings,
    runs_dir_option,
    seeds_option,
    set_option,
)
from metatui.runs.execution.rerun import Rerun, rerun_of
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import RunStore
from metatui.utils.errors import BadInput


@click.command(
    epilog=examples(
        "metatui rerun latest # repeat exactly",
        "metatui rerun latest --set training.seed=1 # with another seed",
        "metatui rerun latest --seeds 1,2,3 # one run for each seed",
    )
)
@click.argument("run", shell_complete=complete_runs)
@set_option
@seeds_option
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
    """Repeat RUN as a new run with the same settings and seed, and the same live changes at the same meta-steps.

    RUN is the name of a run, the beginning of its name, its folder, or latest for the newest run. On the CPU, the
    results agree bit for bit; on a GPU, they can differ by rounding errors. --set changes the initial settings; the
    live changes of RUN still apply.

    With --seeds, one run is trained for each seed. At the end, the mean, standard deviation and 95 % interval over the
    new runs (without RUN) are printed on standard output. A command that compares the new runs, and also RUN if only
    the seed differs, is printed on standard error. With --json, the reports are printed as one object with the list
    "runs".
    """
    own, given = RunStore(runs_dir).find(run), parse_settings(assignments, device)
    check_seeds(seeds, given, detach=detach)
    repeats = [rerun_of(own, {**given, "training.seed": seed}) for seed in seeds] or [rerun_of(own, given)]

    def started(repeat: Rerun, start: Callable[..., S]) -> S:
        with start_shown():
            return start(
                repeat.settings, runs_dir=runs_dir, preset=repeat.preset, changes=repeat.changes, origin=repeat.origin
            )

    from metatui.runs.execution.signals import ending_softly

    with ending_softly() as ending:
        if detach:
            from metatui.runs.execution.control import start_detached

            with closing(started(repeats[0], start_detached)) as live:
                print_detached(live, as_json=as_json)
            return
        from metatui.runs.execution.session import Session

        ending.defer()
        if seeds:
            sessions = (started(repeat, Session.start) for repeat in repeats)
            repeated = _another_seed(own, repeats)
            train_seeds(sessions, seeds, ending, context, as_json=as_json, rerun_of=own, repeated=repeated)
        else:
            train(started(repeats[0], Session.start), ending, context, as_json=as_json)


def _another_seed(run: RunFolder, repeats: Sequence[Rerun]) -> RunFolder | None:
    """Return the repeated run if it has a test result and differs from all `repeats` only in the seed."""
    from metatui.runs.analysis.comparison.seed_groups import without_seed

    settings = run.settings()
    if settings.training.seed in (repeat.settings.training.seed for repeat in repeats):
        return None
    try:
        test = run.evaluation().test
    except BadInput:  # the file is damaged
        return None
    is_tested = run.status() == "finished" and test is not None and test.is_finite
    return run if is_tested and without_seed(settings) == without_seed(repeats[0].settings) else None
