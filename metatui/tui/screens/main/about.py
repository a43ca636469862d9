"""Pane that explains the selected algorithm and how to start a run. It is shown while there is no run."""

from __future__ import annotations

from functools import partial

from textual.app import ComposeResult
from textual.containers import Vertical

from metatui.config.settings import Settings
from metatui.tui.keyboard.actions import with_keys
from metatui.tui.screens.main.run_pane import NO_RUN
from metatui.tui.widgets.scroll_view import ScrollView
from metatui.tui.widgets.static_text import StaticText


class AboutPane(Vertical):
    """Explains the algorithm that is selected in the form. The text is updated when the form changes."""

    BORDER_TITLE = "Next run"

    def __init__(self, settings: Settings) -> None:
        super().__init__(id="about", classes="pane")
        self._settings: Settings = settings
        self._is_ready = False
        """False until the first frame is drawn. This frame omits the explanation, so that the app starts faster."""

    def compose(self) -> ComposeResult:
        yield StaticText(with_keys(NO_RUN), id="how-to-start")
        yield ScrollView(id="explanation")

    def finish_start(self) -> None:
        """Add the explanation, which the first frame leaves out."""
        self._is_ready = True
        self.describe(self._settings)

    def describe(self, settings: Settings) -> None:
        """Explain the algorithm of `settings`."""
        self._settings = settings
        if self._is_ready:
            from metatui.learning.explanations import explanation
            from metatui.tui.screens.explain import page

            self.query_one(ScrollView).show(partial(page, explanation(settings, settings.algorithm.name)))
