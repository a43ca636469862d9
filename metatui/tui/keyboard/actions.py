"""The actions of the app. Bindings, key bar, help screen and palette are generated from the table `ACTIONS`.

The actions use only keys that tmux and SSH forward: letters, digits, function keys and some combinations of ctrl with a
letter. A focused text field consumes letters, so actions that are useful there also have a function key or a ctrl key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from textual.binding import Binding, BindingType
from textual.keys import KEY_NAME_REPLACEMENTS, key_to_character

Tab = Literal["work", "runs", "presets"]
TABS: tuple[Tab, ...] = ("work", "runs", "presets")

MAX_COMPARED = 8
"""Maximum number of runs in a comparison or a report."""


class Phase(Enum):
    """State of the run that the app is following. The values of the members are shown to the user."""

    IDLE = "Idle"
    STARTING = "Starting…"
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
    """State of the app that determines which actions are possible."""

    phase: Phase = Phase.IDLE
    pausing: bool = False
    """True if the run that the app is following is paused or will pause."""
    tab: Tab = "work"
    row: bool = False
    """True if a row in the table of the current tab is selected."""
    live_row: bool = False
    """True if the selected row is a run that is training."""
    unfinished_row: bool = False
    """True if the selected row is a run that ended before its last meta-step."""
    own_preset: bool = False
    """True if the selected row is one of the user's presets."""
    missing_data: bool = False
    """True if the data of the selected preset can be downloaded, or a download is in progress."""
    undoable: bool = False
    """True if the run that the app is following has a live change that can be undone."""
    restorable: bool = False
    """True if the form can restore values that were replaced by the usual values of an algorithm, or by live changes of
    a run that has ended."""
    hinted: bool = False
    """True if there is a hint, or the form offers the usual values of an algorithm."""
    classification: bool = False
    """True if the shown run, or each of the marked runs in the curves pane, classifies images."""
    failed: bool = False
    """True if the shown run failed."""
    resumable: bool = False
    """True if the app follows no run, and the open work tab shows a run that ended before its last meta-step."""
    other_user: str = ""
    """Name of the user who is training the shown run, if this is another user; otherwise an empty string."""
    curves: bool = False
    """True if the shown run has curves."""
    group: str = ""
    """Name of the group of actions that belong to the focused pane of the work tab."""
    cursor: bool = False
    """True if the curves show a cursor that keys can move."""
    marked: int = 0
    """Number of runs marked in the runs tab."""
    studied: int = 0
    """Number of runs that an analysis would use. These are the marked runs, the selected run or the shown run."""


Refusal = Callable[[AppContext], str]
"""Function that returns the reason why an action is not possible, or an empty string if it is possible.

`with_keys` replaces ids of actions in the reason with keys.
"""


@dataclass(frozen=True)
class Action:
    id: str
    """Name of the action. It is implemented by the method `action_<id>` of a tab, a controller or the app."""
    default_keys: str
    label: str
    """Label of one or two words, for the key bar."""
    help: str
    group: str
    refusal: Refusal = lambda _: ""
    bar: bool = True
    """True if the key bar shows the action when there is room."""
    tab: Tab | None = None
    """The only tab in which the keys work, or None if they work in all tabs."""
    everywhere: bool = False
    """True if the keys also work in dialogs and other screens above the tabs."""

    def refusal_reason(self, now: AppContext) -> str:
        """Return the reason why the action is not possible now, or an empty string if it is possible."""
        return with_keys(self.refusal(now))

    @property
    def keys(self) -> str:
        """The comma-separated keys from the user's keymap or, if it does not contain the action, the default keys."""
        return _keymap.get(self.id, self.default_keys)

    @property
    def key(self) -> str:
        """The first key, which is the one shown in messages."""
        return self.keys.split(",")[0]


def _running(now: AppContext) -> str:
    match now.phase:
        case Phase.IDLE if now.resumable:
            return "No run is training here. {pause} resumes the shown run, and {start} starts a new one."
        case Phase.IDLE if now.other_user:
            return f"This run is read-only: only user {now.other_user}, who is training it, can control it."
        case Phase.IDLE:
            return "No run is training here. {start} starts one, and {attach} shows a background run."
        case Phase.STOPPING:
            return "The run is stopping and will be saved."
        case _:
            return ""


