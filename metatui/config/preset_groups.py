"""Groups and order of presets in lists: the quick start, the bundled presets of each task, and those of the user."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from metatui.config.presets import Preset
from metatui.config.registry import DATA

QUICK: Final = "quick"
"""Name of the bundled preset for a first run."""
OWN: Final = "Yours"
"""Heading of the user's presets."""


def in_order(presets: Sequence[Preset]) -> list[Preset]:
    """Sort presets by group (quick start, bundled presets of each task, presets of the user), and then by name."""
    return sorted(presets, key=lambda preset: (_place(preset), preset.name))


def groups(presets: Sequence[Preset]) -> Iterator[tuple[str, list[Preset]]]:
    """Yield the heading and the presets of each group. `presets` must be sorted by `in_order`."""
    for heading, members in groupby(presets, key=group_of):
        yield heading, list(members)


def group_of(preset: Preset) -> str:
    """Return the heading of the group of a preset."""
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
