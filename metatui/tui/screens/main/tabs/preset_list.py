"""Rows of the list of presets, which are grouped by task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from metatui.config.preset_groups import OWN, group_of, groups
from metatui.config.presets import Preset
from metatui.config.registry import ALGORITHMS, DATA
from metatui.config.settings import Settings
from metatui.tui.keyboard.actions import with_keys
from metatui.tui.widgets.table import Cell, Column, Heading, Item

COLUMNS: Final = (
    Column("Preset", least=12, keeps_end=True),
    Column("Algorithm"),
    Column("Shots", right=True),
    Column("Results", needs=15),
)


def missing_data(settings: Settings) -> str:
    """Return the command that provides the data set of `settings`, or an empty string if the data set is available."""
    return DATA[settings.task.source].missing()


def contains(preset: Preset, words: Sequence[str]) -> bool:
    """Return whether the name, the title, the group or the algorithm of a preset contains each of the words."""
    algorithm = preset.settings.algorithm.name
    searched = f"{preset.name} {preset.title} {group_of(preset)} {algorithm} {ALGORITHMS[algorithm].title}".lower()
    return all(word in searched for word in words)


def rows(presets: Sequence[Preset]) -> Iterator[Item | Heading]:
    """Yield a heading for each group of presets, followed by its presets. `presets` must be sorted by group."""
    for group, listed in groups(presets):
        missing = "" if group == OWN else missing_data(listed[0].settings)
        title = DATA[listed[0].settings.task.source].title if missing else ""
        yield Heading(group, f"needs {title}: {with_keys('{fetch_data} downloads it')}" if missing else "")
        for preset in listed:
            yield _item(preset)


def _item(preset: Preset) -> Item:
    settings = preset.settings
    shots, test = settings.task.shots, settings.evaluation_shots
    results = ", ".join(["measured"] * bool(preset.measured) + ["paper"] * bool(preset.published))
    cells = (
        Cell(preset.name),
        Cell(ALGORITHMS[settings.algorithm.name].title),
        Cell(str(shots) if shots == test else f"{shots}, test {test}"),
        Cell(results, "muted"),
    )
    return Item(str(preset.path), cells)
