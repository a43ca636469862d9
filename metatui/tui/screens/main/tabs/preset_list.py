"""Rows of the list of presets, grouped by task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from metatui.config.presets import Preset
from metatui.config.registry import ALGORITHMS, DATA
from metatui.config.settings import Settings
from metatui.tui.widgets.table import Cell, Column, Heading, Item

QUICK: Final = "quick"
"""Name of the bundled preset for a first run."""
OWN: Final = "Yours"
"""Heading of the user's presets."""
COLUMNS: Final = (Column("Preset", least=12), Column("Algorithm"), Column("Shots", right=True), Column("Results"))


def missing_data(settings: Settings) -> str:
    """Return the command that provides the data set of `settings`; empty if the data set is on this machine."""
    return DATA[settings.task.source].missing()


def in_order(presets: Sequence[Preset]) -> list[Preset]:
    """Sort presets by group (quick start, bundled presets of each task, presets of the user), and then by name."""
    return sorted(presets, key=lambda preset: (_place(preset), preset.name))


def contains(preset: Preset, words: Sequence[str]) -> bool:
    """Return whether the name, the title, the group or the algorithm of a preset contains each of the words."""
    algorithm = preset.settings.algorithm.name
    searched = f"{preset.name} {preset.title} {_group(preset)} {algorithm} {ALGORITHMS[algorithm].title}".lower()
    return all(word in searched for word in words)


def rows(presets: Sequence[Preset]) -> Iterator[Item | Heading]:
    """Yield a heading for each group of presets, followed by its presets. `presets` must be sorted by `in_order`."""
    for group, members in groupby(presets, key=_group):
        listed = list(members)
        missing = "" if group == OWN else missing_data(listed[0].settings)
        title = DATA[listed[0].settings.task.source].title if missing else ""
        yield Heading(group, f"needs {title}: f downloads it" if missing else "")
        for preset in listed:
            yield _item(preset)


def _item(preset: Preset) -> Item:
    settings = preset.settings
    results = [name for name in ("measured", "published") if getattr(preset, name)]
    cells = (
        Cell(preset.name),
        Cell(ALGORITHMS[settings.algorithm.name].title),
        Cell(str(settings.evaluation_shots)),
        Cell(", ".join(results), "muted"),
    )
    return Item(str(preset.path), cells)


def _group(preset: Preset) -> str:
    if not preset.bundled:
        return OWN
    if preset.name == QUICK:
        return "Quick start"
    settings = preset.settings
    title = DATA[settings.task.source].title
    return f"{title}, {settings.task.ways}-way" if settings.is_classification else title


def _place(preset: Preset) -> tuple[bool, bool, bool, str, int]:
    """Return the sort key of the group of a preset. Regression comes before images."""
    settings = preset.settings
    images = settings.is_classification
    ways = settings.task.ways if images else 0
    return not preset.bundled, preset.name != QUICK, images, "" if not preset.bundled else settings.task.source, ways
