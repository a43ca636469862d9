"""`metatui settings`: list all settings."""

from __future__ import annotations

import click

from metatui.cli.console.output import cell, console, emit, table
from metatui.cli.options import json_option
from metatui.config.declarations import SettingField
from metatui.config.fields import FIELDS, text_of


@click.command()
@json_option
def settings(as_json: bool) -> None:
    """List all settings with their default, allowed values and meaning."""
    if as_json:
        emit({"settings": [_report(field) for field in FIELDS.values()]})
        return
    rows = table("setting", "default", "allowed", "live", "meaning")
    for field in FIELDS.values():
        live = "yes" if field.live else ""
        rows.add_row(*map(cell, (field.path, text_of(field.default), field.allowed, live, field.help)))
    console().print(rows)


def _report(field: SettingField) -> dict[str, object]:
    return {
        "setting": field.path,
        "kind": field.kind,
        "default": field.default,
        "allowed": field.allowed,
        "choices": list(field.choices),
        "unit": field.unit,
        "live": field.live,
        "meaning": field.help,
        "when": {path: sorted(choices) for path, choices in field.when.items()},
    }
