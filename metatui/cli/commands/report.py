"""`metatui report`: write a report of one or more runs."""

from __future__ import annotations

from pathlib import Path

import click

from metatui.cli.commands.compare import (
    comparison_device_option,
    comparison_steps_option,
    comparison_tasks_option,
    find_runs,
    progress_bar,
    target_option,
)
from metatui.cli.console.output import console
from metatui.cli.options import check_new_file, complete_runs, runs_dir_option
from metatui.runs.storage.store import RunStore
from metatui.utils.errors import BadInput, quote


@click.command()
@click.argument("runs", nargs=-1, metavar="RUN...", shell_complete=complete_runs)
@click.option(
    "--to", "path", type=click.Path(path_type=Path), default=Path("report.html"), metavar="FILE", show_default=True,
    help="A .html file, or a .md file with its figures in files next to it.",
)  # fmt: skip
@comparison_tasks_option
@comparison_steps_option
@target_option
@comparison_device_option
@runs_dir_option
@click.option("--force", is_flag=True, help="Replace an existing file.")
def report(
    runs: tuple[str, ...],
    path: Path,
    tasks: int | None,
    steps: int | None,
    target: float | None,
    device: str | None,
    runs_dir: Path | None,
    force: bool,
) -> None:
    """Write a report of one run, or of several runs and their comparison, as a self-contained page.

    Each RUN is the name of a run, the start of its name, its folder, or latest for the newest run. All runs are
    evaluated on the same held-out tasks.
    """
    if not runs:
        raise click.UsageError(
            "a report needs at least one run: `metatui runs` lists them, and `latest` means the newest one"
        )
    folders = find_runs(RunStore(runs_dir), runs)

    from metatui.runs.analysis.comparison import compare
    from metatui.runs.analysis.exports import written
    from metatui.runs.analysis.report import REPORTS, write

    if path.suffix.lower() not in REPORTS:
        raise BadInput(f"--to is {quote(str(path), 200)}, but must end in {' or '.join(REPORTS)}")
    check_new_file(path, "--to", force=force)
    with progress_bar() as on_progress:
        comparison = compare(*folders, tasks=tasks, steps=steps, target=target, device=device, on_progress=on_progress)
    console(stderr=True).print(written(write(comparison, path)), soft_wrap=True)
