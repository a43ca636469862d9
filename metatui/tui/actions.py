"""Every action of the app, once: the bindings, the key bar, the help screen and the palette derive from this table.

Keys are those that arrive through tmux and SSH: letters, digits, function keys and a few control letters. A letter
is typed where a text field has the focus, so whatever may be wanted then has a function or control key as well.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from textual.binding import Binding, BindingType

Tab = Literal["work", "runs", "presets"]
TABS: tuple[Tab, ...] = ("work", "runs", "presets")


class Phase(Enum):
    """What the run that is followed is doing; the value is how it is said."""

    IDLE = "Idle"
    STARTING = "Loading torch…"
    PACKING = "Packing images…"
    RUNNING = "Running"
    PAUSING = "Pausing…"
    PAUSED = "Paused"
    STOPPING = "Stopping…"

    @property
    def active(self) -> bool:
        return self is not Phase.IDLE


@dataclass(frozen=True)
class AppContext:
    """All that decides which actions make sense."""

    phase: Phase = Phase.IDLE
    tab: Tab = "work"
    row: bool = False
    """Whether the table of the tab has a row under its cursor."""
    live_row: bool = False
    """Whether that row is a run that goes on in some process."""
    own_preset: bool = False
    """Whether that row is a preset of the user's own."""
    undoable: bool = False
    """Whether the followed run has a live change that can be undone."""
    classification: bool = False
    """Whether the run that is shown classifies images."""
    marked: int = 0
    """Runs that are marked in the runs tab."""
    studied: int = 0
    """Runs that can be looked at closely: marked, under the cursor, or shown."""


Refusal = Callable[[AppContext], str]
"""Why an action cannot be done now, as a sentence; empty where it can."""


@dataclass(frozen=True)
class Action:
    id: str
    """The method `action_<id>` of the app does it."""
    keys: str
    label: str
    """One or two words, for the key bar."""
    help: str
    group: str
    refuse: Refusal = lambda _: ""
    bar: bool = True
    """Whether it is offered in the key bar when there is room."""
    tab: Tab | None = None
    """The one tab in which its keys act."""

    @property
    def key(self) -> str:
        """The key to name first."""
        return self.keys.split(",")[0]


def _running(now: AppContext) -> str:
    match now.phase:
        case Phase.IDLE:
            return "No run is followed: F5 starts what the form says, j follows a live run."
        case Phase.STOPPING:
            return "The run is stopping and will be saved."
        case _:
            return ""


def _undoable(now: AppContext) -> str:
    return _running(now) or ("" if now.undoable else "Nothing to undo: no setting was changed while this run trained.")


def _idle(now: AppContext) -> str:
    return "A run is going on: stop it (F7) or leave it to the background (d) first." if now.phase.active else ""


def _row(now: AppContext) -> str:
    return "" if now.row else "There is nothing in the list."


def _idle_row(now: AppContext) -> str:
    return _row(now) or _idle(now)


def _live_row(now: AppContext) -> str:
    return _row(now) or ("" if now.live_row else "This run is not live.")


def _marked(now: AppContext) -> str:
    return "" if now.marked > 1 else "Mark two runs or more first: space marks the one under the cursor."


def _studied(now: AppContext) -> str:
    return "" if now.studied else "There is no run here: open one, or choose one in the runs tab (2)."


def _own(now: AppContext) -> str:
    return _row(now) or ("" if now.own_preset else "This preset comes with metatui and cannot be deleted.")


def _two_metrics(now: AppContext) -> str:
    return "" if now.classification else "Regression has one metric, the loss."


TRAINING, WINDOW, CHARTS, ADAPTATION = "Training", "Window", "Curves", "Adaptation"
RUNS, PRESETS = "Runs", "Presets"

