"""One task and up to three runs, step by step, on a screen of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Final

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.css.query import NoMatches
from textual.message import Message
from textual.screen import ModalScreen

from metatui.events import ImageView, RegressionView
from metatui.learning.evaluation.custom_tasks import ChosenClasses
from metatui.runs.analysis.explore import Explored, exploring
from metatui.runs.storage.run_folder import RunFolder
from metatui.tui import palette
from metatui.tui.helper import Helper, Reply, StepInfo, WorkerError, Yielded
from metatui.tui.screens.dialogs.prompt import AskScreen
from metatui.tui.screens.explorer.header import Head
from metatui.tui.screens.explorer.query import STEPS, ExplorerQuery, wave_of
from metatui.tui.widgets.adaptation.panel import MOST_RUNS, AdaptationPanel
from metatui.tui.widgets.adaptation.views import RunViews
from metatui.tui.widgets.charts.chart_renderer import Picture
from metatui.tui.widgets.charts.picture_chart import PictureChart
from metatui.tui.widgets.charts.series import Series
from metatui.tui.widgets.key_line import Key, KeyLine
from metatui.tui.widgets.static_text import StaticText
from metatui.utils.errors import BadInput, quote

FIRST_STEP: Final = 10
"""The inner step that is seen at first."""

ROOMY: Final = 32
"""Rows from which on the curve over all steps is seen as well."""

EMPTY: Final = "Adapting. The first time takes a few seconds, as torch is loaded."

KEYS: Final = (
    Key("[ ]", "Step", "step(1)"),
    Key(", .", "Task", "task(1)"),
    Key("g", "Number", "number"),
    Key("- +", "Rate", "rate(1)"),
    Key("0", "Own rate", "rate(0)"),
    Key("d", "Draw", "draw"),
    Key("Esc", "Close", "dismiss"),
)
BENDING: Final = Key("Arrows", "Bend", "bend(1, 0)")


class ExplorerPanel(AdaptationPanel, can_focus=False):
    """The drawings. Keys are the screen's, so clicks are as well."""

    def action_step(self, by: int) -> None:
        assert isinstance(self.screen, ExplorerScreen)
        self.screen.action_step(by)


