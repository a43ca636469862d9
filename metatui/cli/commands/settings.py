"""`metatui settings`: the reference of every knob."""

from __future__ import annotations

import click

from metatui.cli.console.output import cell, console, emit, table
from metatui.cli.options import json_option
from metatui.config.fields import FIELDS, SettingField, text_of


@click.command()
@json_option
def settings(as_json: bool) -> None:
    """Show every setting: its default, what is allowed, and what it means."""
    if as_json:
        emit({"settings": [_report(knob) for knob in FIELDS.values()]})
        return
    rows = table("setting", "default", "allowed", "live", "meaning")
    for knob in FIELDS.values():
        rows.add_row(
            *map(cell, (knob.path, text_of(knob.default), knob.allowed, "yes" if knob.live else "", knob.help))
        )
    console().print(rows)


def _report(knob: SettingField) -> dict[str, object]:
    return {
        "setting": knob.path,
        "kind": knob.kind,
        "default": knob.default,
        "allowed": knob.allowed,
        "choices": list(knob.choices),
        "unit": knob.unit,
        "live": knob.live,
        "meaning": knob.help,
        "when": {path: sorted(choices) for path, choices in knob.when.items()},
    }