def _pausable(now: AppContext) -> str:
    return "" if now.resumable else _running(now)


def _undoable(now: AppContext) -> str:
    if now.restorable:
        return ""
    if now.phase is Phase.IDLE and not now.resumable:  # the same key resumes a run in the runs tab
        return f"{_running(now)} In the runs tab ({{tab_runs}}), {{resume_run}} resumes a stopped run."
    return _running(now) or ("" if now.undoable else "Nothing to undo: no setting was changed during training.")


def _hinted(now: AppContext) -> str:
    if now.hinted:
        return ""
    if not now.failed:
        return "There is no hint."
    load = "In the runs tab ({tab_runs}), {load_run} puts the settings of a run into the form."
    return f"There is no hint. The run pane shows why the run failed. {load}"


def _idle(now: AppContext) -> str:
    return "A run is already training: stop it ({stop}) or detach it ({detach}) first." if now.phase.active else ""


def _row(now: AppContext) -> str:
    return "" if now.row else "The list is empty."


def _idle_row(now: AppContext) -> str:
    return _row(now) or _idle(now)


def _live_row(now: AppContext) -> str:
    return _row(now) or ("" if now.live_row else "This run is not training.")


def _few(now: AppContext) -> str:
    too_many = (
        f"{now.marked:,} runs are marked, but at most {MAX_COMPARED} can be compared: {{mark_run}} unmarks a run."
    )
    return _row(now) or (too_many if now.marked > MAX_COMPARED else "")


def _studied(now: AppContext) -> str:
    return "" if now.studied else "No run is open: open or select one in the runs tab ({tab_runs})."


def _fetch(now: AppContext) -> str:
    return _row(now) or ("" if now.missing_data else "The data of this preset is already on this machine.")


def _own(now: AppContext) -> str:
    return _row(now) or ("" if now.own_preset else "This preset comes with metatui and cannot be deleted.")


def _curves(now: AppContext) -> str:
    return "" if now.curves else "There are no curves yet: {start} starts a run, and {tab_runs} lists earlier ones."


def _two_metrics(now: AppContext) -> str:
    return "" if now.classification else "Regression has one metric, the loss."


TRAINING, WINDOW, CHARTS, ADAPTATION = "Training", "Window", "Curves", "Adaptation"
RUNS, PRESETS = "Runs", "Presets"

