"""Colours of runs. While the app is open, a run has the same colour wherever it appears."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from metatui.tui.colors.palette import RUN_HUES


class RunColours:
    def __init__(self) -> None:
        self._hues: dict[str, str] = {}

    def known(self, run: str) -> str | None:
        """Return the colour of a run that has already been shown, or None for another run."""
        return self._hues.get(run)

    def of(self, runs: Iterable[str]) -> dict[str, str]:
        """Return the name of each run's colour in the palette, and remember it.

        A run keeps its colour, unless another of `runs` has the same colour and an unused colour is left.
        """
        runs = list(dict.fromkeys(runs))
        chosen: dict[str, str] = {}
        for run in runs:
            hue = self._hues.get(run)
            if hue and (hue not in chosen.values() or len(runs) > len(RUN_HUES)):
                chosen[run] = hue
        for run in runs:
            if run not in chosen:
                here, everywhere = Counter(chosen.values()), Counter(self._hues.values())
                hue = min(RUN_HUES, key=lambda hue: (here[hue], everywhere[hue]))
                chosen[run] = hue
        self._hues |= {run: hue for run, hue in chosen.items() if run}  # a run gets its name when it starts
        return chosen
