"""What is studied of runs: suites, comparisons, reports, single tasks, parameter space. Each has a screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from textual import on, work

from metatui.tui.actions import AppContext
from metatui.tui.detach import Background
from metatui.tui.screens.main.messages import ReportWanted, RunsCompared
from metatui.utils.errors import MetatuiError

# What the first frame needs none of is imported where it is used.
if TYPE_CHECKING:
    from metatui.runs.storage.run_folder import RunFolder


class Studies(Background):
    """Opens the screens, which are imported when they are."""

    @property
    def situation(self) -> AppContext:
        now = super().situation
        marked = len(self.runs_tab.marked) if now.tab == "runs" else 0
        return replace(now, marked=marked, studied=marked or len(self._studied))

    @property
    def _studied(self) -> Sequence[str]:
        """The names of the runs that are to be looked at closely, in the order in which they are shown."""
        if self.tab == "runs":
            row = self.runs_tab.selected
            return self.runs_tab.marked or ([row.id] if row else [])
        if self.tab == "work":
            return [run.run for run in self._beside] or (
                [self.shown.run_id] if self.shown and self.shown.run_id else []
            )
        return []

    def _folders(self) -> list[RunFolder]:
        """The studied runs on disk; empty, with a word why, where one is gone."""
        from metatui.runs.storage.store import RunStore

        store = RunStore(self._runs_dir)
        try:
            return [store.find(name) for name in self._studied]
        except MetatuiError as error:
            self.notify(f"{error}.", severity="error")
            return []

    @on(RunsCompared)
    def _compared(self, event: RunsCompared) -> None:
        from metatui.tui.screens.compare.screen import CompareScreen

        self.push_screen(CompareScreen([run.run for run in event.runs]))

    def action_suites(self) -> None:
        from metatui.runs.storage.store import RunStore
        from metatui.tui.screens.suite.screen import SuiteScreen

        self.push_screen(SuiteScreen(RunStore(self._runs_dir), lambda: self.conductor.phase.active))

    @on(ReportWanted)
    @work
    async def _report(self) -> None:
        from metatui.tui.screens.compare.save_dialog import ReportScreen

        if (runs := self._folders()) and (path := await self.push_screen_wait(ReportScreen(runs, self._runs_dir))):
            self.notify(f"The report is in {path}.", timeout=15)

    def action_explore(self) -> None:
        from metatui.tui.screens.explorer.screen import ExplorerScreen

        if runs := self._folders():
            self.push_screen(ExplorerScreen(runs))

    def action_parameters(self) -> None:
        from metatui.tui.screens.parameter_space import ParameterScreen

        if runs := self._folders():
            self.push_screen(ParameterScreen(runs[0]))

    def action_explain(self) -> None:
        from metatui.tui.screens.explain import ExplainScreen

        chosen = self.form.assessment.settings
        if self.tab == "runs" and (run := self.runs_tab.selected):
            chosen = run.settings
        elif self.tab == "presets" and (preset := self.presets_tab.selected):
            chosen = preset.settings
        self.push_screen(ExplainScreen(chosen or self._opening_settings))
