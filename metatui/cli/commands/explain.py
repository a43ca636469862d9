"""`metatui explain`: an algorithm with its pseudo-code, the settings put in."""

from __future__ import annotations

from dataclasses import asdict

import click

from metatui.cli.console.output import console, emit
from metatui.cli.options import changed, complete_presets, json_option, set_option
from metatui.learning.explanations import ALGORITHMS, Explanation, explanation


@click.command()
@click.argument("algorithm", type=click.Choice(list(ALGORITHMS)))
@click.option("--preset", metavar="PRESET|FILE", shell_complete=complete_presets, help="Whose settings to put in.")
@set_option
@json_option
def explain(algorithm: str, preset: str | None, assignments: tuple[str, ...], as_json: bool) -> None:
    """Explain an algorithm: its update rule, its pseudo-code with settings put in, what it costs, its paper."""
    from metatui.config import presets
    from metatui.config.settings import Settings

    settings = changed(presets.load(preset).settings if preset else Settings(), assignments)
    found = explanation(settings, algorithm)
    if as_json:
        emit(asdict(found))
    else:
        console().print("\n".join(_lines(found)))


def _lines(found: Explanation) -> list[str]:
    return [
        found.title, "", found.idea,
        "", "Update rule", *(f"  {line}" for line in found.rule), found.symbols,
        "", "Pseudo-code", *(f"  {line}" for line in found.code),
        "", "What a meta-step takes", *(f"- {sentence}" for sentence in found.costs),
        "", "Paper", *(f"- {paper}" for paper in found.paper),
    ]  # fmt: skip
