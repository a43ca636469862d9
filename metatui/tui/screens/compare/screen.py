"""The marked runs on identical held-out tasks, on a screen of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

from textual import on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.css.query import NoMatches
from textual.events import DescendantFocus
from textual.message import Message
from textual.reactive import reactive
from textual.screen import ModalScreen

from metatui.runs.analysis.comparison import Comparing, Comparison, comparing
from metatui.runs.analysis.comparison.formatting import protocol_words
from metatui.runs.analysis.exports import export
from metatui.runs.storage.run_folder import RunFolder
from metatui.tui.helper import Helper, Reply, StepInfo, WorkerError, Yielded
from metatui.tui.screens.compare import curves, pages
from metatui.tui.screens.compare.curves import View
from metatui.tui.screens.compare.export import ExportScreen
from metatui.tui.screens.compare.sections import READ, SECTIONS, Section, SectionStrip
from metatui.tui.screens.compare.target import target_of
from metatui.tui.screens.dialogs.prompt import AskScreen
from metatui.tui.widgets.charts.picture_chart import PictureChart
from metatui.tui.widgets.key_line import Key, KeyLine
from metatui.tui.widgets.scroll_view import ScrollView
from metatui.tui.widgets.static_text import StaticText

HALF: Final = (100, 34)
"""Columns and rows from which on both charts are seen, and one of the pages below them."""
WHOLE: Final = (160, 48)
"""And from which on all four sections are."""

SHOTS: Final = (1, 2, 3, 5, 10, 15, 20, 30, 50)
"""Support examples that the keys go through."""

KEYS: Final = (
    Key("1-4", "Section", "next_section(1)"),
    Key("t", "Against", "against"),
    Key("y", "Log", "log"),
    Key("- +", "Shots", "shots(1)"),
    Key("g", "Target", "target"),
    Key("e", "Export", "export"),
    Key("o", "Smooth", "smoothing"),
    Key("Esc", "Close", "leave"),
)
METRIC: Final = Key("m", "Metric", "metric")


class CompareScreen(ModalScreen[None]):
    """Measures `runs` in a child process and shows what came out; escape ends the measuring, then closes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "leave", "Close"),
        ("q", "dismiss", "Close"),
        *((str(number), f"section('{section}')", section) for number, section in enumerate(SECTIONS, 1)),
        ("n,right,ctrl+o", "next_section(1)", "Next section"),
        ("b,left", "next_section(-1)", "Section before"),
        ("t", "against", "Against"),
        ("y", "log", "Log"),
        ("o", "smoothing", "Smooth"),
        ("m", "metric", "Metric"),
        ("plus,equals_sign", "shots(1)", "More shots"),
        ("minus", "shots(-1)", "Fewer shots"),
        ("g", "target", "Target"),
        ("e", "export", "Export"),
    ]
    DEFAULT_CSS = """
    CompareScreen { layout: vertical; background: $background; }
    CompareScreen #compare-protocol { padding: 0 1; text-style: bold; }
    CompareScreen #compare-state { padding: 0 1; color: $text-muted; }
    CompareScreen .compare-row { height: 1fr; }
    CompareScreen .compare-section {
        width: 1fr; height: 1fr; padding: 0 1;
        border: round $foreground 30%; border-title-color: $foreground; border-title-style: bold;
        &:ansi { border: round ansi_bright_black; }
        &:focus { border: round $border; }
    }
    CompareScreen.-one .compare-section { border: none; &:focus { border: none; } }
    """

    section: reactive[Section] = reactive[Section]("result", init=False)

    @dataclass
    class Replied(Message):
        """The helper said something."""

        reply: Reply

    def __init__(
        self,
        runs: Sequence[RunFolder],
        *,
        tasks: int | None = None,
        steps: int | None = None,
        shots: int | None = None,
        target: float | None = None,
    ) -> None:
        """What is not given is as in the first run's settings, and no target."""
        super().__init__()
        self._runs = tuple(runs)
        self._helper: Helper | None = None
        self._request = 0
        """The one whose answer is waited for; 0 where none is."""
        self._tasks, self._steps = tasks, steps
        self._shots = shots
        self._target = target
        """The accuracy (a fraction) or loss whose first reaching is told; None for none."""
        self.comparison: Comparison | None = None
        self.view = View()

    def compose(self) -> ComposeResult:
        yield StaticText(f"Comparing {len(self._runs)} runs", id="compare-protocol")
        yield SectionStrip()
        with Vertical():
            with Horizontal(classes="compare-row"):
                yield PictureChart(id="compare-training", classes="compare-section")
                yield PictureChart(id="compare-adaptation", classes="compare-section")
            with Horizontal(classes="compare-row"):
                yield ScrollView(id="compare-result", classes="compare-section")
                yield ScrollView(id="compare-tables", classes="compare-section")
        yield StaticText("", id="compare-state")
        yield KeyLine(KEYS)

    def on_mount(self) -> None:
        for number, section in enumerate(SECTIONS, 1):
            self._widget(section).border_title = f"{number} {section.capitalize()}"
        self._lay_out()
        self._ask()

    def on_unmount(self) -> None:
        self._stop()

    def on_resize(self) -> None:
        self._lay_out()

    def watch_section(self) -> None:
        self._lay_out()

    @on(DescendantFocus)
    def _follow(self, event: DescendantFocus) -> None:
        for section in SECTIONS:
            if event.widget.id == f"compare-{section}":
                self.section = section

    def action_section(self, section: Section) -> None:
        self.section = section

    def action_next_section(self, by: int) -> None:
        self.section = SECTIONS[(SECTIONS.index(self.section) + by) % len(SECTIONS)]

    def action_against(self) -> None:
        self._look_otherwise(self.view.next_axis())

    def action_smoothing(self) -> None:
        self._look_otherwise(self.view.next_smoothing())

    def action_log(self) -> None:
        self._look_otherwise(replace(self.view, log=not self.view.log))

    def action_metric(self) -> None:
        if self.comparison is None or self.comparison.metric == "loss":
            self.notify("Regression has one metric, the loss.", severity="warning")
        else:
            self._look_otherwise(self.view.other_metric(self.comparison))

    def action_shots(self, by: int) -> None:
        """Measure anew with more or fewer support examples."""
        if self.comparison is None:
            return
        now = self._shots or self.comparison.protocol.shots
        among = sorted({now, self.comparison.protocol.shots, *SHOTS})
        at = among.index(now) + by
        if 0 <= at < len(among):
            self._shots = among[at]
            self._ask()

    @work
    async def action_target(self) -> None:
        """Ask for the accuracy or loss whose first reaching is told."""
        comparison = self.comparison
        if comparison is None:
            return
        unit = "accuracy, such as 0.95 or 95%" if comparison.metric == "accuracy" else "loss, such as 0.5"
        question = f"When did each run's validations first have this {unit}? Empty asks for none."
        before = "" if self._target is None else f"{self._target:g}"
        dialog = AskScreen("Target", question, value=before, check=target_of)
        if (answer := await self.app.push_screen_wait(dialog)) is not None:
            self._target = target_of(answer)
            self.section = "tables"
            self._ask()

    def action_export(self) -> None:
        comparison = self.comparison
        if comparison is None:
            self.notify("Nothing is measured yet.", severity="warning")
            return
        self._export(comparison)

    @work
    async def _export(self, comparison: Comparison) -> None:
        dialog = ExportScreen(Path.cwd() / "comparison.md", lambda path: export(comparison, path))
        if written := await self.app.push_screen_wait(dialog):
            self.notify(f"Written to {written}.", markup=False)

    def action_leave(self) -> None:
        """End what is being measured, if something else is there to be seen; else close."""
        if self._request and self.comparison is not None:
            self._stop()
            self._forget()
            self._say("Cancelled. What is shown was measured before.")
        else:
            self.dismiss()

    def _ask(self) -> None:
        first = self._helper is None
        if self._helper is None:
            self._helper = Helper()
            listen = partial(self._listen, self._helper)
            self.run_worker(listen, thread=True, exit_on_error=False, group="compare", description="compare")
        self._request = self._helper.ask(
            partial(comparing, self._runs, tasks=self._tasks, steps=self._steps, shots=self._shots, target=self._target)
        )
        self._say("Loading torch, which takes some seconds, and reading the runs…" if first else "Reading the runs…")

    def _stop(self) -> None:
        if self._helper is not None:
            self._helper.stop()
            self._helper = None

    def _forget(self) -> None:
        """Nothing is waited for any more; what is asked next goes out from what is seen."""
        self._request = 0
        self._shots = self.comparison.protocol.shots if self.comparison else None
        self._target = self.comparison.target if self.comparison else None

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
            case Yielded(value=Comparing() as now):
                self._say(
                    f"Adapting {now.run} ({now.number} of {now.runs}) to the held-out tasks: "
                    f"{now.done:,} of {now.tasks:,}"
                )
            case StepInfo(value=Comparison() as found):
                self._request, self.comparison = 0, found
                self._say("")
                self._show()
            case WorkerError(sentence=sentence):
                self._stop()  # who knows what is left of it: the next request gets another
                self._forget()
                self._say(f"Not measured: {sentence}.")

    def _look_otherwise(self, view: View) -> None:
        self.view = view
        self._show()

    def _show(self) -> None:
        found = self.comparison
        if found is None:
            return
        self.query_one("#compare-protocol", StaticText).say(protocol_words(found))
        self.query_one("#compare-training", PictureChart).show(curves.training(found, self.view))
        self.query_one("#compare-adaptation", PictureChart).show(curves.adaptation(found, self.view))
        self.query_one("#compare-result", ScrollView).show(partial(pages.result, found))
        self.query_one("#compare-tables", ScrollView).show(partial(pages.all_tables, found))

    def _say(self, text: str) -> None:
        line = self.query_one("#compare-state", StaticText)
        line.say(text)
        line.display = bool(text)
        cancels = self._request and self.comparison is not None
        metric = [METRIC] if self.comparison and self.comparison.metric == "accuracy" else []
        last = Key("Esc", "Cancel", "leave") if cancels else KEYS[-1]
        self.query_one(KeyLine).keys = (*KEYS[:-1], *metric, last)

    def _widget(self, section: Section) -> PictureChart | ScrollView:
        widget = self.query_one(f"#compare-{section}")
        assert isinstance(widget, PictureChart | ScrollView)
        return widget

    def _lay_out(self) -> None:
        """See as many sections as there is room for, the chosen one among them."""
        try:
            widgets = {section: self._widget(section) for section in SECTIONS}
        except NoMatches:  # resized before there is anything
            return
        width, height = self.app.size
        if width >= WHOLE[0] and height >= WHOLE[1]:
            seen: tuple[Section, ...] = SECTIONS
        elif width >= HALF[0] and height >= HALF[1]:
            seen = ("training", "adaptation", self.section if self.section in READ else "result")
        else:
            seen = (self.section,)
        for section, widget in widgets.items():
            widget.display = section in seen
        for row in self.query(".compare-row"):
            row.display = any(child.display for child in row.children)
        self.set_class(len(seen) == 1, "-one")
        strip = self.query_one(SectionStrip)
        strip.display, strip.section = len(seen) < len(SECTIONS), self.section
        widgets[self.section].focus()