class ExplorerScreen(ModalScreen[None]):
    """Asks a helper for every change of task or rate; what has been adapted is stepped through at once."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,q", "dismiss", "Close"),
        ("left_square_bracket", "step(-1)", "Step back"),
        ("right_square_bracket,space", "step(1)", "Step on"),
        ("home", "step(-50)", "First step"),
        ("end", "step(50)", "Last step"),
        ("comma", "task(-1)", "Task before"),
        ("full_stop", "task(1)", "Next task"),
        ("g", "number", "Number"),
        ("plus,equals_sign", "rate(1)", "Faster"),
        ("minus", "rate(-1)", "Slower"),
        ("0", "rate(0)", "Own rate"),
        ("d", "draw", "Draw"),
        ("up", "bend(1, 0)", "Higher"),
        ("down", "bend(-1, 0)", "Lower"),
        ("left", "bend(0, -1)", "To the left"),
        ("right", "bend(0, 1)", "To the right"),
    ]
    DEFAULT_CSS = """
    ExplorerScreen { layout: vertical; background: $background; }
    ExplorerScreen ExplorerPanel { height: 2fr; padding: 0 1; }
    ExplorerScreen #explorer-curve { height: 1fr; padding: 1 1 0 1; }
    ExplorerScreen #explorer-problem { padding: 0 1; color: $text-error; }
    """

    @dataclass
    class Replied(Message):
        """The helper said something."""

        reply: Reply

    def __init__(self, runs: Sequence[RunFolder]) -> None:
        super().__init__()
        self._runs = tuple(runs)[:MOST_RUNS]
        self._helper: Helper | None = None
        self._request = 0
        self.asking = ExplorerQuery()
        self._answered = ExplorerQuery()
        """What is seen."""
        self._coming: dict[int, Explored] = {}
        self.seen: tuple[Explored, ...] = ()
        self.step = FIRST_STEP

    def compose(self) -> ComposeResult:
        yield Head()
        yield ExplorerPanel(id="explorer-panel")
        yield PictureChart(id="explorer-curve")
        yield StaticText("", id="explorer-problem")
        yield KeyLine(KEYS)

    def on_mount(self) -> None:
        self.query_one("#explorer-curve", PictureChart).can_focus = False
        self._lay_out()
        self._say("")
        self._ask(self.asking)
        self._show()

    def on_unmount(self) -> None:
        if self._helper is not None:
            self._helper.stop()

    def on_resize(self) -> None:
        self._lay_out()

    def action_step(self, by: int) -> None:
        self.step = max(0, min(STEPS, self.step + by))
        self._show()

    def action_task(self, by: int) -> None:
        self._ask(self.asking.other_task(by))

    def action_rate(self, by: int) -> None:
        self._ask(self.asking.other_rate(by))

    def action_bend(self, amplitude: int, phase: int) -> None:
        """Change the drawn wave; where none is drawn, left and right are steps."""
        bent = self.asking.bent(amplitude, phase)
        if bent is not self.asking:
            self._ask(bent)
        else:
            self.action_step(phase)

    @work
    async def action_number(self) -> None:
        """Ask which held-out task to look at."""
        dialog = AskScreen("Task", "The number of a held-out task, from 0.", value=str(self.asking.task), check=number)
        if (answer := await self.app.push_screen_wait(dialog)) is not None:
            self._ask(replace(self.asking, task=number(answer)))

    async def action_draw(self) -> None:
        """Draw a task in place of the held-out one, or take that again."""
        view = self.seen[0].view if self.seen else None
        if self.asking.drawn is not None:
            self._ask(replace(self.asking, drawn=None))
        elif isinstance(view, RegressionView):
            self._ask(replace(self.asking, drawn=wave_of(view)))
        elif isinstance(view, ImageView):
            self._choose_classes()

    @work
    async def _choose_classes(self) -> None:
        ways = self.seen[0].ways
        question = (
            f"{ways} held-out classes, with commas between: numbers from 0, or names, or how names begin. An alphabet "
            "stands for as many of its characters as are wanted; several share them."
        )
        dialog = AskScreen("ChosenClasses", question, check=lambda _: None)
        if answer := await self.app.push_screen_wait(dialog):
            self._ask(replace(self.asking, drawn=ChosenClasses(answer)))

    def _ask(self, asking: ExplorerQuery) -> None:
        if asking == self.asking and self._request:
            return
        self.asking = asking
        if self._helper is None:
            self._helper = Helper()
            listen = partial(self._listen, self._helper)
            self.run_worker(listen, thread=True, exit_on_error=False, group="explorer", description="explorer")
        self._coming = {}
        self._request = self._helper.ask(
            partial(exploring, self._runs, task=asking.task, drawn=asking.drawn, steps=STEPS, rate=asking.rate)
        )
        self._show_head()

    def _listen(self, helper: Helper) -> None:
        """In a thread."""
        for reply in helper.replies():
            self.post_message(self.Replied(reply))

    @on(Replied)
    def _replied(self, event: Replied) -> None:
        reply = event.reply
        if reply.request != self._request:
            return
        match reply:
            case Yielded(value=Explored() as found):
                self._coming[found.number] = found
                if found.number == len(self._runs) - 1:  # all runs at once, so that they are on the same task
                    self.seen, self._answered = tuple(self._coming.values()), self.asking
                    self._say("")
                    self._show()
            case StepInfo():
                self._request = 0
                self._show_head()
            case WorkerError(sentence=sentence, dead=dead):
                self._request, self.asking = 0, self._answered
                self._helper = None if dead else self._helper
                self._say(f"{sentence}.")
                self._show()

    def _show(self) -> None:
        self._show_head()
        shown_runs = [
            RunViews(str(each.number), each.label, palette.RUN_HUES[each.number], (each.view,)) for each in self.seen
        ]
        panel = self.query_one(ExplorerPanel)
        panel.step = self.step
        panel.show_views(shown_runs, empty=EMPTY)
        self.query_one("#explorer-curve", PictureChart).show(curve(self.seen, self.step))
        self._lay_out()

    def _show_head(self) -> None:
        self.query_one(Head).show(self.asking, self.seen, "adapting…" if self._request else "")
        drawing = self.asking.drawn is not None and not isinstance(self.asking.drawn, ChosenClasses)
        self.query_one(KeyLine).keys = (BENDING, *KEYS) if drawing else KEYS

    def _say(self, problem: str) -> None:
        line = self.query_one("#explorer-problem", StaticText)
        line.say(problem)
        line.display = bool(problem)

    def _lay_out(self) -> None:
        # Of images the drawings have a curve beside or below them.
        images = any(isinstance(each.view, ImageView) for each in self.seen)
        try:
            self.query_one("#explorer-curve", PictureChart).display = self.app.size.height >= ROOMY and not images
        except NoMatches:  # resized before there is anything
            return


def number(text: str) -> int:
    """A task's number as it is typed. Raises BadInput."""
    if text.isascii() and text.isdigit() and int(text) < 2**31:
        return int(text)
    raise BadInput(f"task is {quote(text)}, but must be a whole number from 0 to {2**31 - 1:,}")


def curve(seen: Sequence[Explored], step: int) -> Picture:
    """The loss at every inner step for each run on a regression task, the step that is seen marked."""
    lines, marks = [], []
    for each in seen:
        colour = palette.RUN_HUES[each.number]
        lines.append(Series(each.label, colour, tuple((float(at), loss) for at, loss in enumerate(each.view.loss))))
        marks.append(Series("", colour, lines[-1].points[step : step + 1], style="points"))
    return Picture(
        (*lines, *marks), title="Loss on this task's query points", x_label="inner step", y_label="loss", log_y=True,
        x_limits=(0, STEPS), legend=len(seen) > 1, last_values=False,
    )  # fmt: skip
