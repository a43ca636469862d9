"""`metatui compare` and `metatui report`: compare runs on identical held-out tasks, and write reports."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metatui.cli.console.comparison import show
from metatui.cli.console.layout import say
from metatui.cli.console.output import console, emit
from metatui.cli.console.progress import EVERY_SECONDS, can_redraw, images_shown
from metatui.cli.options import (
    FilePath,
    check_new_files,
    complete_runs,
    examples,
    export_option,
    force_option,
    json_option,
    runs_dir_option,
    shots_option,
    split_option,
)
from metatui.runs.storage.store import RunStore
from metatui.utils.errors import BadInput, quote
from metatui.utils.progress import packing

if TYPE_CHECKING:
    from collections.abc import Callable

    from metatui.runs.analysis.comparison import Comparing
    from metatui.runs.analysis.comparison.values import Steps


def _target(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    from metatui.runs.analysis.comparison.compare_runs import parse_target

    return None if text is None else parse_target(text, "--target")


def _steps(context: click.Context, parameter: click.Parameter, text: str | None) -> Steps | None:
    if text is None or text == "own":
        return "own" if text else None
    try:
        return int(text)
    except ValueError:
        raise BadInput(f"--steps is {quote(text)}, but must be a whole number of at least 1, or 'own'") from None


target_option = click.option(
    "--target",
    metavar="X",
    callback=_target,
    help="Show the meta-step at which each run first reaches this validation accuracy (for example, 0.95 or 95%) or "
    "validation loss.",
)
comparison_tasks_option = click.option(
    "--tasks",
    type=int,
    metavar="N",
    help="Number of held-out tasks. Default: the number in the settings of the first run.",
)
comparison_steps_option = click.option(
    "--steps",
    metavar="N|own",
    callback=_steps,
    help="Number of inner steps, or 'own' for the number in each run's settings. Default: the number in the settings "
    "of the first run.",
)
comparison_device_option = click.option(
    "--device", metavar="DEVICE", help="Device to compute on. Default: the device in each run's settings."
)


@click.command(
    epilog=examples(
        "metatui compare latest~1 latest # the two newest runs",
        "metatui compare maml-sinusoid reptile-sinusoid --target 0.5",
        "metatui compare latest~1 latest --tasks 2000 --export result.html",
    )
)
@click.argument("runs", nargs=-1, metavar="RUN RUN...", shell_complete=complete_runs)
@comparison_tasks_option
@comparison_steps_option
@shots_option
@split_option
@target_option
@comparison_device_option
@runs_dir_option
@json_option
@export_option
@force_option
def compare(
    runs: tuple[str, ...],
    tasks: int | None,
    steps: Steps | None,
    shots: int | None,
    split: str,
    target: float | None,
    device: str | None,
    runs_dir: Path | None,
    as_json: bool,
    exports: tuple[Path, ...],
    force: bool,
) -> None:
    """Use paired tests to compare how well runs adapt to identical held-out tasks, and compare their training costs.

    Each RUN is the name of a run, the beginning of its name, its folder, or latest, latest~1 and so on for the newest
    run and those before it. All runs are evaluated with the protocol of the first one; their folders are not changed.
    Runs that differ only in the seed are also summarised by the mean, standard deviation and 95 % interval over the
    seeds.
    """
    if len(runs) < 2:
        raise click.UsageError(
            "a comparison needs at least two runs: 'metatui runs' lists all runs, 'latest' is the newest one, and "
            "'latest~1' is the one before it"
        )
    store = RunStore(runs_dir)
    folders = [store.find(run) for run in runs]

    from metatui.runs.analysis.comparison import compare as compare_runs
    from metatui.runs.analysis.exports import as_json as as_values
    from metatui.runs.analysis.exports import check, describe_written_files, export

    for path in exports:
        check(path)
        check_new_files(path, "--export", force=force)
    with progress_bar() as on_progress:
        comparison = compare_runs(
            *folders,
            split=split,
            tasks=tasks,
            steps=steps,
            shots=shots,
            target=target,
            device=device,
            on_progress=on_progress,
        )
    try:
        for path in exports:
            say(console(stderr=True), describe_written_files(export(comparison, path)))
    finally:  # a result is not lost because a file cannot be written
        if as_json:
            emit(as_values(comparison))
        else:
            show(comparison)


@click.command(
    epilog=examples(
        "metatui report latest # write report.html",
        "metatui report latest~1 latest --to comparison.md",
    )
)
@click.argument("runs", nargs=-1, metavar="RUN...", shell_complete=complete_runs)
@click.option(
    "--to",
    "path",
    type=FilePath(),
    default=Path("report.html"),
    metavar="FILE",
    show_default=True,
    help="File to write: an .html file, or an .md file with its figures in separate files next to it.",
)
@comparison_tasks_option
@comparison_steps_option
@target_option
@comparison_device_option
@runs_dir_option
@force_option
def report(
    runs: tuple[str, ...],
    path: Path,
    tasks: int | None,
    steps: Steps | None,
    target: float | None,
    device: str | None,
    runs_dir: Path | None,
    force: bool,
) -> None:
    """Write a report of one run, or of several runs and their comparison, as an HTML or Markdown file.

    Each RUN is the name of a run, the beginning of its name, its folder, or latest for the newest run. All runs are
    evaluated on the same held-out tasks. A single run is not evaluated again if its final test already used the
    protocol of the report: the report then contains the result of this test.
    """
    if not runs:
        raise click.UsageError(
            "a report needs at least one run: 'metatui runs' lists all runs, and 'latest' is the newest one"
        )
    store = RunStore(runs_dir)
    folders = [store.find(run) for run in runs]

    from metatui.runs.analysis.comparison import compare as compare_runs
    from metatui.runs.analysis.comparison.formatting import main_results
    from metatui.runs.analysis.exports import describe_written_files
    from metatui.runs.analysis.report import REPORTS, write

    if path.suffix.lower() not in REPORTS:
        raise BadInput(f"--to is {quote(str(path), 200)}, but must end in {' or '.join(REPORTS)}")
    check_new_files(path, "--to", force=force)
    with progress_bar() as on_progress:
        comparison = compare_runs(
            *folders,
            tasks=tasks,
            steps=steps,
            target=target,
            device=device,
            reuse_test=True,
            on_progress=on_progress,
        )
    say(console(), *(f"{result}." for result in main_results(comparison)))
    say(console(stderr=True), describe_written_files(write(comparison, path)))


@contextmanager
def progress_bar() -> Iterator[Callable[[Comparing], object]]:
    """Context manager that shows progress on standard error, and yields the function that updates it.

    Progress is shown as a bar in a terminal, otherwise as a line every ten seconds.
    """
    screen = console(stderr=True)
    if not can_redraw(screen):
        with images_shown():
            yield _lines(lambda text: say(screen, text))
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("{task.fields[of]}"),
    )
    with Progress(*columns, console=screen, transient=True, refresh_per_second=4) as bar:
        task = bar.add_task("reading", total=None, of="tasks")

        def show(description: str, done: int, total: int, of: str) -> None:
            bar.update(task, description=description, completed=done, total=total, of=of)

        with packing.listener(lambda done, total: show("packing", done, total, "images")):
            yield lambda now: show(_position(now), now.done, now.tasks, "tasks")


def _lines(write: Callable[[str], object]) -> Callable[[Comparing], object]:
    last = time.monotonic()

    def show(now: Comparing) -> None:
        nonlocal last
        if time.monotonic() - last >= EVERY_SECONDS:
            last = time.monotonic()
            write(f"evaluating {_position(now)}: {now.done:,} of {now.tasks:,} tasks")

    return show


def _position(now: Comparing) -> str:
    return f"{now.run} ({now.number} of {now.runs})"
