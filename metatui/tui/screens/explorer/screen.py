"""Screen that adapts the models of up to three runs to one task and steps through the adaptation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import ClassVar, Final

from rich.segment import Segment
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType

from metatui.events import ImageView, RegressionView
from metatui.learning.evaluation.custom_tasks import ChosenClasses, Wave
from metatui.runs.analysis.explore import Explored, explore_stepwise
from metatui.runs.storage.run_folder import RunFolder
from metatui.tui.colors import palette
from metatui.tui.keyboard.actions import BY_ID, key_name
from metatui.tui.screens.analysis_screen import AnalysisScreen
from metatui.tui.screens.dialogs.prompt import AskScreen
from metatui.tui.screens.explorer.query import STEPS, ExplorerQuery, wave_of
from metatui.tui.widgets.adaptation import MAX_PANEL_RUNS, AdaptationPanel, RunViews
from metatui.tui.widgets.adaptation.views import loss_name
from metatui.tui.widgets.charts import ChartData, LineChart, Series
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.row_widget import Row, RowsWidget, spread, truncate_words
from metatui.tui.widgets.key_line import Key, KeyLine
from metatui.tui.widgets.static_text import StatusLine
from metatui.utils.errors import BadInput, quote

FIRST_STEP: Final = 10
"""Inner step that is shown first."""

MAX_GROWTH: Final = 1000
"""Losses above this multiple of the loss before adaptation are not drawn."""

CHART_FROM_ROWS: Final = 32
"""Minimum height of the terminal, in rows, at which the loss curve is shown."""

EMPTY: Final = "Adapting. The first adaptation takes a few seconds longer, because torch is loaded."

KEYS: Final = (
    Key("[ ]", "Step", "step(1)"),
    Key(", .", "Task", "task(1)"),
    Key("g", "Number", "number"),
    Key("- +", "Rate", "rate(1)"),
    Key("0", "Own rate", "rate(0)"),
    Key("d", "Draw", "draw"),
    Key("Esc", "Close", "dismiss"),
)
VALUES_KEY: Final = Key("Enter", "Values", "cursor")
WAVE_KEY: Final = Key("Arrows", "Bend", "wave(1, 0)")


class ExplorerHeader(RowsWidget):
    """Shows the task, the run, the inner learning rates, the checkpoints, and whether an adaptation is in progress."""

    DEFAULT_CSS = "ExplorerHeader { height: 2; padding: 0 1; }"

    def __init__(self) -> None:
        super().__init__()
        self._title = self._protocol = self._state = ""

    def show(self, title: str, results: Sequence[Explored], state: str) -> None:
        protocol = describe_rates(results), describe_checkpoints(results)
        self._title, self._protocol, self._state = title, " · ".join(filter(None, protocol)), state
        self.redraw()

    def rows(self, width: int, height: int, theme: ChartTheme) -> list[Row]:
        state, ellipsis = theme.printable(self._state), theme.glyphs.ellipsis
        title = truncate_words(theme.printable(self._title), max(0, width - len(state) - 2), ellipsis)
        protocol = truncate_words(theme.printable(self._protocol), width, ellipsis)
        return [
            spread([Segment(title, theme.title)], [Segment(state, theme.muted)], width),
            [Segment(protocol, theme.text)],
        ]


class ExplorerPanel(AdaptationPanel, can_focus=False):
    """An adaptation panel whose keys change the inner step on the whole screen, including the loss curve."""

    def key_of(self, action: str) -> str:
        return key_name(BY_ID[action].default_keys)  # the user's keymap does not change the keys of the screen

    def action_step(self, by: int) -> None:
        assert isinstance(self.screen, ExplorerScreen)
        self.screen.action_step(by)


class ExplorerScreen(AnalysisScreen[None]):
    """Adapts the model of each run to a task, and again whenever the task or the inner learning rate changes.

    After an adaptation, all inner steps can be shown without further computation.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "dismiss", "Close", tooltip="Close the explorer."),
        Binding("left_square_bracket", "step(-1)", "Previous step", tooltip="Show the previous inner step."),
        Binding("right_square_bracket,space", "step(1)", "Next step", tooltip="Show the next inner step."),
        Binding("home", f"step(-{STEPS})", "First step", tooltip="Show the task before adaptation."),
        Binding("end", f"step({STEPS})", "Last step", tooltip="Show the task after all inner steps."),
        Binding("comma", "task(-1)", "Previous task", tooltip="Adapt to the held-out task with the previous number."),
        Binding("full_stop", "task(1)", "Next task", tooltip="Adapt to the held-out task with the next number."),
        Binding(
            "k", "shots", "Next support images", tooltip="Show the next support images if there is no room for all."
        ),
        Binding("g", "number", "Number", tooltip="Enter the number of a held-out task."),
        Binding(
            "plus,equals_sign",
            "rate(1)",
            "Raise the inner learning rate",
            tooltip="Adapt with a 25 % higher inner learning rate.",
        ),
        Binding(
            "minus",
            "rate(-1)",
            "Lower the inner learning rate",
            tooltip="Adapt with a 20 % lower inner learning rate.",
        ),
        Binding("0", "rate(0)", "Own rate", tooltip="Return to the inner learning rate of each run."),
        Binding(
            "d",
            "draw",
            "Draw",
            tooltip="Define a task: change the wave, or choose the classes. The same key returns to the held-out task.",
        ),
        Binding("up", "wave(1, 0)", "Raise the amplitude", tooltip="Raise the amplitude of your wave."),
        Binding("down", "wave(-1, 0)", "Lower the amplitude", tooltip="Lower the amplitude of your wave."),
        Binding(
            "left",
            "wave(0, -1)",
            "Left",
            tooltip="Show the previous step, or shift your wave to the left.",
        ),
        Binding(
            "right",
            "wave(0, 1)",
            "Right",
            tooltip="Show the next step, or shift your wave to the right.",
        ),
        Binding("enter", "cursor", "Values", tooltip="Show a cursor on the loss chart to read values, zoom and pan."),
    ]
    DEFAULT_CSS = """
    ExplorerScreen { layout: vertical; background: $background; }
    ExplorerScreen ExplorerPanel { height: 2fr; padding: 0 1; }
    ExplorerScreen #explorer-curve { height: 1fr; padding: 1 1 0 1; }
    ExplorerScreen #explorer-problem { padding: 0 1; color: $text-error; }
    """

    def __init__(
        self,
        runs: Sequence[RunFolder],
        colours: Mapping[str, str] | None = None,
        query: ExplorerQuery | None = None,
    ) -> None:
        """Create the screen for at most `MAX_PANEL_RUNS` of `runs`.

        Args:
            colours: names of the runs' colours in the palette.
            query: task and inner learning rate to show first. If None, the first test task is shown.
        """
        super().__init__()
        self._runs = tuple(runs)[:MAX_PANEL_RUNS]
        self._colours = [
            (colours or {}).get(run.id, hue) for run, hue in zip(self._runs, palette.RUN_HUES, strict=False)
        ]
        self.query_state = query or ExplorerQuery()
        """The task and the inner learning rate of the newest request."""
        self._answered = self.query_state
        """The request to which the results on the screen belong."""
        self._incoming: dict[int, Explored] = {}
        self.results: tuple[Explored, ...] = ()
        self.step = FIRST_STEP

    def compose(self) -> ComposeResult:
        yield ExplorerHeader()
        yield ExplorerPanel(id="explorer-panel")
        yield LineChart(id="explorer-curve")
        yield StatusLine(id="explorer-problem")
        yield KeyLine(KEYS)

    def on_mount(self) -> None:
        self._request_results(self.query_state)
        self._show()

    def on_resize(self) -> None:
        if self.is_mounted:
            self._lay_out()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Disable keys that have no effect, so that the help does not list them.

        The cursor needs a loss chart, and images have no amplitude.
        """
        if action == "wave" and parameters[0]:
            return not any(isinstance(result.view, ImageView) for result in self.results)
        return action != "cursor" or (self.is_mounted and self.query_one(LineChart).display)

    def action_step(self, by: int) -> None:
        self.step = max(0, min(STEPS, self.step + by))
        self._show()

    def action_shots(self) -> None:
        self.query_one(ExplorerPanel).action_shots()

    def action_task(self, by: int) -> None:
        self._request_results(self.query_state.change_task(by))

    def action_rate(self, by: int) -> None:
        self._request_results(self.query_state.change_rate(by))

    def action_wave(self, amplitude: int, phase: int) -> None:
        """Change the user-defined wave. If there is none, the left and right keys change the inner step instead."""
        if isinstance(self.query_state.drawn, Wave):
            self._request_results(self.query_state.change_wave(amplitude, phase))
        else:
            self.action_step(phase)

    @work
    async def action_number(self) -> None:
        """Ask for the number of a held-out task."""
        before = str(self.query_state.task)
        dialog = AskScreen("Task", "Number of the held-out task, counted from 0.", value=before, check=parse_task)
        if (answer := await self.app.push_screen_wait(dialog)) is not None:
            self._request_results(replace(self.query_state, task=parse_task(answer)))

    @work
    async def action_draw(self) -> None:
        """Switch between the held-out task and a user-defined one."""
        view = self.results[0].view if self.results else None
        if self.query_state.drawn is not None:
            self._request_results(replace(self.query_state, drawn=None))
        elif isinstance(view, RegressionView):
            self._request_results(replace(self.query_state, drawn=wave_of(view)))
        elif isinstance(view, ImageView):
            question = (
                f"Enter {self.results[0].ways} held-out classes, separated by commas. Each is a number (from 0), "
                "a name, or the beginning of a name. The name of an alphabet selects as many of its characters as are "
                "needed. If several alphabets are named, each provides some of the classes."
            )
            dialog = AskScreen("Classes", question, check=lambda _: None)
            if answer := await self.app.push_screen_wait(dialog):
                self._request_results(replace(self.query_state, drawn=ChosenClasses(answer)))
        elif view is not None:
            self.query_one(StatusLine).update("Only sinusoid runs and image runs support user-defined tasks.")

    def _request_results(self, query: ExplorerQuery) -> None:
        if query == self.query_state and self.is_busy:
            return
        self.query_state = query
        self._incoming = {}
        self.start_analysis(
            partial(
                explore_stepwise,
                self._runs,
                task=query.task,
                split=query.split,
                drawn=query.drawn,
                steps=STEPS,
                rate=query.rate,
            )
        )
        self._show_header()

    def show_progress(self, progress: Explored) -> None:
        """Collect the results of the runs, and show them together, so that all runs show the same task."""
        self._incoming[progress.number] = progress
        if progress.number == len(self._runs) - 1:
            self.results, self._answered = tuple(self._incoming.values()), self.query_state
            self.query_one(StatusLine).update("")
            self._show()

    def show_result(self, result: object) -> None:
        self._show_header()

    def show_failure(self, reason: str) -> None:
        self.query_state = self._answered
        self.query_one(StatusLine).update(f"{reason}.")
        self._show()

    def _show(self) -> None:
        self._show_header()
        runs = [
            RunViews(str(result.number), result.label, self._colours[result.number], (result.view,))
            for result in self.results
        ]
        panel = self.query_one(ExplorerPanel)
        panel.step = self.step
        panel.show_views(runs, empty=EMPTY)
        self.query_one(LineChart).show(loss_curves(self.results, self.step, self._colours))
        self._lay_out()

    def _show_header(self) -> None:
        title = self.query_state.describe()
        if len(self._runs) == 1:  # several runs are named above their columns
            title = f"{title} · {self._runs[0].id}"
        self.query_one(ExplorerHeader).show(title, self.results, "adapting…" if self.is_busy else "")
        self._show_keys()

    def _show_keys(self) -> None:
        wave = [WAVE_KEY] if isinstance(self.query_state.drawn, Wave) else []
        values = [VALUES_KEY] if self.query_one(LineChart).display else []
        self.query_one(KeyLine).keys = (*wave, *KEYS[:-1], *values, KEYS[-1])

    def _lay_out(self) -> None:
        # The panel of an image task includes a curve. Before the first result, the kind of task is not known.
        has_curve = self.results and not any(isinstance(result.view, ImageView) for result in self.results)
        self.query_one(LineChart).display = self.app.size.height >= CHART_FROM_ROWS and bool(has_curve)
        self._show_keys()


def parse_task(text: str) -> int:
    """Parse the number of a task.

    Raises:
        BadInput: If the text is not a number in range.
    """
    if text.isascii() and text.isdigit() and int(text) < 2**31:
        return int(text)
    raise BadInput(f"task is {quote(text)}, but must be a whole number from 0 to {2**31 - 1:,}")


def describe_rates(results: Sequence[Explored]) -> str:
    """Format the inner learning rates, for example `Inner rate 0.0125 (validated with 0.01)`.

    If they differ between runs, list the rate of each run.
    """

    def rate(result: Explored) -> str:
        current = f"{result.inner_lr:.3g}"
        return current if result.inner_lr == result.own_lr else f"{current} (validated with {result.own_lr:g})"

    if not results:
        return ""
    if len({(result.inner_lr, result.own_lr) for result in results}) == 1:
        return f"Inner rate {rate(results[0])}"
    return f"Inner rates: {', '.join(f'{result.label} {rate(result)}' for result in results)}"


def describe_checkpoints(results: Sequence[Explored]) -> str:
    """Format the checkpoint of each run, for example `Best checkpoint, meta-step 1,000` if there is only one run."""
    if len(results) == 1:
        return f"{results[0].checkpoint.capitalize()} checkpoint, meta-step {results[0].iteration:,}"
    texts = ", ".join(f"{result.label} {result.checkpoint} at {result.iteration:,}" for result in results)
    return f"Checkpoints: {texts}" if texts else ""


def loss_curves(results: Sequence[Explored], step: int, colours: Sequence[str]) -> ChartData:
    """Return a chart of each run's loss at every inner step, with a point at `step`."""
    lines, points = [], []
    largest = MAX_GROWTH * max((result.view.loss[0] for result in results if result.view.loss), default=0.0)
    for result in results:
        colour = colours[result.number]
        drawn = tuple((float(at), loss if loss <= largest else math.nan) for at, loss in enumerate(result.view.loss))
        lines.append(Series(result.label, colour, drawn))
        points.append(Series("", colour, lines[-1].points[step : step + 1], style="points"))
    return ChartData(
        (*lines, *points),
        title="Loss on this task's query points",
        shorter_titles=("Query loss",),
        x_label="inner step",
        shorter_x_label="step",
        y_label=loss_name(results[0].view) if results else "loss",
        log_y=True,
        x_limits=(0, STEPS),
        legend=len(results) > 1,
        last_values=False,
    )
