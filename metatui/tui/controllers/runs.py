"""Controller of the runs tab: open, stop, resume, delete, mark and compare runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from metatui.config.fields import FIELDS, label_in_sentence, text_of
from metatui.config.settings import Settings
from metatui.runs.formatting import file_size
from metatui.tui.controllers.sessions import Sessions
from metatui.tui.formatting import short_metric
from metatui.tui.keyboard.actions import BY_ID, with_keys
from metatui.tui.model.run_colours import RunColours
from metatui.tui.widgets.adaptation import RunViews
from metatui.utils.errors import MetatuiError
from metatui.utils.text import format_count

# Imported in the functions that use them, because the first frame does not need them.
if TYPE_CHECKING:
    from metatui.runs.storage.run_folder import RunFolder
    from metatui.runs.storage.store import RunStore
    from metatui.runs.storage.summary import RunSummary
    from metatui.tui.app import MetatuiApp
    from metatui.tui.model.replay import Replay
    from metatui.tui.model.run_model import RunModel
    from metatui.tui.screens.dialogs.confirm import ConfirmScreen

READ_EVERY = 5.0
"""Seconds between reads of the shown run if another process is training it."""

MAX_SIDE_BY_SIDE = 3
"""Maximum number of marked runs whose adaptation is shown side by side."""

TASKS_SIDE_BY_SIDE = 4
"""Number of held-out tasks for which the adaptation of marked runs is shown side by side."""


class RunsController:
    def __init__(self, app: MetatuiApp, sessions: Sessions) -> None:
        self._app, self._sessions = app, sessions
        self._replay: Replay | None = None
        """Replay of the run that was last opened from disk."""
        self._on_disk: RunFolder | None = None
        """The shown run, if its folder was found at the last check."""
        self._journal: tuple[RunModel | None, tuple[int, int]] = None, (0, 0)
        """The run shown at the last check, and the modification time and size of its journal at that time."""
        self.colours = RunColours()

    def start_timers(self) -> None:
        self._app.set_interval(READ_EVERY, self.read_again)
        self._app.set_interval(READ_EVERY, self.check_folder)

    def action_filter(self) -> None:
        self._app.runs_tab.show_filter()

    def action_open_run(self) -> None:
        if run := self._app.runs_tab.selected:
            self.open(run.run, live=run.status in ("running", "paused"))

    def open(self, run: RunFolder, *, live: bool) -> None:
        """Follow `run` if `live` is true. Otherwise, show it as it is on disk."""
        live = live or run == self._app.run_controller.followed
        opening = self._app.background.attach(run) if live else self.show_from_disk(run)
        self._app.run_worker(opening, exclusive=True, group="open")

    async def show_from_disk(self, run: RunFolder) -> None:
        from metatui.tui.model.replay import Replay

        try:
            replay = await asyncio.to_thread(Replay, run)
            model = await asyncio.to_thread(replay.read)
        except MetatuiError as error:
            self._app.notify_error(error)
            return
        self._replay = replay
        self._app.run_controller.show(model)
        if self._can_close:
            self._app.notify(with_keys("To show the marked runs again, press {leave}."))

    async def read_again(self) -> None:
        """Read the shown run again if its files may have changed, unless the app follows the run."""
        from metatui.tui.model.replay import Replay

        controller = self._app.run_controller
        before, run = controller.shown, self.shown_from_disk()
        if before is None or run is None:
            return
        journal = before, await asyncio.to_thread(_stamp, run.journal_path)
        changed, self._journal = self._journal[0] is before and self._journal != journal, journal
        if not (changed or before.status in ("Running", "Paused") or await asyncio.to_thread(run.is_live)):
            return
        try:
            if self._replay is None or self._replay.run != run:
                self._replay = await asyncio.to_thread(Replay, run)
            model = await asyncio.to_thread(self._replay.read)
        except MetatuiError:
            return  # its files are being written, moved or deleted
        if controller.shown is before and not self._app.background.leaving:
            controller.shown, self._journal = model, (model, journal[1])
            controller.show_run()
            controller.show_adaptation()

    async def check_folder(self) -> None:
        """Warn the user if the folder of the shown run is gone. A run that the app is following reports this itself."""
        run = self.shown_from_disk()
        if run is None:
            return
        if await asyncio.to_thread(run.is_run):
            self._on_disk = run
        elif self._on_disk == run:
            self._on_disk = None
            self._app.notify(f"The folder of the shown run, {run.id}, was deleted or moved.", severity="warning")

    def shown_from_disk(self) -> RunFolder | None:
        """Return the folder of the shown run, or None if no run is shown or the app is following the shown run."""
        controller = self._app.run_controller
        shown, client = controller.shown, controller.client
        if shown is None or (shown is client.model and client.phase.active):
            return None
        if shown is client.model:
            return client.receiver.run.run if client.receiver and client.receiver.run else None
        return self._replay.run if self._replay and self._replay.run.id == shown.run_id else None

    def action_load_run(self) -> None:
        run = self._app.runs_tab.selected
        if run and run.settings:
            note = _left_out(run)
            source = f"{run.id} without later changes" if note else run.id
            self._app.presets.load(run.settings, None, source, origin=_origin_of_settings(run), note=note)
        elif run:
            self.say_unreadable(run)

    def action_resume_run(self) -> None:
        run = self._app.runs_tab.selected
        if run and run.settings:
            self._start_resuming(run.run)
        elif run:
            self.say_unreadable(run)

    @property
    def resumable(self) -> RunFolder | None:
        """The shown run if it has ended before its last meta-step, otherwise None."""
        shown = self._app.run_controller.shown
        is_unfinished = shown is not None and shown.status in ("Stopped", "Interrupted", "Failed")
        return self.shown_from_disk() if is_unfinished else None

    def resume_shown(self) -> None:
        if run := self.resumable:
            self._start_resuming(run)

    def _start_resuming(self, run: RunFolder) -> None:
        self._app.run_worker(self._resume(run), exclusive=True, group="open")

    def say_unreadable(self, run: RunSummary) -> None:
        """Notify the user that the settings of `run` cannot be read."""
        self._app.notify(f"{run.problem or 'The settings of this run cannot be read'}.", severity="error")

    async def _resume(self, run: RunFolder) -> None:
        from metatui.tui.model.replay import Replay

        try:
            model = await asyncio.to_thread(lambda: Replay(run).read())
        except MetatuiError as error:
            self._app.notify_error(error)
            return
        if self._app.run_controller.client.phase.active:
            self._app.notify(BY_ID["start"].refusal_reason(self._app.context), severity="warning")
            return
        model.reopen(model.settings)
        self._app.run_controller.begin(lambda: self._sessions.resume(run.id), model)
        self._app.notify(f"Resuming {run.id}. {self._app.presets.return_note}".strip())

    def action_stop_run(self) -> None:
        if run := self._app.runs_tab.selected:
            self._app.run_worker(self._ask_to_stop(run), group="stop")

    async def _ask_to_stop(self, run: RunSummary) -> None:
        from metatui.tui.screens.dialogs.confirm import ConfirmScreen

        question = f"Stop run {run.id}? It is saved after this meta-step and can be resumed."
        if not await self._app.push_screen_wait(ConfirmScreen("Stop run", question, yes="Stop")):
            return
        if run.run == self._app.run_controller.followed:
            self._app.run_controller.action_stop()
            return
        try:
            await asyncio.to_thread(self._sessions.stop, run.run)
        except MetatuiError as error:
            self._app.notify_error(error)
        else:
            self._app.notify(f"{run.id} stops after this meta-step and is saved.")

    def action_delete_run(self) -> None:
        tab = self._app.runs_tab
        if runs := tab.marked_runs or [run for run in [tab.selected] if run]:
            self._app.run_worker(self._ask_to_delete(runs))

    async def _ask_to_delete(self, runs: Sequence[RunSummary]) -> None:
        from metatui.tui.screens.dialogs.confirm import ConfirmScreen

        # The locks are read at once, not in a thread, so that keys typed after d go to the dialog.
        live = [run for run in runs if run.run.is_live()]
        runs = [run for run in runs if run not in live]
        if not runs:
            which = f"{live[0].id} is" if len(live) == 1 else f"The {len(live):,} marked runs are"
            stop = with_keys("{stop_run} stops the selected run.")
            self._app.notify(f"{which} training, so nothing is deleted. {stop}", severity="warning")
            return
        several = len(runs) > 1
        which = f"these {len(runs):,} runs with their" if several else f"run {runs[0].id} with its"
        kept = f" {len(live):,} more {'is' if len(live) == 1 else 'are'} training and will be kept." if live else ""
        question = f"Delete {which} metrics and checkpoints? This cannot be undone.{kept}"
        if not several and runs[0].run.link_target:
            question = f"Delete the link {runs[0].id}? The run itself is kept."
        lost = [line for run in runs for line in (run.id, f"  {_lost_with(run)}")]
        details = lost if several else [_lost_with(runs[0])]
        title = "Delete runs" if several else "Delete run"
        dialog = ConfirmScreen(title, question, yes="Delete", details=details, note="Size: …")
        sizing = self._app.run_worker(_show_size(dialog, runs), group="size")
        deletes = await self._app.push_screen_wait(dialog)
        sizing.cancel()
        if not deletes:
            return
        tab, self._on_disk = self._app.runs_tab, None
        problems = await asyncio.to_thread(lambda: [each for run in runs for each in _delete(tab.store, run)])
        if problems:
            others = f" {len(problems) - 1:,} more could not be deleted." if len(problems) > 1 else ""
            self._app.notify(f"{problems[0]}.{others}", severity="error")
        tab.reload()

    def action_preview_run(self) -> None:
        self._app.runs_tab.switch_pane()

    def action_sort_runs(self) -> None:
        self._app.runs_tab.sort(self._app.runs_tab.order.next())

    def action_reverse_runs(self) -> None:
        self._app.runs_tab.sort(self._app.runs_tab.order.reversed())

    def action_mark_run(self) -> None:
        self._app.runs_tab.mark_selected()
        self._marks_changed()

    def action_mark_all_runs(self) -> None:
        self._app.runs_tab.mark_all()
        self._marks_changed()

    def _marks_changed(self) -> None:
        self._app.runs_tab.fill()
        self._app.run_worker(self._show_changed_marks(), exclusive=True, group="side_by_side")

    async def _show_changed_marks(self) -> None:
        app = self._app
        self._tell_of_computing()
        if shown := await self._show_side_by_side():
            app.work_tab.pane = "adaptation"
            count = f"{shown} of at most {MAX_SIDE_BY_SIDE}"
            compare = "{compare_runs} compares all marked runs."
            app.notify(with_keys(f"Runs side by side in the work tab ({{tab_work}}): {count}. {compare}"))

    def show_marked(self) -> None:
        """Show the marked runs side by side again, if at least two are marked."""
        if len(self._app.runs_tab.marked) > 1:
            self._app.run_worker(self._show_side_by_side(), exclusive=True, group="side_by_side")

    @property
    def _can_close(self) -> bool:
        """Whether a run is shown that the app does not follow, and at least two runs are marked."""
        controller = self._app.run_controller
        shown, client = controller.shown, controller.client
        follows_shown = shown is client.model and client.phase.active
        return shown is not None and not follows_shown and len(self._app.runs_tab.marked) > 1

    def close_shown(self) -> None:
        """Show the marked runs instead of the shown run, if the app does not follow it and at least two are marked."""
        if self._can_close:
            self._app.run_worker(self._close_shown(), exclusive=True, group="side_by_side")

    async def _close_shown(self) -> None:
        self._tell_of_computing()
        if await self._show_side_by_side():
            self._app.run_controller.close_shown()

    def _tell_of_computing(self) -> None:
        """Tell the user that the adaptation of the marked runs is being computed, because this can take seconds."""
        if count := len(self._app.runs_tab.marked[:MAX_SIDE_BY_SIDE]):
            self._app.notify(f"Adapting {format_count(count, 'marked run')} to held-out tasks…")

    async def _show_side_by_side(self) -> int:
        """Adapt the models of the marked runs to held-out tasks in another process, and show the results side by side.

        Returns:
            Number of runs that are shown.
        """
        from metatui.tui.model.replay import outline

        app = self._app
        runs = app.runs_tab.marked_runs[:MAX_SIDE_BY_SIDE]
        tasks = {run.settings and _task_identity(run.settings) for run in runs}
        same = "the same" if len(tasks) == 1 else "different"
        colours = self.colours.of(run.id for run in app.runs_tab.marked_runs)
        names = [run.settings.algorithm.name if run.settings else run.id for run in runs]
        side_by_side, models = [], {}
        for run, name in zip(runs, names, strict=True):
            try:
                views = await asyncio.to_thread(self._sessions.views, run.id, TASKS_SIDE_BY_SIDE)
            except MetatuiError as error:
                app.notify(f"{run.id} cannot be shown: {error}.", severity="error")
                continue
            label = name if names.count(name) == 1 else run.id
            side_by_side.append(RunViews(run.id, label, colours[run.id], views))
            with suppress(MetatuiError, OSError):  # the adaptation is shown without the curves
                models[run.id] = await asyncio.to_thread(outline, run.run)
        app.run_controller.show_side_by_side(side_by_side, f"The marked runs on {same} held-out test tasks", models)
        return len(side_by_side)


def _origin_of_settings(run: RunSummary) -> str | None:
    """Return the preset that the settings at the start of a run come from.

    If the run has scheduled changes, its preset is marked as changed, because the form leaves these changes out.
    """
    from metatui.config import presets

    with suppress(MetatuiError):  # deleted or damaged since it was listed
        if run.preset and run.run.changes():
            return presets.as_changed(run.preset)
    return run.preset


def _left_out(run: RunSummary) -> str:
    """Return a sentence about the changes that a rerun repeats and the form leaves out; empty if there are none."""
    from metatui.runs.execution.rerun import schedule_of

    values: dict[str, list[str]] = {}
    with suppress(MetatuiError):  # deleted or damaged since it was listed
        for planned in schedule_of(run.run):
            values.setdefault(planned.path, []).append(text_of(planned.value))
    if not values:
        return ""
    changes = ", ".join(
        f"{label_in_sentence(path)} {texts[0] if len(texts) == 1 else f'({len(texts):,} changes)'}"
        for path, texts in values.items()
    )
    return (
        f"The form has the settings from the start of the run, without these later changes: {changes}. To repeat the "
        f"run with these changes, use 'metatui rerun {run.id}'."
    )


def _stamp(path: Path) -> tuple[int, int]:
    """Return the modification time (in nanoseconds) and the size of a file, or (0, 0) if there is no such file."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def _delete(store: RunStore, run: RunSummary) -> list[str]:
    """Delete a run. Return a list with the reason if it cannot be deleted, otherwise an empty list."""
    try:
        store.delete(run.run)
    except MetatuiError as error:
        return [str(error)]
    return []


