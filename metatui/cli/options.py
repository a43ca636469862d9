"""Options shared by several commands, and shell completion of their values, such as names of runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metatui.utils import paths
from metatui.utils.errors import BadInput, quote

# Importing pydantic takes longer than everything else that --version and --help need.
if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from metatui.config.declarations import Scalar
    from metatui.config.settings import Settings


class FilePath(click.Path):
    """A path in which a leading ~ stands for the home folder. Shells do not expand ~ in `--to=~/report.html`."""

    def __init__(self) -> None:
        super().__init__(readable=False)  # the commands explain more precisely why a file cannot be used

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return paths.expanded(os.fsdecode(super().convert(value, param, ctx)))


def _settings(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from metatui.config.fields import FIELDS

    return [CompletionItem(f"{path}=", help=f.help) for path, f in FIELDS.items() if path.startswith(incomplete)]


def complete_algorithms(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    from metatui.config.registry import ALGORITHMS

    return [name for name in ALGORITHMS.names() if name.startswith(incomplete)]


def names_or_file(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    """Return the `names` that start with `incomplete`; if there are none, let the shell complete a file name."""
    from click.shell_completion import CompletionItem

    items = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return items or [CompletionItem(incomplete, type="file")]


def complete_presets(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from metatui.config import presets

    return names_or_file(presets.names(), incomplete)


def complete_runs(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from metatui.runs.storage.store import RunStore

    names = sorted(run.path.name for run in RunStore(context.params.get("runs_dir")).runs())
    items = [*([CompletionItem("latest", help="the newest run")] if names else []), *map(CompletionItem, names)]
    return [item for item in items if item.value.startswith(incomplete)]


def complete_live_runs(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from metatui.runs.storage.store import RunStore

    live = {run.path.name for run in RunStore(context.params.get("runs_dir")).runs() if run.is_live()}
    return [item for item in complete_runs(context, parameter, incomplete) if item.value in live | {"latest"}]


def complete_presets_and_runs(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    runs = complete_runs(context, parameter, incomplete)
    items = [*complete_presets(context, parameter, incomplete), *runs]
    return [item for item in items if item.type == "plain" or not runs]


def examples(*commands: str) -> str:
    """Format `commands` as the examples at the end of a command's help. ` # ` separates a command from its comment."""
    parts = [command.partition(" # ") for command in commands]
    width = max((len(command) for command, _, comment in parts if comment), default=0)
    lines = (f"  {command:{width}}  {f'# {comment}' if comment else ''}".rstrip() for command, _, comment in parts)
    return "\n".join(("\b", "Examples:", *lines))


set_option = click.option(
    "--set", "assignments", multiple=True, metavar="GROUP.KEY=VALUE", shell_complete=_settings,
    help="Change one setting, such as training.seed=1; may be repeated.",
)  # fmt: skip

device_option = click.option("--device", metavar="DEVICE", help="Device to compute on: auto, cpu, cuda, cuda:N or mps.")

run_device_option = click.option(
    "--device", metavar="DEVICE", help="Device to compute on. Default: the device in the run's settings."
)


def _readable(context: click.Context, parameter: click.Parameter, folder: Path | None) -> Path | None:
    if folder is not None and os.path.exists(folder) and not os.access(folder, os.R_OK):
        raise BadInput(f"--runs-dir is {quote(str(folder), 200)}, which cannot be read: permission denied")
    return folder


runs_dir_option = click.option(
    "--runs-dir", type=FilePath(), metavar="DIR", callback=_readable,
    help="Folder that contains the runs. Default: the folder in METATUI_RUNS, or one in the user's data directory.",
)  # fmt: skip

shots_option = click.option(
    "--shots", type=int, metavar="K", help="Support examples per class; may differ from the number used in training."
)

split_option = click.option(
    "--split", type=click.Choice(["test", "val"]), default="test", show_default=True,
    help="Split from which the held-out tasks are drawn: test, or val for validation.",
)  # fmt: skip

steps_option = click.option(
    "--steps", type=int, metavar="N", help="Number of inner steps. Default: the number in the run's settings."
)

