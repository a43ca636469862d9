"""The one place that talks to plotext: curves in, rows of coloured characters out."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple


@dataclass(frozen=True)
class Signal:
    """Points to draw, as positions: (0, 0) is the lower left corner of the canvas, (1, 1) the upper right.

    Coordinates are from -1 to 2, or (NaN, NaN) for a gap in a line; `marker` is plotext's name for sub-cell dots
    (`braille`, `hd`) or one character.
    """

    points: Sequence[tuple[float, float]]
    marker: str
    connected: bool


class Run(NamedTuple):
    """Characters beside each other that belong to one signal; `signal` is None where nothing is drawn."""

    text: str
    signal: int | None


_RUN: Final = re.compile(r"(?:\x1b\[38;5;(\d+)m)?([^\x1b\n]+)\x1b\[0m")


def dots(marker: str) -> int:
    """How many dots a cell has from top to bottom."""
    return {"braille": 4, "hd": 2}.get(marker, 1)


def _figure() -> Any:
    """A figure of its own, of any size.

    plotext 5.3 draws on one figure that its module holds, limits to the terminal's size and shares between all
    callers. Its class makes further ones, though under a private name; the version is pinned, and a test holds this.
    """
    from plotext._figure import _figure_class

    figure = _figure_class()
    figure._limit_size(False, False)
    figure.clear_color()
    figure.frame(False)
    figure.xticks([])
    figure.yticks([])
    return figure


class Canvas:
    """Draws curves with plotext. Hold one for each widget; made at first use, as plotext takes a while to import."""

    def __init__(self) -> None:
        self._plotext: Any = None

    def draw(self, signals: Sequence[Signal], width: int, height: int) -> list[list[Run]]:
        """Rows from top to bottom, each exactly `width` characters; later signals lie on top of earlier ones."""
        empty = [[Run(" " * width, None)] if width else [] for _ in range(height)]
        if width < 2 or height < 2:
            return empty
        self._plotext = figure = self._plotext or _figure()
        figure.clear_data()
        figure.plot_size(width, height)
        # plotext counts from the middle of the first dot to the middle of the last.
        figure.xlim(0, 1)
        figure.ylim(0, 1)
        drawn = False
        for index, signal in enumerate(signals):
            points = signal.points if signal.connected else [p for p in signal.points if not math.isnan(p[1])]
            if all(math.isnan(up) for _, up in points):
                continue
            across, up = (list(values) for values in zip(*points, strict=True))
            draw = figure.plot if signal.connected else figure.scatter
            draw(across, up, marker=signal.marker, color=index + 1)
            drawn = True
        if not drawn:
            return empty
        return [_runs(line) for line in figure.build().split("\n")[:height]]


def _runs(line: str) -> list[Run]:
    return [Run(text, int(colour) - 1 if colour else None) for colour, text in _RUN.findall(line)]
