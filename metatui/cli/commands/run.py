"""`metatui run`: train without the app."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from metatui.cli.console.output import emit, evaluation_json
from metatui.cli.console.pack_progress import images_shown
from metatui.cli.options import (
    changed,
    changes,
    complete_presets,
    complete_runs,
    device_option,
    json_option,
    runs_dir_option,
    set_option,
)
from metatui.config import presets
from metatui.config.presets import Preset
from metatui.config.settings import Settings
from metatui.utils import paths
from metatui.utils.errors import BadInput, MetatuiError

if TYPE_CHECKING:
    from metatui.config.schedule import Planned
    from metatui.runs.execution.control import LiveRun
    from metatui.runs.execution.session import Session
    from metatui.runs.execution.signals import SignalState
    from metatui.runs.storage.run_folder import RunFolder
    from metatui.runs.storage.store import RunStore

S = TypeVar("S", "Session", "LiveRun")


@click.command()
@click.argument("preset", metavar="[PRESET|FILE]", required=False, shell_complete=complete_presets)
@set_option
@device_option
@runs_dir_option
@click.option(
    "--resume",
    metavar="RUN|auto",
    shell_complete=complete_runs,
    help="Go on with a run that is not over; with auto, with the newest interrupted one of the same settings, if any.",
)
@click.option("--detach", is_flag=True, help="Train in the background: give the shell back once it trains.")
@json_option
@click.pass_context
def run(
    context: click.Context,
    preset: str | None,
    assignments: tuple[str, ...],
    device: str | None,
    runs_dir: Path | None,
    resume: str | None,
    detach: bool,
    as_json: bool,
) -> None:
    """Train PRESET, a TOML file, or the settings that --set gives.

    Ctrl-C saves after the meta-step and ends the run as interrupted; --resume goes on with it. A second Ctrl-C quits at
    once. With --detach, the run goes on whatever happens to the terminal: metatui attach shows it, metatui stop ends
    it.

    Other signals also end and save the run: SIGTERM, SIGHUP, and those that schedulers send before the time limit
    (SIGUSR1, SIGUSR2, SIGXCPU). The exit code is then 128 plus the signal's number. In a Slurm job it is 75, which
    requeues the job: with --resume auto, the same command then continues the same run.
    """
    automatic = resume == "auto"
    if preset is not None and resume is not None and not automatic:
        raise click.UsageError("a preset and --resume exclude each other: a resumed run has its own settings")
    if preset is None and (resume is None or automatic) and not assignments:
        raise click.UsageError("nothing to run: give a preset (metatui presets lists them), a TOML file or --set")

    # Checked before torch is imported, so that a slip of the pen is answered at once.
    wanted = changes(assignments, device)
    loaded = presets.load(preset) if preset is not None else None
    fresh = resume is None or automatic
    settings = changed(loaded.settings if loaded else Settings(), assignments, device) if fresh else None
    planned = loaded.changes if loaded else ()

    from metatui.runs.storage.store import RunStore

    store = RunStore(runs_dir)

    def opened(start: Callable[..., S], go_on: Callable[..., S]) -> S:
        with images_shown():
            if settings is None:
                return go_on(store.find(str(resume)), wanted)
            if automatic and (found := _unfinished(store, settings, planned, go_on)):
                return found
            return start(settings, runs_dir=runs_dir, preset=_origin(loaded, settings), changes=planned)

    from metatui.runs.execution.signals import ending_softly

    with ending_softly() as ending:
        if detach:
            from metatui.runs.execution.control import resume_detached, start_detached

            with closing(opened(start_detached, resume_detached)) as live:
                say_detached(live, as_json=as_json)
            return

        from metatui.runs.execution.session import Session

        ending.defer()
        train(opened(Session.start, Session.resume), ending, context, as_json=as_json)


def _unfinished(
    store: RunStore, settings: Settings, planned: Sequence[Planned], go_on: Callable[[RunFolder], S]
) -> S | None:
    for run in store.unfinished(settings, planned):
        try:
            return go_on(run)
        except BadInput as error:  # another job has just taken it, or no checkpoint of it is whole
            click.echo(f"{error}: it is left as it is", err=True)
    return None


def train(session: Session, ending: SignalState, context: click.Context, *, as_json: bool) -> None:
    """Train to the end or until a signal, with progress in the terminal. Raises MetatuiError if the run failed."""
    from metatui.cli.console.progress import display

    ending.then(session.interrupt)
    try:
        with display(session.run) as shown, closing(iter(session)) as events:
            for event in events:
                shown.see(event)
    finally:  # however it ended, a script wants to know which run it was and how far it got
        if as_json:
            emit(_report(session))
    if session.outcome.sentence:
        raise MetatuiError(session.outcome.sentence)
    if session.outcome.status == "interrupted":
        context.exit(ending.exit_code)


def _origin(preset: Preset | None, settings: Settings) -> str | None:
    """What the run's journal calls the settings that it was started with."""
    if preset is None:
        return None
    own = preset.path.parent == paths.user_presets_dir()
    name = preset.name if preset.bundled or own else str(preset.path)
    return name if settings == preset.settings else f"{name} (changed)"


def say_detached(live: LiveRun, *, as_json: bool) -> None:
    """Says that `live` trains, and how to get at it."""
    run, pid = live.run, live.hello.pid
    if as_json:
        emit({"run": run.id, "dir": str(run.path), "pid": pid})
        return
    name = shlex.quote(run.id if run.path.parent == paths.runs_dir() else str(run.path))
    click.echo(f"{run.id} trains in the background, in process {pid}")
    click.echo(f"  metatui attach {name}  shows it")
    click.echo(f"  metatui stop {name}    ends and saves it")


def _report(session: Session) -> dict[str, Any]:
    from metatui.runs.storage.summary import summarise

    outcome, summary = session.outcome, summarise(session.run)  # includes validations from before a resumption
    return {
        "run": session.run.id,
        "dir": str(session.run.path),
        "status": outcome.status,
        "iterations": outcome.iteration,
        "meta_loss": outcome.meta_loss,
        "accuracy": outcome.accuracy,
        "seconds": outcome.seconds,
        "tasks_per_second": outcome.tasks_per_second,
        "device": outcome.device,
        "engine": outcome.engine,
        "best": evaluation_json(session.run.id, summary.best),
        "validation": evaluation_json(session.run.id, summary.validation),
        "test": evaluation_json(session.run.id, outcome.test),
        "warning": outcome.warning,
    }
