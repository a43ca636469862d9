"""`metatui evaluate`: evaluate a saved run on held-out tasks."""

from __future__ import annotations

from pathlib import Path

import click

from metatui.cli.console.layout import say, show_table
from metatui.cli.console.output import console, emit, evaluation_json
from metatui.cli.console.progress import images_shown
from metatui.cli.options import (
    complete_runs,
    examples,
    json_option,
    run_device_option,
    runs_dir_option,
    shots_option,
    split_option,
    steps_option,
)
from metatui.config.fields import FIELDS
from metatui.events import Evaluation
from metatui.learning.data.data_set import caveat
from metatui.runs.formatting import accuracy, headline, parameters
from metatui.runs.storage.store import RunStore
from metatui.utils.errors import MetatuiError
from metatui.utils.numbers import format_diverged, interval

batch_norm_option = click.option(
    "--batch-norm",
    type=click.Choice(FIELDS["evaluation.batch_norm"].choices),
    help="Statistics that batch norm uses: those of the whole query set (transductive), or those of the support set "
    "and one query example at a time (per_example).",
)


@click.command(
    epilog=examples(
        "metatui evaluate latest",
        "metatui evaluate latest --tasks 2000 --steps 5 # another protocol",
        "metatui evaluate maml-sinusoid --split val --json",
    )
)
@click.argument("run", shell_complete=complete_runs)
@click.option(
    "--tasks", type=int, metavar="N", help="Number of held-out tasks. Default: the number in the run's settings."
)
@steps_option
@shots_option
@click.option(
    "--inner-lr",
    type=float,
    metavar="ALPHA",
    help="Inner learning rate. Default: the rate that was used at the best validation.",
)
@split_option
@batch_norm_option
@run_device_option
@runs_dir_option
@json_option
def evaluate(
    run: str,
    tasks: int | None,
    steps: int | None,
    shots: int | None,
    inner_lr: float | None,
    split: str,
    batch_norm: str | None,
    device: str | None,
    runs_dir: Path | None,
    as_json: bool,
) -> None:
    """Adapt the best parameters of RUN to held-out tasks and show the metrics after every inner step.

    RUN is the name of a run, the beginning of its name, its folder, or latest for the newest run. The exit code is 1 if
    at least half of the tasks diverged, because there is no result in this case.
    """
    folder = RunStore(runs_dir).find(run)

    from metatui.runs.analysis.evaluate import evaluate as evaluate_run

    with images_shown():
        evaluation = evaluate_run(
            folder,
            split=split,
            tasks=tasks,
            steps=steps,
            shots=shots,
            inner_lr=inner_lr,
            batch_norm=batch_norm,
            device=device,
        )
    if as_json:
        report = evaluation_json(folder.id, evaluation)
        assert report is not None
        emit(report)
    else:
        _show(folder.id, evaluation, inner_lr_given=inner_lr is not None)
    if not evaluation.is_finite:
        lost = format_diverged(evaluation.diverged or 0, evaluation.tasks)
        raise MetatuiError(f"{lost}, and too few tasks remain for a mean: lower --inner-lr or --steps")


def _show(run: str, evaluation: Evaluation, *, inner_lr_given: bool) -> None:
    screen = console()
    columns = ("inner step", "loss", "accuracy") if evaluation.accuracy else ("inner step", "loss")
    used = parameters(evaluation, rate_source=" (--inner-lr)" if inner_lr_given else "")
    say(screen, f"{run}: {headline(evaluation, level=True)}", f"Parameters: {used}")
    if not evaluation.is_finite:
        return
    if evaluation.diverged:
        diverged = format_diverged(evaluation.diverged, evaluation.tasks)
        say(screen, f"warning: {diverged}; the means do not include diverged tasks", style="yellow")
    if text := caveat(evaluation):
        say(screen, f"warning: {text}", style="yellow")
    rows = []
    for index, step in enumerate(evaluation.steps):
        rows.append([str(step), interval(evaluation.loss.mean[index], evaluation.loss.ci95[index])])
        if evaluation.accuracy:
            rows[-1].append(accuracy(evaluation.accuracy.mean[index], evaluation.accuracy.ci95[index]))
    screen.line()
    show_table(screen, columns, rows, numbers=columns)