ACTIONS: tuple[Action, ...] = (
    Action("start", "f5,s", "Start", "Start a run with the settings in the form.", TRAINING, _idle),
    Action("pause", "f6,p", "Pause", "Pause the run after this meta-step, or continue it.", TRAINING, _pausable),
    Action("stop", "f7,x", "Stop", "Stop the run after this meta-step and save it.", TRAINING, _running),
    Action("evaluate", "f8,e", "Validate", "Validate now, on held-out tasks.", TRAINING, _running),
    Action("checkpoint", "f9,c", "Save", "Save a checkpoint now.", TRAINING, _running),
    Action("live", "f4,l", "Change", "Change learning rates and other live settings.", TRAINING, _running),
    Action("undo", "r,ctrl+underscore", "Undo", "Undo the last change to a setting.", TRAINING, _undoable, tab="work"),
    Action("hint", "h", "Hint", "Apply the hint, or fill in the usual values.", TRAINING, _hinted, tab="work"),
    Action("detach", "d", "Detach", "Let the run continue in the background.", TRAINING, _running, tab="work"),
    Action("attach", "j", "Attach", "Show the newest background run.", TRAINING, bar=False, tab="work"),
    Action("save_preset", "f2,w", "Save preset", "Save the settings in the form as a preset.", TRAINING),
    Action("help", "f1,question_mark", "Help", "Explain what is focused, and list all keys.", WINDOW, everywhere=True),
    Action("tab_work", "1", "Work", "Go to the settings, curves and adaptation.", WINDOW, bar=False),
    Action("tab_runs", "2", "Runs", "Go to the list of runs.", WINDOW, bar=False),
    Action("tab_presets", "3", "Presets", "Go to the list of presets.", WINDOW, bar=False),
    Action("next_tab", "ctrl+n", "Tab", "Go to the next tab: Work, Runs or Presets.", WINDOW),
    Action("next_pane", "ctrl+o,n", "Pane", "Go to the next pane.", WINDOW, tab="work"),
    Action("previous_pane", "b", "Pane back", "Go to the previous pane.", WINDOW, bar=False, tab="work"),
    Action("maximize", "f3,z", "Maximise", "Maximise or restore the pane.", WINDOW, tab="work"),
    Action("form", "ctrl+l,f", "Form", "Go to the form, or hide it for this run and later runs.", WINDOW, tab="work"),
    Action("wider", "greater_than_sign", "Wider", "Make the focused pane wider.", WINDOW, bar=False, tab="work"),
    Action("narrower", "less_than_sign", "Narrower", "Make the focused pane narrower.", WINDOW, bar=False, tab="work"),
    Action("higher", "right_curly_bracket", "Taller", "Make the focused pane taller.", WINDOW, bar=False, tab="work"),
    Action("lower", "left_curly_bracket", "Shorter", "Make the focused pane shorter.", WINDOW, bar=False, tab="work"),
    Action("usual_sizes", "0", "Default sizes", "Give all panes their default sizes.", WINDOW, bar=False, tab="work"),
    Action("leave", "escape", "Back", "Restore a pane, leave a text field, or show marked runs.", WINDOW, bar=False),
    Action(
        "command_palette",
        "ctrl+p",
        "Palette",
        "Search for actions, settings, presets and runs.",
        WINDOW,
        everywhere=True,
    ),
    Action("theme", "ctrl+t", "Theme", "Change to the next theme: dark, light, or 16 colours.", WINDOW),
    Action("explain", "ctrl+g,i", "Explain", "Show the pseudo-code and the costs of the algorithm.", WINDOW),
    Action("tour", "T", "Tour", "Take a tour of the app in eight steps.", WINDOW, bar=False, tab="work"),
    Action("benchmark", "f12", "Benchmark", "Measure the speed of each engine on this machine.", WINDOW, bar=False),
    Action(
        "suspend",
        "ctrl+z",
        "Suspend",
        "Suspend the app ('fg' resumes it). Runs continue.",
        WINDOW,
        bar=False,
        everywhere=True,
    ),
    Action("suites", "ctrl+s,u", "Suites", "Train a suite of runs, then compare them.", WINDOW, bar=False),
    Action(
        "quit",
        "ctrl+q,f10",
        "Quit",
        "Quit, and choose whether a run continues or stops.",
        WINDOW,
        everywhere=True,
    ),
    Action("log_scale", "y,ctrl+y", "Log", "Switch the loss axis between linear and logarithmic.", CHARTS, tab="work"),
    Action("smoothing", "o", "Smooth", "Change the smoothing of the training curve.", CHARTS, tab="work"),
    Action("against", "t", "Time", "Plot the curves against meta-steps or time.", CHARTS, tab="work"),
    Action("metric", "m", "Metric", "Plot the loss or the accuracy.", CHARTS, _two_metrics, tab="work"),
    Action(
        "cursor",
        "enter,g",
        "Values",
        "Show a cursor on the curves to read values, zoom and pan.",
        CHARTS,
        _curves,
        tab="work",
    ),
    Action("step_back", "left_square_bracket", "Step back", "Show the previous inner step.", ADAPTATION, tab="work"),
    Action("step_on", "right_square_bracket", "Step on", "Show the next inner step.", ADAPTATION, tab="work"),
    Action("previous_tasks", "comma", "Tasks back", "Show the previous held-out tasks.", ADAPTATION, tab="work"),
    Action("next_tasks", "full_stop", "Tasks on", "Show the next held-out tasks.", ADAPTATION, tab="work"),
    Action("next_shots", "k", "Shots", "Show the next support images.", ADAPTATION, bar=False, tab="work"),
    Action(
        "explore", "ctrl+r,a", "Explore", "Adapt to a held-out task, or to one that you define.", ADAPTATION, _studied
    ),
    Action("parameters", "f11,v", "Space", "Plot how adaptation moves the parameters of a run.", ADAPTATION, _studied),
    Action("filter", "slash,ctrl+f", "Filter", "Show only runs that match the typed words.", RUNS, tab="runs"),
    Action("open_run", "enter", "Open", "Show the run; follow it if it is training.", RUNS, _row, tab="runs"),
    Action("preview_run", "n,ctrl+o", "Preview", "Go to the preview, or back to the list.", RUNS, _row, tab="runs"),
    Action("stop_run", "x", "Stop run", "Stop and save the selected run.", RUNS, _live_row, tab="runs"),
    Action(
        "mark_run", "space", "Mark", "Mark or unmark a run; up to three can be shown together.", RUNS, _row, tab="runs"
    ),
    Action("mark_all_runs", "m", "All/none", "Mark all listed runs, or unmark all runs.", RUNS, _row, tab="runs"),
    Action("sort_runs", "o", "Sort", "Sort the list by the next column.", RUNS, _row, tab="runs"),
    Action("reverse_runs", "t", "Reverse", "Reverse the order of the list.", RUNS, _row, bar=False, tab="runs"),
    Action("compare_runs", "c", "Compare", "Compare runs, or test one with more inner steps.", RUNS, _few, tab="runs"),
    Action("report_runs", "g", "Report", "Write a report on the marked or selected runs.", RUNS, _few, tab="runs"),
    Action(
        "load_run",
        "l",
        "Load settings",
        "Put the settings from the start of the run into the form.",
        RUNS,
        _idle_row,
        tab="runs",
    ),
    Action("resume_run", "r", "Resume", "Continue from the run's last checkpoint.", RUNS, _idle_row, tab="runs"),
    Action(
        "delete_run",
        "d,delete",
        "Delete",
        "Delete marked or selected runs, after confirmation.",
        RUNS,
        _row,
        tab="runs",
    ),
    Action(
        "filter_presets",
        "slash,ctrl+f",
        "Filter",
        "Show only presets that match the typed words.",
        PRESETS,
        tab="presets",
    ),
    Action("load_preset", "enter,l", "Load", "Put the preset into the form.", PRESETS, _idle_row, tab="presets"),
    Action(
        "preview_preset", "n,ctrl+o", "Preview", "Go to the preview, or back to the list.", PRESETS, _row, tab="presets"
    ),
    Action(
        "fetch_data",
        "f",
        "Download",
        "Download the preset's data, or cancel the download.",
        PRESETS,
        _fetch,
        tab="presets",
    ),
    Action("delete_preset", "d,delete", "Delete", "Delete one of your presets.", PRESETS, _own, tab="presets"),
)