def _lost_with(run: RunSummary) -> str:
    """Describe what is lost when `run` is deleted, for example `Finished, 5,000 meta-steps, test 0.341 ± 0.052`."""
    from metatui.tui.screens.main.tabs.run_list import result

    if target := run.run.link_target:
        return f"Link to {target}; only the link is deleted"
    steps = format_count(run.iteration, "meta-step")
    best = f"best validation {short_metric(run.best)}" if run.best and not run.test else result(run)
    return f"{run.status.capitalize()}, {steps}, {best}"


async def _show_size(dialog: ConfirmScreen, runs: Sequence[RunSummary]) -> None:
    """Show the total size of the folders of `runs` in `dialog`, which is already open."""
    total = 0
    for run in runs:
        total += 0 if run.run.link_target else await asyncio.to_thread(run.run.size)
    dialog.show_note(f"Size: {file_size(total)}")


def _task_identity(settings: Settings) -> tuple[object, ...]:
    """Return the settings that determine the held-out tasks."""
    task = settings.task
    ways = (task.ways, task.split, task.rotations) if settings.is_classification else ()
    data = (task.source, task.folder, *(settings.value(path) for path in FIELDS if path.startswith(f"{task.source}.")))
    return data, ways, settings.evaluation_shots, task.queries, settings.evaluation.seed
