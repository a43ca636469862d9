"""`metatui explain` and `metatui settings`: explain algorithms, and list the settings."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import click

from metatui.cli.console.layout import say, show_table
from metatui.cli.console.output import console, echo, emit
from metatui.cli.options import (
    complete_algorithms,
    complete_presets,
    examples,
    json_option,
    note_without_effect,
    parse_settings,
    set_option,
)
from metatui.config.declarations import Scalar, SettingField
from metatui.config.fields import FIELDS, change, format_assignments, text_of
from metatui.config.registry import ALGORITHMS
from metatui.learning.explanations import Explanation, explanation, selecting
from metatui.utils.errors import BadInput, quote


@click.command(
    epilog=examples(
        "metatui explain maml",
        "metatui explain reptile --set algorithm.inner_steps=5",
        "metatui explain maml --preset omniglot-5way-1shot-finn",
    )
)
@click.argument("algorithm", shell_complete=complete_algorithms)
@click.option(
    "--preset",
    metavar="PRESET|FILE",
    shell_complete=complete_presets,
    help="Preset that provides the settings for the pseudo-code.",
)
@set_option
@json_option
def explain(algorithm: str, preset: str | None, assignments: tuple[str, ...], as_json: bool) -> None:
    """Show the update rule of ALGORITHM, its pseudo-code for the given settings, its cost and its paper."""
    from metatui.config import presets
    from metatui.config.settings import Settings

    overrides = parse_settings(assignments)
    current = change(presets.load(preset).settings if preset else Settings(), overrides)
    result, shown = explanation(current, algorithm), selecting(current, algorithm)
    own = {
        path: shown.value(path)
        for path, field in FIELDS.items()
        if field.group in ("algorithm", algorithm) and path != "algorithm.name" and field.is_relevant(shown)
    }
    if as_json:
        emit({**asdict(result), "settings": own})
    else:
        for line in _lines(result, own):
            spaces = len(line) - len(line.lstrip())
            say(console(), line, hanging=spaces + 2 if line.startswith(("  ", "- ")) else 0)
    if (used := shown.task.source) != (source := current.task.source):
        title = ALGORITHMS[algorithm].title
        echo(f"note: {title} does not support the tasks of task.source={source}: task.source={used} is used", err=True)
    note_without_effect(shown, overrides.keys() - {"algorithm.name"})


def _lines(explanation: Explanation, own: Mapping[str, Scalar]) -> Iterator[str]:
    yield from (explanation.title, "", explanation.idea)
    sections = {
        "Update rule": [*(f"  {line}" for line in explanation.rule), *filter(None, [explanation.symbols])],
        "Pseudo-code": [f"  {line}" for line in explanation.code],
        "Cost of a meta-step": [f"- {sentence}" for sentence in explanation.costs],
        "Settings of the algorithm": [
            f"- {format_assignments({path: own[path]})}: {FIELDS[path].help}" for path in own
        ],
        "Usual values": [f"- {line}" for line in explanation.usual_lines(format_assignments)],
        "Paper": [f"- {paper}" for paper in explanation.paper],
    }
    for title, lines in sections.items():
        if lines:
            yield from ("", title, *lines)


@click.command(
    epilog=examples(
        "metatui settings",
        "metatui settings task # the settings of a group",
        "metatui settings learning rate # settings that match both words",
        "metatui settings --json",
    )
)
@click.argument("words", nargs=-1, metavar="[GROUP|WORD...]")
@json_option
def settings(words: tuple[str, ...], as_json: bool) -> None:
    """List settings with their defaults and meanings: all of them, those of a GROUP, or those that match all WORDs."""
    fields = _found([word.lower() for word in words])
    if as_json:
        emit({"settings": [_setting_json(field) for field in fields]})
        return
    rows = (
        (field.path, text_of(field.default), field.allowed, "yes" if field.live else "", field.help) for field in fields
    )
    show_table(console(), ("setting", "default", "allowed", "live", "meaning"), rows)


def _found(words: Sequence[str]) -> list[SettingField]:
    """Return the settings of a group, one setting, or the settings that match all `words`.

    Raises:
        BadInput: if no setting matches.
    """
    groups = list(dict.fromkeys(field.group for field in FIELDS.values()))
    if len(words) == 1 and (named := [field for field in FIELDS.values() if words[0] in (field.group, field.path)]):
        return named
    texts = [(field, _searched(f"{field.path} {field.label} {field.help}")) for field in FIELDS.values()]
    found = [field for field, text in texts if all(word in text for word in words)]
    if not found:
        raise BadInput(f"no setting matches {quote(' '.join(words))}: the groups are {', '.join(groups)}")
    return found


def _searched(text: str) -> str:
    """Return `text` in lower case, followed by the names of its Greek letters, such as `lambda`."""
    names = [unicodedata.name(letter, "").lower() for letter in text if not letter.isascii()]
    greek = [name.rpartition(" ")[2] for name in names if name.startswith("greek small letter")]
    return " ".join([text.lower(), *greek]).replace("lamda", "lambda")  # Unicode's spelling


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
