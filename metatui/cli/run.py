"""`metatui run`: train without the app."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metatui import paths, presets
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
from metatui.cli.output import emit, evaluation_json
from metatui.errors import MetatuiError
from metatui.presets import Preset
from metatui.settings import Settings

if TYPE_CHECKING:
    from metatui.runs.session import Session


@click.command()
@click.argument("preset", metavar="[PRESET|FILE]", required=False, shell_complete=complete_presets)
@set_option
@device_option
@runs_dir_option
@click.option("--resume", metavar="RUN", shell_complete=complete_runs, help="Go on with a run that is not over.")
@json_option
@click.pass_context
def run(
    context: click.Context,
    preset: str | None,
    assignments: tuple[str, ...],
    device: str | None,
    runs_dir: Path | None,
    resume: str | None,
    as_json: bool,
) -> None:
    """Train PRESET, a TOML file, or the settings that --set gives.

    Ctrl-C saves after the meta-step and ends the run as interrupted; --resume goes on with it. A second Ctrl-C quits at
    once.
    """
    if preset is not None and resume is not None:
        raise click.UsageError("a preset and --resume exclude each other: a resumed run has its own settings")
    if preset is None and resume is None and not assignments:
        raise click.UsageError("nothing to run: give a preset (metatui presets lists them), a TOML file or --set")

    # Checked before torch is imported, so that a slip of the pen is answered at once.
    wanted = changes(assignments, device)
    loaded = presets.load(preset) if preset is not None else None
    settings = changed(loaded.settings if loaded else Settings(), assignments, device) if resume is None else None

    from metatui.cli.progress import display
    from metatui.runs.session import Session
    from metatui.runs.signals import ending_softly
    from metatui.runs.store import RunStore

    if resume is not None:
        session = Session.resume(RunStore(runs_dir).find(resume), wanted)
    else:
        assert settings is not None
        session = Session.start(settings, runs_dir=runs_dir, preset=_origin(loaded, settings))
    try:
        with ending_softly(session.interrupt), display(session.run) as shown, closing(iter(session)) as events:
            for event in events:
                shown.see(event)
    finally:  # however it ended, a script wants to know which run it was and how far it got
        if as_json:
            emit(_report(session))
    if session.outcome.sentence:
        raise MetatuiError(session.outcome.sentence)
    if session.outcome.status == "interrupted":
        context.exit(130)


def _origin(preset: Preset | None, settings: Settings) -> str | None:
    """What the run's journal calls the settings that it was started with."""
    if preset is None:
        return None
    own = preset.path.parent == paths.user_presets_dir()
    name = preset.name if preset.bundled or own else str(preset.path)
    return name if settings == preset.settings else f"{name} (changed)"


def _report(session: Session) -> dict[str, Any]:
    outcome = session.outcome
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
        "test": evaluation_json(session.run.id, outcome.test),
    }
