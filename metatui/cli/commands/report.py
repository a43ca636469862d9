"""`metatui report`: runs, their protocol, curves, tables and environment as one page that stands alone."""

from __future__ import annotations

from pathlib import Path

import click

from metatui.cli.commands.compare import found, target_option, watching
from metatui.cli.console.output import console
from metatui.cli.options import complete_runs, runs_dir_option
from metatui.runs.storage.store import RunStore
from metatui.utils.errors import BadInput, quote

STANDARD = Path("report.html")


@click.command()
@click.argument("runs", nargs=-1, metavar="RUN...", shell_complete=complete_runs)
@click.option(
    "--to", "path", type=click.Path(path_type=Path), default=STANDARD, metavar="FILE", show_default=True,
    help="A .html or .md file; the pictures of Markdown go beside it.",
)  # fmt: skip
@click.option("--tasks", type=int, metavar="N", help="Held-out tasks; else as the first run's settings say.")
@click.option("--steps", type=int, metavar="N", help="Inner steps of adaptation; else as the first run's.")
@target_option
@click.option("--device", metavar="DEVICE", help="Where to compute; else as each run's settings say.")
@runs_dir_option
@click.option("--force", is_flag=True, help="Replace a file that is there.")
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
    """Write a report of one run, or of several and how they compare, to a page that needs no network.

    Each RUN is a run's name, the start of it, its folder, or latest, the newest. All are measured on the same held-out
    tasks.
    """
    if not runs:
        raise click.UsageError("a report is of one run or more: metatui runs lists them, latest is the newest")
    folders = found(RunStore(runs_dir), runs)

    from metatui.runs.analysis.comparison import compare
    from metatui.runs.analysis.exports import check, written
    from metatui.runs.analysis.report import REPORTS, write

    if path.suffix.lower() not in REPORTS:
        raise BadInput(f"--to is {quote(str(path), 200)}, but must end in .html or .md")
    check(path)
    if path.exists() and not force:
        raise BadInput(f"{quote(str(path), 200)} is there already: give another --to, or --force to replace it")
    with watching() as see:
        comparison = compare(*folders, tasks=tasks, steps=steps, target=target, device=device, on_progress=see)
    console(stderr=True).print(written(write(comparison, path)), soft_wrap=True)
