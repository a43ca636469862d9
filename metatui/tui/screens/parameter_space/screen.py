"""Parameter space on a screen of its own; computed in a child process."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Final

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal
from textual.css.query import NoMatches
from textual.message import Message
from textual.screen import ModalScreen

from metatui.runs.analysis.parameter_space import ParameterSpace, ProjectionProgress, walking
from metatui.runs.storage.run_folder import RunFolder
from metatui.tui.helper import Helper, Reply, StepInfo, WorkerError, Yielded
from metatui.tui.screens.parameter_space.pictures import pictures, sentences
from metatui.tui.widgets.charts.chart_theme import ChartTheme
from metatui.tui.widgets.charts.picture_chart import PictureChart
from metatui.tui.widgets.charts.row_widget import Row
from metatui.tui.widgets.key_line import Key, KeyLine
from metatui.tui.widgets.scroll_view import ScrollView, paragraph
from metatui.tui.widgets.static_text import StaticText

KEYS: Final = (Key("n", "Other picture", "other"), Key("Esc", "Close", "dismiss"))
BESIDE: Final = 100
"""Columns from which on both pictures are seen; below, one at a time."""


class ParameterScreen(ModalScreen[None]):
    """Shows where tasks move `run`'s initialisation, and where they would move an ordinary one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape,q", "dismiss", "Close"),
        ("n,b,left,right,space", "other", "Other picture"),
    ]
    DEFAULT_CSS = """
    ParameterScreen { layout: vertical; background: $background; }
    ParameterScreen #parameters-title { padding: 0 1; text-style: bold; }
    ParameterScreen Horizontal { height: 1fr; }
    ParameterScreen PictureChart { width: 1fr; padding: 0 1; }
    ParameterScreen Sheet { height: 8; padding: 0 1; border-top: solid $foreground 30%; }
    ParameterScreen Sheet:ansi { border-top: solid ansi_bright_black; }
    """

    @dataclass
    class Replied(Message):
        """The helper said something."""

        reply: Reply

    def __init__(self, run: RunFolder) -> None:
        super().__init__()
        self._run = run
        self._helper = Helper()
        self._request = 0
        self._second = False
        """Whether the ordinary initialisation's picture is the one that is seen where only one is."""
        self.space: ParameterSpace | None = None

    def compose(self) -> ComposeResult:
        yield StaticText(f"Parameter space of {self._run.id}", id="parameters-title")
        with Horizontal():
            yield PictureChart(id="parameters-learned")
            yield PictureChart(id="parameters-ordinary")
        yield ScrollView()
        yield KeyLine(KEYS)

    def on_mount(self) -> None:
        for chart in self.query(PictureChart):
            chart.can_focus = False
        self._lay_out()
        self.query_one(ScrollView).focus()
        self.run_worker(self._listen, thread=True, exit_on_error=False, group="parameters", description="parameters")
        self._request = self._helper.ask(partial(walking, self._run))
        self._say("Reading the run; torch is loaded, which takes a few seconds.")

    def on_unmount(self) -> None:
        self._helper.stop()

    def on_resize(self) -> None:
        self._lay_out()

    def action_other(self) -> None:
        self._second = not self._second
        self._lay_out()

    def _listen(self) -> None:
        """In a thread."""
        for reply in self._helper.replies():
            self.post_message(self.Replied(reply))

    @on(Replied)
    def _replied(self, event: Replied) -> None:
        match event.reply:
            case Yielded(value=ProjectionProgress(done, of)):
                self._say(f"Adapting from both initialisations: {done} of {of} adaptations.")
            case StepInfo(value=ParameterSpace() as space):
                self._request, self.space = 0, space
                for name, picture in zip(("learned", "ordinary"), pictures(space), strict=True):
                    self.query_one(f"#parameters-{name}", PictureChart).show(picture)
                self._say(*sentences(space))
            case WorkerError(sentence=sentence):
                self._request = 0
                self._say(f"Not computed: {sentence}.")

    def _say(self, *said: str) -> None:
        def page(width: int, look: ChartTheme) -> list[Row]:
            return [row for sentence in said for row in paragraph(sentence, width, look, look.text)]

        self.query_one(ScrollView).show(page)

    def _lay_out(self) -> None:
        both = self.app.size.width >= BESIDE
        try:
            self.query_one("#parameters-learned").display = both or not self._second
            self.query_one("#parameters-ordinary").display = both or self._second
            self.query_one(KeyLine).keys = KEYS[both:]
        except NoMatches:  # resized before there is anything
            return