ACTIONS: tuple[Action, ...] = (
    Action("start", "f5,s", "Start", "Train what the form says.", TRAINING, _idle),
    Action("pause", "f6,p", "Pause", "Pause after this meta-step, or go on.", TRAINING, _running),
    Action("stop", "f7,x", "Stop", "Stop after this meta-step and save.", TRAINING, _running),
    Action("evaluate", "f8,e", "Evaluate", "Validate now, on held-out tasks.", TRAINING, _running),
    Action("checkpoint", "f9,c", "Save", "Write a checkpoint now.", TRAINING, _running),
    Action("live", "f4,l", "Change", "Change learning rates and the like while it runs.", TRAINING, _running),
    Action("undo", "r,ctrl+underscore", "Undo", "Undo the last change.", TRAINING, _undoable, tab="work"),
    Action("detach", "d", "Detach", "Leave the run to the background: it goes on.", TRAINING, _running, tab="work"),
    Action("attach", "j", "Attach", "Follow the newest live run.", TRAINING, bar=False, tab="work"),
    Action("save_preset", "f2,w", "Save preset", "Save the form as a preset of your own.", TRAINING),
    Action("help", "f1,question_mark", "Help", "Every key, and what the field under the cursor means.", WINDOW),
    Action("tab_work", "1", "Work", "Settings, curves and adaptation.", WINDOW, bar=False),
    Action("tab_runs", "2", "Runs", "All runs on this machine.", WINDOW, bar=False),
    Action("tab_presets", "3", "Presets", "Bundled presets and your own.", WINDOW, bar=False),
    Action("next_tab", "ctrl+n", "Tab", "The next of Work, Runs and Presets.", WINDOW),
    Action("next_pane", "ctrl+o,n", "Pane", "The next pane.", WINDOW, tab="work"),
    Action("previous_pane", "b", "Pane back", "The pane before.", WINDOW, bar=False, tab="work"),
    Action("maximize", "f3,z", "Maximise", "Give the pane all the room, or put it back.", WINDOW, tab="work"),
    Action("form", "ctrl+l,f", "Form", "Show or hide the form.", WINDOW, tab="work"),
    Action(
        "leave",
        "escape",
        "Back",
        "Put a maximised pane back, or leave a text field.",
        WINDOW,
        bar=False,
    ),
    Action("command_palette", "ctrl+p", "Palette", "Search all commands.", WINDOW),
    Action("theme", "ctrl+t", "Theme", "The next theme: dark, light, and two for 16 colours.", WINDOW),
    Action("explain", "ctrl+g,i", "Explain", "The algorithm: pseudo-code with these settings, costs.", WINDOW),
    Action("benchmark", "f12", "Benchmark", "Measure how fast every engine trains on this machine.", WINDOW, bar=False),
    Action("suspend", "ctrl+z", "Suspend", "To the shell; fg comes back. A run goes on meanwhile.", WINDOW, bar=False),
    Action("suites", "ctrl+s,u", "Suites", "Lists of runs: train them all, then compare them.", WINDOW, bar=False),
    Action("quit", "ctrl+q,f10", "Quit", "Leave; a run goes on in the background, or is saved.", WINDOW),
    Action("log_scale", "y,ctrl+y", "Log", "Linear or logarithmic loss axis.", CHARTS, tab="work"),
    Action("smoothing", "o", "Smooth", "How much the training curve is smoothed.", CHARTS, tab="work"),
    Action("against", "t", "Time", "Curves against meta-steps or against time.", CHARTS, tab="work"),
    Action("metric", "m", "Metric", "Curves of the loss or of the accuracy.", CHARTS, _two_metrics, tab="work"),
    Action("step_back", "left_square_bracket", "Step back", "One inner step less.", ADAPTATION, tab="work"),
    Action("step_on", "right_square_bracket", "Step on", "One inner step more.", ADAPTATION, tab="work"),
    Action("previous_tasks", "comma", "Tasks back", "The held-out tasks before these.", ADAPTATION, tab="work"),
    Action("next_tasks", "full_stop", "Tasks on", "The held-out tasks after these.", ADAPTATION, tab="work"),
    Action("explore", "ctrl+r,a", "Explore", "Any held-out task, or one you draw, step by step.", ADAPTATION, _studied),
    Action("parameters", "f11,v", "Space", "Where tasks move a run's parameters: a picture.", ADAPTATION, _studied),
    Action("filter", "slash,ctrl+f", "Filter", "Show only runs that contain some words.", RUNS, tab="runs"),
    Action("open_run", "enter", "Open", "Show the run; one that is live is followed.", RUNS, _row, tab="runs"),
    Action("stop_run", "x", "Stop run", "Stop the live run under the cursor and save.", RUNS, _live_row, tab="runs"),
    Action("mark_run", "space", "Mark", "Mark runs; the first three adapt beside each other.", RUNS, _row, tab="runs"),
    Action("compare_runs", "c", "Compare", "Marked runs on identical held-out tasks.", RUNS, _marked, tab="runs"),
    Action("report_runs", "g", "Report", "A page on the marked runs, or this one, in a file.", RUNS, _row, tab="runs"),
    Action("load_run", "l", "Load settings", "Put the run's settings into the form.", RUNS, _idle_row, tab="runs"),
    Action("resume_run", "r", "Resume", "Go on from the run's last checkpoint.", RUNS, _idle_row, tab="runs"),
    Action("delete_run", "d,delete", "Delete", "Delete the run's folder, after a question.", RUNS, _row, tab="runs"),
    Action("load_preset", "enter,l", "Load", "Put the preset into the form.", PRESETS, _idle_row, tab="presets"),
    Action("delete_preset", "d,delete", "Delete", "Delete a preset of your own.", PRESETS, _own, tab="presets"),
)

BY_ID = {action.id: action for action in ACTIONS}


def bindings_of(tab: Tab) -> list[BindingType]:
    """The keys that act in `tab` alone."""
    return [
        Binding(action.keys, f"app.perform('{action.id}')", action.label, show=False)
        for action in ACTIONS
        if action.tab == tab
    ]
