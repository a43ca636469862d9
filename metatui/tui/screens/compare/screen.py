"""Screen that compares runs on identical held-out tasks, or tests one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from metatui.runs.analysis.comparison import Comparing, Comparison, Recorded, compare_stepwise
from metatui.runs.analysis.comparison.compare_runs import parse_target
from metatui.runs.analysis.comparison.formatting import protocol_words
from metatui.runs.analysis.comparison.values import Steps
from metatui.runs.analysis.exports import export
from metatui.runs.storage.run_folder import RunFolder
from metatui.tui.screens.analysis_screen import AnalysisScreen
from metatui.tui.screens.compare.curves import CurveOptions
from metatui.tui.screens.compare.pages import partial_page, repeated_page, result_page
from metatui.tui.screens.compare.save_dialog import ExportScreen
from metatui.tui.screens.compare.sections import SECTIONS, Section, Sections
from metatui.tui.screens.dialogs.prompt import AskScreen
from metatui.tui.widgets.key_line import Key, KeyLine
from metatui.tui.widgets.scroll_view import Page
from metatui.tui.widgets.static_text import StaticText, StatusLine
from metatui.utils import paths
from metatui.utils.errors import BadInput

SHOTS: Final = (1, 2, 3, 5, 10, 15, 20, 30, 50)
"""Numbers of support examples that can be selected with the keys."""

STEPS: Final = (1, 2, 3, 5, 10, 15, 20, 30, 50, 100)
"""Numbers of inner steps that can be selected with the keys."""

KEYS: Final = (
    Key("1-4", "Section", "next_section(1)"),
    Key("t", "Against", "view('next_axis')"),
    Key("y", "Log", "view('toggle_log')"),
    Key("- +", "Shots", "shots(1)"),
    Key("g", "Target", "target"),
    Key("e", "Export", "export"),
    Key("o", "Smooth", "view('next_smoothing')"),
    Key("Enter", "Values", "cursor"),
    Key("v", "Validations", "view('next_curves')"),
    Key("[ ]", "Steps", "steps(1)"),
    Key("s", "Own steps", "own_steps"),
)
METRIC: Final = Key("m", "Metric", "metric")


class CompareScreen(AnalysisScreen[None]):
    """Screen that compares `runs`. Escape cancels a repeated measurement or, if there is none, closes the screen."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Close", tooltip="Cancel a repeated measurement, or close the comparison."),
        Binding("q", "dismiss", "Close", tooltip="Close the comparison."),
        *(
            Binding(str(number), f"section('{section}')", section.capitalize(), tooltip=f"Show the {section} section.")
            for number, section in enumerate(SECTIONS, 1)
        ),
        Binding("n,right,ctrl+o", "next_section(1)", "Next section", tooltip="Show the next section."),
        Binding("b,left", "next_section(-1)", "Previous section", tooltip="Show the previous section."),
        Binding(
            "t",
            "view('next_axis')",
            "Against",
            tooltip="Draw the training curves against meta-steps, tasks seen or time.",
        ),
        Binding("y", "view('toggle_log')", "Log", tooltip="Switch between a linear and a logarithmic loss axis."),
        Binding("o", "view('next_smoothing')", "Smooth", tooltip="Change the smoothing of the training curves."),
        Binding(
            "v",
            "view('next_curves')",
            "Validations",
            tooltip="Show the training curves and the validations (as points), or only one of the two.",
        ),
        Binding("m", "metric", "Metric", tooltip="Switch between the loss and the accuracy."),
        Binding("plus,equals_sign", "shots(1)", "More shots", tooltip="Measure again with more support examples."),
        Binding("minus", "shots(-1)", "Fewer shots", tooltip="Measure again with fewer support examples."),
        Binding(
            "right_square_bracket",
            "steps(1)",
            "More steps",
            tooltip="Measure again with more inner steps for all runs.",
        ),
        Binding(
            "left_square_bracket",
            "steps(-1)",
            "Fewer steps",
            tooltip="Measure again with fewer inner steps for all runs.",
        ),
        Binding(
            "s",
            "own_steps",
            "Own steps",
            tooltip="Switch between each run's own number of inner steps and the first run's number for all runs.",
        ),
        Binding(
            "g",
            "target",
            "Target",
            tooltip="Set a target loss or accuracy. The tables show when each run first reached it.",
        ),
        Binding("e", "export", "Export", tooltip="Save the comparison to a file."),
        Binding("enter", "cursor", "Values", tooltip="Show a cursor on the chart to read values, zoom and pan."),
    ]
    DEFAULT_CSS = """
    CompareScreen { layout: vertical; background: $background; }
    CompareScreen #compare-protocol { padding: 0 1; text-style: bold; }
    CompareScreen #compare-state { padding: 0 1; color: $text-muted; }
    """

    def __init__(
        self,
        runs: Sequence[RunFolder],
        *,
        tasks: int | None = None,
        steps: Steps | None = None,
        shots: int | None = None,
        target: float | None = None,
        colours: Mapping[str, str] | None = None,
        titles: Mapping[RunFolder, str] | None = None,
    ) -> None:
        """Create the screen.

        Args:
            tasks, steps, shots: Numbers of held-out tasks, inner steps and support examples. None selects the number in
                the settings of the first run. If `steps` is `own`, each run takes the number of inner steps in its own
                settings.
            target: Accuracy (a fraction) or loss. The tables show when the validations of each run first reached it.
            colours: Names of the runs' colours in the palette.
            titles: Texts that replace the names of the algorithms in the labels of runs.
        """
        super().__init__()
        self._runs = tuple(runs)
        self._tasks, self._steps, self._shots, self._target = tasks, steps, shots, target
        self._titles = titles
        self.comparison: Comparison | None = None
        self._recorded: Recorded | None = None
        """The training curves of the runs, which are shown until the runs have been evaluated."""
        self._partial: Comparison | None = None
        """The runs that the measurement in progress, or a failed first measurement, has evaluated so far."""
        self.view = CurveOptions(colours=colours or {})

    def compose(self) -> ComposeResult:
        words = f"Comparing {len(self._runs)} runs" if len(self._runs) > 1 else f"Testing {self._runs[0].id}"
        yield StaticText(words, id="compare-protocol")
        yield Sections()
        yield StatusLine(id="compare-state")
        yield KeyLine(KEYS)

    def on_mount(self) -> None:
        self._measure()
        self._show_state("Loading torch, which takes a few seconds, and reading the runs…")

    def on_resize(self) -> None:
        if self.is_mounted:
            self.sections.lay_out()

    @property
    def sections(self) -> Sections:
        return self.query_one(Sections)

    def action_section(self, section: Section) -> None:
        self.sections.section = section

    def action_next_section(self, by: int) -> None:
        self.sections.move(by)

    def action_view(self, change: str) -> None:
        """Change how the curves are drawn.

        Args:
            change: Name of the method of `CurveOptions` that returns the changed options.
        """
        self.view = getattr(self.view, change)()
        self._show()

    def _comparison_or_notify(self) -> Comparison | None:
        """Return the comparison, or notify the user that there is none yet."""
        if self.comparison is None:
            self.notify("Not possible yet: the runs are still being measured.", severity="warning")
        return self.comparison

    def action_metric(self) -> None:
        if (comparison := self._partial or self._comparison_or_notify()) and comparison.metric == "loss":
            self.notify("Regression has one metric, the loss.", severity="warning")
        elif comparison:
            self.action_view("next_metric")

    def action_shots(self, by: int) -> None:
        """Measure again with more or fewer support examples."""
        if (comparison := self._comparison_or_notify()) is None:
            return
        current = self._shots or comparison.protocol.shots
        choices = sorted({current, comparison.protocol.shots, *SHOTS})
        index = choices.index(current) + by
        if 0 <= index < len(choices):
            self._shots = choices[index]
            self._measure()

    def action_steps(self, by: int) -> None:
        """Measure again with more or fewer inner steps, the same number for all runs."""
        if (comparison := self._comparison_or_notify()) is None:
            return
        last = comparison.protocol.steps
        current = self._steps if isinstance(self._steps, int) else last
        choices = sorted({current, last, *STEPS})
        index = choices.index(current) + by
        if 0 <= index < len(choices):
            self._steps = choices[index]
            self._measure()

    def action_own_steps(self) -> None:
        """Switch between each run's own number of inner steps and the same number for all runs, and measure again."""
        if self._comparison_or_notify():
            self._steps = None if self._steps == "own" else "own"
            self._measure()

    @work
    async def action_target(self) -> None:
        """Ask for a target (an accuracy or a loss) and measure again."""
        if (comparison := self._comparison_or_notify()) is None:
            return
        unit = "accuracy, such as 0.95 or 95%" if comparison.metric == "accuracy" else "loss, such as 0.5"
        question = (
            f"Target {unit}. The tables show when each run's validations first reached it. Leave empty for no target."
        )
        before = "" if self._target is None else f"{self._target:g}"
        dialog = AskScreen("Target", question, value=before, check=lambda text: text and parse_target(text))
        if (answer := await self.app.push_screen_wait(dialog)) is not None:
            self._target = parse_target(answer) if answer else None
            self.sections.section = "tables"
            self._measure()

    @work
    async def action_export(self) -> None:
        if (comparison := self._comparison_or_notify()) is None:
            return
        try:
            suggested = paths.absolute("comparison.md")
        except BadInput:  # the current folder has been deleted
            suggested = Path("~/comparison.md")
        dialog = ExportScreen(suggested, lambda path: export(comparison, path))
        if written := await self.app.push_screen_wait(dialog):
            self.notify(f"Written to {written}.", markup=False)

    def action_leave(self) -> None:
        """Cancel a repeated measurement, or close the screen."""
        if self.is_busy and self.comparison is not None:
            self.stop_analysis()
            self._restore_request()
            self._show()
            self._show_state("Cancelled. The screen shows the previous measurement.")
        else:
            self.dismiss()

    def _measure(self) -> None:
        self.start_analysis(
            partial(
                compare_stepwise,
                self._runs,
                tasks=self._tasks,
                steps=self._steps,
                shots=self._shots,
                target=self._target,
                titles=self._titles,
            )
        )
        self._partial = None
        self._show()
        self._show_state("Reading the runs…")

    def _restore_request(self) -> None:
        """Reset the requested shots, inner steps and target to those of the comparison that is shown, if any."""
        if self.comparison is not None:
            self._partial = None
        protocol = self.comparison.protocol if self.comparison else None
        self._steps = None if protocol is None else "own" if protocol.own_steps else protocol.steps
        self._shots = self.comparison.protocol.shots if self.comparison else None
        self._target = self.comparison.target if self.comparison else None

    def show_progress(self, progress: Comparing) -> None:
        if progress.recorded and self.comparison is None:
            self._recorded = progress.recorded
            self._show()
        if progress.measured:
            self._partial = progress.measured
            self._show()
        self._show_state(
            f"Adapting {progress.run} ({progress.number} of {progress.runs}) to the held-out tasks: "
            f"{progress.done:,} of {progress.tasks:,}"
        )

    def show_result(self, result: Comparison) -> None:
        self.comparison, self._partial = result, None
        self._show_state("")
        self._show()

    def show_failure(self, reason: str) -> None:
        self._restore_request()
        self._show()
        self._show_state(f"Not measured: {reason}.")

    def _show(self) -> None:
        """Show the comparison or, until all runs have been measured for the first time, the results so far."""
        if recorded := self.comparison or self._recorded:
            self.sections.show_training(recorded, self.view)
        if (shown := self.comparison or self._partial) is None:
            return
        earlier = self.is_busy and self.comparison is not None
        words = protocol_words(shown)
        self.query_one("#compare-protocol", StaticText).update(f"Earlier results: {words}" if earlier else words)
        page: Page
        if self.comparison is None:
            page = partial(partial_page, shown, len(self._runs), self.view)
        elif earlier:
            page = partial(repeated_page, shown, self._partial, len(self._runs), self.view)
        else:
            page = partial(result_page, shown, self.view)
        self.sections.show_results(shown, self.view, page)

    def _show_state(self, text: str) -> None:
        self.query_one(StatusLine).update(text)
        shown = self.comparison or self._partial
        metric = [METRIC] if shown and shown.metric == "accuracy" else []
        escape = "Cancel" if self.is_busy and self.comparison is not None else "Close"
        self.query_one(KeyLine).keys = (*KEYS, *metric, Key("Esc", escape, "leave"))
