"""`metatui explain` and `metatui settings`: explain algorithms, and list the settings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

import click

from metatui.cli.console.output import cell, console, emit, table
from metatui.cli.options import changed, complete_algorithms, complete_presets, json_option, set_option
from metatui.config.declarations import SettingField
from metatui.config.fields import FIELDS, text_of
from metatui.learning.explanations import Explanation, explanation


@click.command()
@click.argument("algorithm", shell_complete=complete_algorithms)
@click.option(
    "--preset",
    metavar="PRESET|FILE",
    shell_complete=complete_presets,
    help="Preset whose settings the pseudo-code shows.",
)
@set_option
@json_option
def explain(algorithm: str, preset: str | None, assignments: tuple[str, ...], as_json: bool) -> None:
    """Explain ALGORITHM: update rule, pseudo-code for the given settings, cost and paper."""
    from metatui.config import presets
    from metatui.config.settings import Settings

    current = changed(presets.load(preset).settings if preset else Settings(), assignments)
    result = explanation(current, algorithm)
    if as_json:
        emit(asdict(result))
    else:
        console().print("\n".join(_lines(result)))


def _lines(explanation: Explanation) -> Iterator[str]:
    yield from (explanation.title, "", explanation.idea)
    sections = {
        "Update rule": [*(f"  {line}" for line in explanation.rule), *filter(None, [explanation.symbols])],
        "Pseudo-code": [f"  {line}" for line in explanation.code],
        "Cost of a meta-step": [f"- {sentence}" for sentence in explanation.costs],
        "Usual values": [f"- {line}" for line in explanation.usual_lines],
        "Paper": [f"- {paper}" for paper in explanation.paper],
    }
    for title, lines in sections.items():
        if lines:
            yield from ("", title, *lines)


@click.command()
@json_option
def settings(as_json: bool) -> None:
    """List all settings with their default, allowed values and meaning."""
    if as_json:
        emit({"settings": [_setting_json(field) for field in FIELDS.values()]})
        return
    rows = table("setting", "default", "allowed", "live", "meaning")
    for field in FIELDS.values():
        live = "yes" if field.live else ""
        rows.add_row(*map(cell, (field.path, text_of(field.default), field.allowed, live, field.help)))
    console().print(rows)


def _setting_json(field: SettingField) -> dict[str, object]:
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
