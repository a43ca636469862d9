"""Options that several commands share, and what their values mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

# Settings are models of pydantic, which takes longer to import than all else that --version and --help need.
if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from metatui.config.settings import Scalar, Settings


def _settings(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from metatui.config.fields import FIELDS

    return [CompletionItem(f"{p}=", help=k.help) for p, k in FIELDS.items() if p.startswith(incomplete)]


def complete_presets(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from metatui.config import presets

    names = [CompletionItem(name) for name in presets.names() if name.startswith(incomplete)]
    return names or [CompletionItem(incomplete, type="file")]


def complete_runs(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    from metatui.runs.storage.store import RunStore

    names = sorted(run.path.name for run in RunStore(context.params.get("runs_dir")).runs())
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


set_option = click.option(
    "--set", "assignments", multiple=True, metavar="GROUP.KEY=VALUE", shell_complete=_settings,
    help="Change one setting, such as training.seed=1; may be given often.",
)  # fmt: skip

device_option = click.option("--device", metavar="DEVICE", help="Short for --set compute.device=DEVICE.")

runs_dir_option = click.option(
    "--runs-dir", type=click.Path(path_type=Path), metavar="DIR",
    help="Folder of runs; else METATUI_RUNS, else the user's data directory.",
)  # fmt: skip

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")


def changes(assignments: Sequence[str], device: str | None = None) -> dict[str, Scalar]:
    """The settings that `--set` and `--device` name. Raises SettingsError."""
    from metatui.config.fields import FIELDS, assignment

    given = dict(map(assignment, assignments))
    if device is not None:
        given["compute.device"] = FIELDS["compute.device"].read(device)
    return given


def changed(settings: Settings, assignments: Sequence[str], device: str | None = None) -> Settings:
    """`settings` with what `--set` and `--device` say. Raises SettingsError."""
    from metatui.config.fields import change

    return change(settings, changes(assignments, device))
