"""What is studied of runs that are there: compared, explored, seen in parameter space, explained. Each has a screen."""

from __future__ import annotations

from dataclasses import replace

from textual import on

from metatui.tui.actions import Situation
from metatui.tui.bench import Bench
from metatui.tui.panes.messages import RunsCompared


class Studies(Bench):
    """Opens the screens, which are imported when they are."""

    @property
    def situation(self) -> Situation:
        now = super().situation
        return replace(now, marked=len(self.runs_tab.marked) if now.tab == "runs" else 0)

    @on(RunsCompared)
    def _compared(self, event: RunsCompared) -> None:
        from metatui.tui.comparing.screen import CompareScreen

        self.push_screen(CompareScreen([run.run for run in event.runs]))