export_option = click.option(
    "--export", "exports", multiple=True, type=FilePath(), metavar="FILE",
    help="Also write comparisons to a file: .csv, .html, .json, .md, .pdf, .png, .svg or .tex; may be repeated.",
)  # fmt: skip

to_option = click.option(
    "--to", metavar="FILE|-", default="-", show_default=True, help="File to write, or - for standard output."
)

force_option = click.option("--force", is_flag=True, help="Replace existing files.")

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def _seeds(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        seeds = tuple(map(int, text.split(",")))
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise BadInput(f"--seeds is {quote(text)}, but must be distinct whole numbers of at least 0, such as 0,1,2")
    return seeds


seeds_option = click.option(
    "--seeds", metavar="N,N,...", callback=_seeds,
    help="Train one run with each of these values of training.seed, one after the other.",
)  # fmt: skip


def check_seeds(seeds: Sequence[int], settings: Iterable[str], *, detach: bool) -> None:
    """Check that `--seeds` can be combined with the other options.

    Args:
        settings: paths of the settings given with `--set`.
        detach: whether `--detach` is given.

    Raises:
        BadInput: if `--seeds` cannot be combined with these options.
    """
    if seeds and "training.seed" in settings:
        raise BadInput("--seeds and --set training.seed change the same setting: use only one of them")
    if seeds and detach:
        raise BadInput("--seeds cannot be combined with --detach: the runs would train at the same time")


def parse_settings(assignments: Sequence[str], device: str | None = None) -> dict[str, Scalar]:
    """Return the settings given with `--set` and `--device`.

    Raises:
        SettingsError: if a setting is unknown or its value is not allowed.
    """
    from metatui.config.fields import FIELDS, parse_assignment

    values = dict(map(parse_assignment, assignments))
    if device is not None:
        values["compute.device"] = FIELDS["compute.device"].read(device)
    return values


def apply_settings(settings: Settings, assignments: Sequence[str], device: str | None = None) -> Settings:
    """Return `settings` changed by `--set` and `--device`. Raises the same errors as `parse_settings`."""
    from metatui.config.fields import change

    return change(settings, parse_settings(assignments, device))


def note_without_effect(settings: Settings, paths: Iterable[str]) -> None:
    """Print a note on standard error for each setting in `paths` that has no effect with the other `settings`."""
    from metatui.cli.console.output import echo
    from metatui.config.fields import without_effect

    for sentence in without_effect(settings, sorted(paths)):
        echo(f"note: {sentence}", err=True)


def new_file(to: str, *, force: bool) -> Path | None:
    """Return the path given with `--to`, or None for standard output. Raises the same errors as `check_new_file`."""
    if to == "-":
        return None
    path = paths.expanded(to)
    check_new_file(path, "--to", force=force)
    return path


def check_new_file(path: Path, option: str, *, force: bool) -> None:
    """Check that a file can be written to `path`.

    Raises:
        BadInput: if the folder does not exist, or the file exists and `force` is False.
    """
    from metatui.utils.files import reason

    given = f"{option} is {quote(str(path), 200)}"
    if "\0" in str(path):
        raise BadInput(f"{given}, which is not a valid file name")
    try:
        if path.is_dir():
            raise BadInput(f"{given}, which is a folder, but must be a file")
        if not path.parent.is_dir():
            raise BadInput(f"{given}, but there is no folder {quote(str(path.parent), 200)}")
        if path.exists() and not force:
            raise BadInput(f"{given}, which already exists: choose another name, or replace the file with --force")
    except OSError as error:
        raise BadInput(f"{given}, which cannot be written: {reason(error)}") from None


def check_new_files(
    path: Path, option: str, *, force: bool, replaceable: Callable[[Path], bool] = lambda file: False
) -> None:
    """Check that the file `path` and, if it is a Markdown file, its figures can be written.

    Args:
        force: whether all existing files may be replaced.
        replaceable: function that tells whether an existing file may be replaced.

    Raises:
        BadInput: as in `check_new_file`.
    """
    from metatui.runs.analysis.report import figure_files

    check_new_file(path, option, force=force or replaceable(path))
    for figure in figure_files(path).values():
        check_new_file(figure, "a figure next to the report", force=force or replaceable(figure))
