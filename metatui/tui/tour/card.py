"""Widgets of the tour: one offers the tour above the key bar, and one shows the current step below the top bar."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from metatui.config import presets
from metatui.events import Finished, Progress, Started
from metatui.tui.keyboard.actions import AppContext, with_keys
from metatui.tui.tour.steps import ITERATIONS, LAST_STEP, PRESET, STEPS, State, TourInput
from metatui.tui.widgets.static_text import StaticText

if TYPE_CHECKING:
    from metatui.tui.app import MetatuiApp

OFFER = "{tour} starts a tour of the app."
FIRST_RUN = "{start} trains MAML on sine waves in under a minute."
"""Text shown before the offer if the form contains the preset of the tour."""


class TourWidget(StaticText):
    """Base class of the tour's widgets. The app calls `update_state` for each `TourInput`."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text, id="tour")

    @property
    def metatui(self) -> MetatuiApp:
        return cast("MetatuiApp", self.app)

    def on_mount(self) -> None:
        self.metatui.happened.subscribe(self, self.update_state)

    def update_state(self, tour_input: TourInput) -> None:
        raise NotImplementedError

    def leave(self) -> None:
        """Remove the widget because the user has left the tour."""
        self.remove()


class TourOffer(TourWidget):
    """Widget that offers the tour when the app is started for the first time. It disappears when a run is shown."""

    def on_mount(self) -> None:  # in addition to that of the base class, which Textual also calls
        self._show()

    def update_state(self, tour_input: TourInput) -> None:
        if isinstance(tour_input, Started) or self.metatui.run_controller.shown is not None:
            self.remove()
        elif isinstance(tour_input, AppContext):
            self._show()

    def _show(self) -> None:
        settings = self.metatui.form.assessment.settings
        is_first = settings is not None and self.metatui.presets.origin_of(settings) == PRESET
        self.update(with_keys(f"{FIRST_RUN} {OFFER}" if is_first else OFFER))

    def on_unmount(self) -> None:
        self.metatui.remember(tour_offered=True)


class TourCard(TourWidget):
    """Widget that shows the current step of the tour."""

    def __init__(self) -> None:
        super().__init__()
        self.step = 0
        self._changes_iterations = False
        """True if the preset's number of meta-steps must be entered in the form when the run has ended."""
        self.border_subtitle = with_keys("{leave} leaves the tour")

    def on_mount(self) -> None:  # in addition to that of the base class, which Textual also calls
        self.watch(self.metatui.work_tab.adaptation, "step", self._show_step, init=False)
        self._show_pane()
        self._show()

    def _show_step(self, step: int | None) -> None:
        if step is None:
            self.update_state(LAST_STEP)

    def update_state(self, tour_input: TourInput) -> None:
        if isinstance(tour_input, Progress):  # hundreds each second
            return
        if self.step == len(STEPS):  # the card is being removed
            return
        if STEPS[self.step].is_done(tour_input, self._state):
            self.step += 1
            self._changes_iterations = isinstance(tour_input, Finished)
            self._show_pane()
        if self._changes_iterations and isinstance(tour_input, AppContext) and not tour_input.phase.active:
            self._changes_iterations = False
            self._show_usual_iterations()
        if self.step < len(STEPS):
            self._show()
        else:
            self.remove()
            text = "The tour is complete. To repeat it, press {tour} in the work tab or run 'metatui tour' in a shell."
            restored = self.metatui.presets.restore_form()
            self.metatui.notify(f"{with_keys(text)} {restored}".strip(), timeout=15)

    def leave(self) -> None:
        self.remove()
        if restored := self.metatui.presets.restore_form():
            self.metatui.notify(restored)

    def _show_usual_iterations(self) -> None:
        """Put the preset's number of meta-steps into the form, because the next step saves the form."""
        if self.metatui.form.text("training.iterations") == str(ITERATIONS):
            self.metatui.form.enter("training.iterations", str(presets.load(PRESET).settings.training.iterations))

    @property
    def _state(self) -> State:
        return State(self.metatui.context, self.metatui.runs_tab.count)

    def _show_pane(self) -> None:
        """Show the pane that the step needs. It may be hidden, because some terminals have room for only one pane."""
        if self.step < len(STEPS) and (pane := STEPS[self.step].pane):
            self.metatui.open_tab("work", pane)

    def _show(self) -> None:
        step = STEPS[self.step]
        self.border_title = f"Tour, step {self.step + 1} of {len(STEPS)}: {step.title}"
        self.update(step.render_text(self._state))


async def start(app: MetatuiApp) -> None:
    """Start the tour.

    During a run, the tour begins at its second step. Otherwise, it begins at its first step, and the form contains the
    settings of the tour until the tour ends.
    """
    screen = app.screen_stack[0]
    await screen.query("#tour").remove()
    card = TourCard()
    if app.run_controller.client.phase.active:
        card.step = 1
    else:
        app.presets.load_temporarily(presets.load(PRESET), ITERATIONS)
        app.clear_notifications()
    # At the top, because notifications would cover it at the bottom.
    await screen.mount(card, after="#top-bar")


async def offer(app: MetatuiApp) -> None:
    """Offer the tour above the key bar."""
    if not app.screen_stack[0].query("#tour"):
        await app.screen_stack[0].mount(TourOffer(), before="#key-bar")
