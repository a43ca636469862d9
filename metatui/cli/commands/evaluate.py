"""`metatui evaluate`: adapt a saved run to held-out tasks."""

from __future__ import annotations

from pathlib import Path

import click

from metatui.cli.console.output import adapted, cell, console, emit, evaluation_json, interval, protocol, spelled, table
from metatui.cli.console.pack_progress import images_shown
from metatui.cli.options import complete_runs, json_option, runs_dir_option
from metatui.config.fields import FIELDS
from metatui.events import Evaluation
from metatui.runs.storage.store import RunStore
from metatui.utils import numbers


@click.command()
@click.argument("run", shell_complete=complete_runs)
@click.option("--tasks", type=int, metavar="N", help="Held-out tasks; else as the run's settings say.")
@click.option("--steps", type=int, metavar="N", help="Inner steps of adaptation; else as the settings say.")
@click.option("--shots", type=int, metavar="K", help="Support examples; other than trained with are fine.")
@click.option("--inner-lr", type=float, metavar="ALPHA", help="Inner learning rate; else as in the best validation.")
@click.option("--split", type=click.Choice(["test", "val"]), default="test", show_default=True, help="Held-out part.")
@click.option(
    "--batch-norm",
    type=click.Choice(FIELDS["evaluation.batch_norm"].choices),
    help="What batch norm sees at test: the whole query set, or one query example at a time.",
)
@click.option("--device", metavar="DEVICE", help="Where to compute; else as the settings say.")
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
    """Adapt RUN's best parameters to held-out tasks: loss and accuracy at every inner step.

    RUN is a run's name, the start of it, or its folder.
    """
    folder = RunStore(runs_dir).find(run)

    from metatui.runs.analysis.evaluate import evaluate as evaluate_run

    with images_shown():
        evaluation = evaluate_run(
            folder, split=split, tasks=tasks, steps=steps, shots=shots, inner_lr=inner_lr, batch_norm=batch_norm,
            device=device,
        )  # fmt: skip
    if as_json:
        report = evaluation_json(folder.id, evaluation)
        assert report is not None
        emit(report)
    else:
        _show(folder.id, evaluation, inner_lr_given=inner_lr is not None)


def _show(run: str, evaluation: Evaluation, *, inner_lr_given: bool) -> None:
    screen = console()
    columns = ("inner step", "loss", "accuracy") if evaluation.accuracy else ("inner step", "loss")
    how = adapted(evaluation, rate_source=" (--inner-lr)" if inner_lr_given else "")
    screen.print(spelled(screen, f"{run}, {how}: {protocol(evaluation)}"), soft_wrap=True)
    if evaluation.diverged:
        left = "means are over the others" if evaluation.is_finite else "the others are too few for a mean"
        lost = numbers.diverged(evaluation.diverged, evaluation.tasks)
        screen.print(f"warning: {lost}: {left}", style="yellow", soft_wrap=True)
        if not evaluation.is_finite:
            return
    rows = table(*columns, numbers=columns)
    for index, step in enumerate(evaluation.steps):
        cells = [str(step), interval(evaluation.loss, index, percent=False)]
        if evaluation.accuracy:
            cells.append(interval(evaluation.accuracy, index, percent=True))
        rows.add_row(*(cell(spelled(screen, each)) for each in cells))
    screen.print(rows)
