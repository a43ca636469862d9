"""Controller of the analysis screens: comparison, report, suites, explorer, parameter space, explanation, benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from metatui.utils.errors import MetatuiError

# Imported in the functions that use them, because the first frame does not need them.
if TYPE_CHECKING:
    from metatui.runs.storage.run_folder import RunFolder
    from metatui.tui.app import MetatuiApp


class AnalysisController:
    """Opens the analysis screens. The module of a screen is imported when the screen is opened."""

    def __init__(self, app: MetatuiApp) -> None:
        self._app = app

    @property
    def chosen_runs(self) -> Sequence[str]:
        """Names of the runs to analyse, in displayed order.

        In the runs tab, these are the marked runs or, if no run is marked, the selected run. In the work tab, these are
        the shown runs.
        """
        app, controller = self._app, self._app.run_controller
        if app.tab == "runs":
            selected = app.runs_tab.selected
            return app.runs_tab.marked or ([selected.id] if selected else [])
        if app.tab == "work":
            shown = controller.shown
            return [run.run for run in controller.side_by_side] or ([shown.run_id] if shown and shown.run_id else [])
        return []

    def _folders(self) -> list[RunFolder]:
        """Return the folders of the chosen runs. If one was deleted, notify the user and return an empty list."""
        from metatui.runs.storage.store import RunStore

        store = RunStore(self._app.runs_dir)
        try:
            return [store.find(name) for name in self.chosen_runs]
        except MetatuiError as error:
            self._app.notify_error(error)
            return []

    def action_compare_runs(self) -> None:
        from metatui.tui.screens.compare.screen import CompareScreen

        if runs := self._folders():
            self._app.push_screen(CompareScreen(runs, colours=self._app.runs.colours.of(run.id for run in runs)))

    def action_report_runs(self) -> None:
        from pathlib import Path

        from metatui.tui.screens.compare.save_dialog import ReportScreen

        def say_path(path: Path | None) -> None:
            if path:
                self._app.notify(f"The report is in {path}.", timeout=15)

        if runs := self._folders():
            self._app.push_screen(ReportScreen(runs, self._app.runs_dir), say_path)

    def action_suites(self) -> None:
        from metatui.runs.storage.store import RunStore
        from metatui.tui.screens.suite.screen import SuiteScreen

        self._app.push_screen(SuiteScreen(RunStore(self._app.runs_dir), self._is_training))

    def action_explore(self) -> None:
        from metatui.tui.screens.explorer.query import ExplorerQuery
        from metatui.tui.screens.explorer.screen import ExplorerScreen

        app = self._app
        query = None
        if app.tab == "work":
            query = ExplorerQuery(app.work_tab.adaptation.shown_task, app.run_controller.shown_split)
        if runs := self._folders():
            app.push_screen(ExplorerScreen(runs, app.runs.colours.of(run.id for run in runs), query))

    def action_parameters(self) -> None:
        from metatui.tui.screens.parameter_space import ParameterScreen

        if runs := self._folders():
            self._app.push_screen(ParameterScreen(runs[0]))

    def action_explain(self, algorithm: str | None = None) -> None:
        """Explain an algorithm.

        Args:
            algorithm: name of an algorithm to explain with the settings in the form. If None, explain the algorithm of
                the selected run or preset with the settings of this run or preset. In the work tab, None stands for the
                algorithm in the form.
        """
        from metatui.tui.screens.explain import ExplainScreen

        app = self._app
        run = app.runs_tab.selected if algorithm is None and app.tab == "runs" else None
        if run and run.settings is None:
            app.runs.say_unreadable(run)
            return
        preset = app.presets_tab.selected if algorithm is None and app.tab == "presets" else None
        settings = (run or preset or app.form.assessment).settings
        app.push_screen(ExplainScreen(settings or app.opening_settings, algorithm))

    def action_benchmark(self) -> None:
        from metatui.tui.screens.benchmark.screen import BenchmarkScreen, question
        from metatui.tui.screens.dialogs.confirm import ConfirmScreen

        def answered(measure: bool | None) -> None:
            if measure:
                self._app.push_screen(BenchmarkScreen(self._is_training))

        self._app.push_screen(ConfirmScreen("Benchmark", question(), yes="Measure"), answered)

    def _is_training(self) -> bool:
        return self._app.run_controller.client.phase.active
