"""`metatui presets`: list, show, save and delete presets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from metatui.cli.console.layout import heading, say, show_properties, show_table, title
from metatui.cli.console.output import console, echo, emit
from metatui.cli.options import (
    complete_presets,
    complete_presets_and_runs,
    examples,
    json_option,
    note_without_effect,
    parse_settings,
    runs_dir_option,
    set_option,
)
from metatui.config import presets as stored
from metatui.config.fields import FIELDS, change, text_of
from metatui.config.preset_groups import groups, in_order
from metatui.config.presets import Preset
from metatui.config.registry import DATA
from metatui.config.schedule import Planned, as_tables, in_words
from metatui.config.settings import Settings
from metatui.utils import paths
from metatui.utils.errors import BadInput


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "metatui presets # list the presets",
        "metatui presets show quick",
        "metatui presets save mine --from latest",
    ),
)
@json_option
@click.pass_context
def presets(context: click.Context, as_json: bool) -> None:
    """List, show, save and delete presets. Without a command, the presets are listed."""
    if context.invoked_subcommand is None:
        _list(as_json)
    elif as_json:
        raise click.UsageError(f"--json must come after '{context.invoked_subcommand}'")


@presets.command(
    "list",
    epilog=examples(
        "metatui presets list",
        "metatui presets list --json",
    ),
)
@json_option
def list_presets(as_json: bool) -> None:
    """List the bundled presets and your own presets."""
    _list(as_json)


@presets.command(
    epilog=examples(
        "metatui presets show quick",
    )
)
@click.argument("preset", shell_complete=complete_presets)
@json_option
def show(preset: str, as_json: bool) -> None:
    """Show the source, protocol, results and settings of PRESET."""
    loaded = stored.load(preset)
    if as_json:
        emit(_report(loaded))
        return
    screen = console()
    say(screen, f"Preset {loaded.name}", style="bold")
    data = DATA[loaded.settings.task.source].description()
    about = {name: getattr(loaded, name) for name in stored.ABOUT}
    show_properties(screen, about | {"data": data, "file": loaded.path})
    relevant = ((path, field) for path, field in FIELDS.items() if field.is_relevant(loaded.settings))
    rows = ((path, text_of(loaded.settings.value(path)), field.unit, field.help) for path, field in relevant)
    title(screen, "Settings")
    show_table(screen, ("setting", "value", "unit", "help"), rows, numbers=("value",))
    if loaded.changes:
        planned = ((f"{each.iteration:,}", in_words(each)) for each in loaded.changes)
        title(screen, "Scheduled changes")
        show_table(screen, ("after meta-step", "change"), planned, numbers=("after meta-step",))


@presets.command(
    epilog=examples(
        "metatui presets save mine --from quick --set training.seed=1",
        "metatui presets save mine --from latest --overwrite # the settings of a run",
    )
)
@click.argument("name")
@click.option(
    "--from",
    "origin",
    metavar="PRESET|FILE|RUN",
    shell_complete=complete_presets_and_runs,
    help="Preset, TOML file or run from which to take the settings. Live changes of a run are saved as "
    "scheduled changes, in [[changes]] tables.",
)
@set_option
@click.option("--title", default="", help="Title of the preset.")
@click.option("--overwrite", is_flag=True, help="Replace your existing preset of this name.")
@runs_dir_option
@json_option
def save(
    name: str,
    origin: str | None,
    assignments: tuple[str, ...],
    title: str,
    overwrite: bool,
    runs_dir: Path | None,
    as_json: bool,
) -> None:
    """Save settings as a preset with the given NAME."""
    stored.check_name(name)
    base = _Base(Settings(), "own settings") if origin is None else _base(origin, runs_dir)
    overrides = parse_settings(assignments)
    settings = change(base.settings, overrides)
    saved = stored.save(
        name,
        settings,
        title=title or base.title,
        source=base.source,
        protocol=base.protocol,
        changes=base.changes,
        overwrite=overwrite,
    )
    if as_json:
        emit(_report(saved))
    else:
        say(console(), f"Saved as {saved.path}")
    note_without_effect(settings, overrides)


@presets.command(
    epilog=examples(
        "metatui presets path # the folder of your own presets",
        "metatui presets path quick",
    )
)
@click.argument("preset", required=False, shell_complete=complete_presets)
@json_option
def path(preset: str | None, as_json: bool) -> None:
    """Print the path of PRESET, or of the folder of your own presets."""
    where = stored.load(preset).path if preset is not None else paths.user_presets_dir()
    if as_json:
        emit({"path": str(where)})
    else:
        echo(where)


@presets.command(
    epilog=examples(
        "metatui presets delete mine",
    )
)
@click.argument("name", shell_complete=complete_presets)
@json_option
def delete(name: str, as_json: bool) -> None:
    """Delete one of your own presets by its NAME."""
    stored.delete(name)
    if as_json:
        emit({"deleted": name})
    else:
        say(console(), f"Deleted {name}")


def _list(as_json: bool) -> None:
    own, problems = stored.user()
    every = [*stored.bundled(), *own]
    if as_json:
        emit({"presets": [_report(preset) for preset in every], "problems": problems})
        return
    screen = console()
    for group, members in groups(in_order(every)):
        title(screen, group)
        for preset in members:
            mark = "" if preset.bundled else " (own)"
            heading(screen, preset.name, f"{mark}  {preset.title}")
            numbers = {"published": preset.published_note, "measured": preset.measured}
            results = (f"{name}: {text}" for name, text in numbers.items() if text)
            say(screen, *filter(None, (preset.protocol, *results)), style="dim", indent=4)
    for problem in problems:
        say(console(stderr=True), f"warning: {problem}")


@dataclass(frozen=True)
class _Base:
    """Settings to save as a preset, and their description."""

    settings: Settings
    source: str
    title: str = ""
    protocol: str = ""
    changes: tuple[Planned, ...] = ()


def _base(origin: str, runs_dir: Path | None) -> _Base:
    """Load a preset, file or run; raise BadInput if `origin` is none of these."""
    from metatui.runs.execution.rerun import schedule_of
    from metatui.runs.storage.store import RunStore

    try:
        base = stored.load(origin)
    except BadInput as error:
        try:
            run = RunStore(runs_dir).find(origin)
        except BadInput:
            raise error from None
        return _Base(run.settings(), f"run {run.id}", changes=schedule_of(run))
    return _Base(base.settings, f"preset {base.name}", base.title, base.protocol, base.changes)


def _report(preset: Preset) -> dict[str, Any]:
    about = {key: getattr(preset, key) for key in stored.ABOUT}
    return {
        "name": preset.name,
        **about,
        "bundled": preset.bundled,
        "path": str(preset.path),
        "settings": preset.settings.model_dump(mode="json"),
        "changes": as_tables(preset.changes),
    }
