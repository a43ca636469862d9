"""The steps of the tour. Each one ends when the user has done what it describes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from metatui.events import Event, Finished, Started, Tweaked
from metatui.tui.keyboard.actions import AppContext, with_keys
from metatui.tui.screens.dialogs.save_preset import PresetName
from metatui.tui.screens.main.layout import Pane


@dataclass(frozen=True)
class State:
    """State of the app that the texts of the steps depend on."""

    context: AppContext
    runs: int
    """Number of runs in the runs tab."""


LAST_STEP = "last_step"
"""Input of the tour: the adaptation pane shows the last inner step again, after an earlier one."""

TourInput = str | Event | PresetName | AppContext
"""Input of the tour: the id of a performed action, `LAST_STEP`, an event of the run, a saved preset, or the app's new
state."""


@dataclass(frozen=True)
class Step:
    title: str
    text: str
    """Text of the step. The id of an action in braces stands for the keys of this action."""
    is_done: Callable[[TourInput, State], bool]
    note: Callable[[State], str] = lambda _: ""
    """Function that returns a text to add in the current state, or an empty string."""
    pane: Pane | None = None
    """Pane of the work tab that is shown when the step begins, or None to change nothing."""

    def render_text(self, state: State) -> str:
        return with_keys(f"{self.text} {self.note(state)}".strip())


def _no_run(state: State) -> str:
    return "" if state.context.phase.active else "No run is training now: {start} starts one."


def _second_run(state: State) -> str:
    back = "{tab_runs} returns to the list."
    if state.runs > 1:
        return "" if state.context.tab == "runs" else back
    return (
        "The list has one run. To train another algorithm, press {command_palette}, type 'algorithm fomaml' and press "
        f"enter, then press {{start}}. {back}"
    )


PRESET = "quick"
"""Preset of the tour."""

ITERATIONS = 200_000
"""Number of meta-steps of the run in the tour, so large that the run does not end before the user stops it."""

STEPS: tuple[Step, ...] = (
    Step(
        "train",
        "{start} starts training: MAML learns initial parameters from which one gradient step on 10 points fits a new "
        f"sine wave. The form is set to {ITERATIONS:,} iterations, so that the run does not end during the tour. "
        "Press {start}.",
        lambda tour_input, _: isinstance(tour_input, Started),
    ),
    Step(
        "watch adaptation",
        "The adaptation pane shows tasks that are not used for training, each with the true wave, the 10 support "
        "points, and the prediction before and after the inner steps. {next_pane} goes to the next pane. The keys "
        "{step_back} and {step_on} show the previous and the next inner step. Press {step_back}, then {step_on} until "
        "the last step is shown again.",
        lambda tour_input, _: tour_input == LAST_STEP,
        pane="adaptation",
    ),
    Step(
        "change a setting",
        "{live} shows the settings that can change during a run. Change the inner learning rate, for example to 0.005, "
        "and press enter. A line in the curves marks the change, and {undo} undoes it.",
        lambda tour_input, _: isinstance(tour_input, Tweaked),
        _no_run,
    ),
    Step(
        "stop",
        "{stop} stops the run after its current meta-step and saves it, so that you can resume it later. Press {stop}.",
        lambda tour_input, _: isinstance(tour_input, Finished),
        _no_run,
    ),
    Step(
        "save a preset",
        "{save_preset} saves the settings in the form as a preset, so that you can use them again by name. The form "
        "now contains the settings at the end of the run, including the value that you changed. Only the number of "
        "iterations is reset. Press {save_preset}, then enter.",
        lambda tour_input, _: isinstance(tour_input, PresetName),
    ),
    Step(
        "list the runs",
        "{tab_runs} lists all runs with their results. Function keys work everywhere; letters and digits work outside "
        "text fields. If you are in a text field, press {leave} to leave it. Press {tab_runs}.",
        lambda _, state: state.context.tab == "runs",
    ),
    Step(
        "compare",
        "{mark_run} marks the selected run. Mark two runs, and {compare_runs} compares them on the same held-out "
        "tasks, with intervals and a paired test.",
        lambda tour_input, state: tour_input == "compare_runs" and state.context.marked > 1,
        _second_run,
    ),
    Step(
        "find everything else",
        "{help} explains what is focused, and lets you search all keys and terms. {command_palette} finds every "
        "action, setting, preset and run. Press {help} or {command_palette}.",
        lambda tour_input, _: tour_input in ("help", "command_palette"),
    ),
)