BY_ID = {action.id: action for action in ACTIONS}

_keymap: dict[str, str] = {}


def use_keymap(keymap: Mapping[str, str]) -> None:
    """Give actions the keys that `keymap` assigns to them, and restore the default keys of all other actions."""
    _keymap.clear()
    _keymap.update(keymap)


def changed_keys() -> frozenset[str]:
    """Return all keys that the user's keymap assigns to actions."""
    return frozenset(key for keys in _keymap.values() for key in keys.split(","))


def bindings_of(tab: Tab) -> list[BindingType]:
    """Return the key bindings of the actions that are possible only in `tab`."""
    return [
        Binding(action.default_keys, f"app.perform('{action.id}')", action.label, show=False, id=action.id)
        for action in ACTIONS
        if action.tab == tab
    ]


def with_keys(text: str) -> str:
    """Replace the ids of actions in braces, as in `{start} starts a run`, with the keys of these actions."""
    return text.format_map({action.id: _in_sentence(action.key) for action in ACTIONS}) if "{" in text else text


def _in_sentence(key: str) -> str:
    name = key_name(key)
    return name.lower() if name.isalpha() and len(name) > 1 else name


def key_names(keys: str) -> str:
    """Return the displayed names of comma-separated keys, such as `F5 or s`."""
    return " or ".join(map(key_name, keys.split(",")))


_UNICODE_NAMES = {name: unicode_name for unicode_name, name in KEY_NAME_REPLACEMENTS.items()}
"""Unicode names of the keys that Textual names differently, keyed by Textual's names."""


def key_name(key: str) -> str:
    """Return the displayed name of a key, for example `^P` for `ctrl+p` and `?` for `question_mark`."""
    if key.startswith("ctrl+"):
        return f"^{key_name(key[5:]).upper()}"
    if key.startswith("f") and key[1:].isdigit():
        return key.upper()
    character = key_to_character(_UNICODE_NAMES.get(key, key))
    return character if character and character.isprintable() and character != " " else key.capitalize()
