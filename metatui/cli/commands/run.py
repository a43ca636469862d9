"""`metatui run`: train without the app."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from metatui.cli.console.layout import say
from metatui.cli.console.output import console, echo, emit, evaluation_json, result_json
from metatui.cli.console.progress import start_shown
from metatui.cli.options import (
    apply_settings,
    check_seeds,
    complete_presets,
    complete_runs,
    device_option,
    examples,
    json_option,
    note_without_effect,
    parse_settings,
    runs_dir_option,
    seeds_option,
    set_option,
)
from metatui.config import presets
from metatui.config.declarations import Scalar
from metatui.config.fields import FIELDS, change, format_assignments
from metatui.config.presets import Preset
from metatui.config.registry import ALGORITHMS
from metatui.config.settings import Settings
from metatui.config.usual import SELECTORS, deviations_from_usual
from metatui.utils import paths, slurm
from metatui.utils.errors import BadInput, MetatuiError

if TYPE_CHECKING:
    from metatui.config.schedule import Planned
    from metatui.events import Evaluation
    from metatui.runs.analysis.comparison.values import Metric
    from metatui.runs.execution.control import LiveRun
    from metatui.runs.execution.session import Session
    from metatui.runs.execution.signals import SignalState
    from metatui.runs.storage.run_folder import RunFolder
    from metatui.runs.storage.store import RunStore

S = TypeVar("S", "Session", "LiveRun")


@click.command(
    epilog=examples(
        "metatui run quick # train with the settings of a preset",
        "metatui run quick --set algorithm.name=fomaml --set training.seed=1",
        "metatui run quick --seeds 0,1,2 # one run for each seed",
        "metatui run my-settings.toml --detach # train in the background",
        "metatui run --resume latest # continue the newest run",
    )
)
@click.argument("preset", metavar="[PRESET|FILE]", required=False, shell_complete=complete_presets)
@set_option
@seeds_option
@device_option
@runs_dir_option
@click.option(
    "--resume",
    metavar="RUN|auto",
    shell_complete=complete_runs,
    help="Run to continue: its name, 'latest' for the newest run, or 'auto' for the newest interrupted run with the "
    "same settings, if there is one.",
)
@click.option("--detach", is_flag=True, help="Train in the background and return when training has started.")
@json_option
@click.pass_context
def run(
    context: click.Context,
    preset: str | None,
    assignments: tuple[str, ...],
    seeds: tuple[int, ...],
    device: str | None,
    runs_dir: Path | None,
    resume: str | None,
    detach: bool,
    as_json: bool,
) -> None:
    """Train with the settings of a preset, a TOML file or --set.

    A preset or TOML file can also schedule changes of live settings: each [[changes]] table has the keys iteration,
    setting and value.

    Ctrl-C interrupts the run after the current meta-step and saves it; --resume continues it. A second Ctrl-C quits
    immediately. With --detach, the run continues in the background, even after the terminal is closed. Use 'metatui
    attach' to open the run in the app, and 'metatui stop' to stop it.

    With --seeds, one run is trained for each seed. The mean, standard deviation and 95 % interval over the seeds are
    printed on standard output at the end. With --json, the reports are printed as one object with the list "runs".

    Other signals also interrupt and save the run: SIGTERM, SIGHUP, and the signals that schedulers send before the time
    limit (SIGUSR1, SIGUSR2, SIGXCPU). The exit code is then 128 plus the signal number. In a Slurm job, the exit code
    is 75. Slurm queues the job again only if slurm.conf contains RequeueExit=75, or the batch script calls 'scontrol
    requeue'. With --resume auto, the same command then continues the run.

    If the run is stopped in the app or with 'metatui stop', it is saved without a test result, and the exit code is
    130, as after Ctrl-C.

    The exit code is 1 if the run fails, or if it has no result because at least half of the test tasks diverged. In
    these cases, "error" in the JSON object is the reason, and "result" is null. Otherwise, "result" is the result of
    the test, and "validation_result" is the result of the best validation.

    Ctrl-\\ ends the process without saving; --resume continues from the last checkpoint.
    """
    automatic = resume == "auto"
    if preset is not None and resume is not None and not automatic:
        raise click.UsageError("a preset cannot be combined with --resume: a resumed run has its own settings")
    if seeds and resume is not None:
        raise click.UsageError("--seeds cannot be combined with --resume: a resumed run has its own seed")
    if preset is None and (resume is None or automatic) and not assignments:
        raise click.UsageError(
            "nothing to run: specify a preset ('metatui presets' lists all presets), a TOML file or --set"
        )

    # Checked before importing torch, so that mistakes are reported immediately.
    overrides = parse_settings(assignments, device)
    check_seeds(seeds, overrides, detach=detach)
    loaded = presets.load(preset) if preset is not None else None
    fresh = resume is None or automatic
    base = loaded.settings if loaded else Settings()
    settings = apply_settings(base, assignments, device) if fresh else None
    planned = loaded.changes if loaded else ()
    repeats = [change(settings, {"training.seed": seed}) for seed in seeds] if settings else []

    from metatui.runs.storage.store import RunStore

    store = RunStore(runs_dir)

    def opened(start: Callable[..., S], continue_: Callable[..., S], settings: Settings | None = settings) -> S:
        with start_shown():
            if settings is None:
                return continue_(store.find(str(resume)), overrides)
            if automatic and (session := _continue_unfinished(store, settings, planned, continue_)):
                return session
            duplicates = store.live_duplicates(settings, planned) if automatic else []
            started = start(settings, runs_dir=runs_dir, preset=_origin(loaded, settings), changes=planned)
        if duplicates:
            name = duplicates[0].argument
            text = f"{duplicates[0].id}, which is training, has the same settings: follow it with metatui attach {name}"
            echo(f"warning: {text}", err=True)
        if settings in repeats[1:]:
            return started  # the notes on the first run apply to the runs of all seeds
        if note := _usual_note(settings, overrides):  # not before an error message, which is a single sentence
            echo(note, err=True)
        note_without_effect(settings, overrides.keys() | _lost(base, settings))
        return started

    from metatui.runs.execution.signals import ending_softly

    with ending_softly() as ending:
        if detach:
            from metatui.runs.execution.control import resume_detached, start_detached

            with closing(opened(start_detached, resume_detached)) as live:
                print_detached(live, as_json=as_json)
            return

        from metatui.runs.execution.session import Session

        ending.defer()
        if repeats:
            sessions = (opened(Session.start, Session.resume, repeat) for repeat in repeats)
            train_seeds(sessions, seeds, ending, context, as_json=as_json)
        else:
            train(opened(Session.start, Session.resume), ending, context, as_json=as_json)


def _usual_note(settings: Settings, overrides: Mapping[str, Scalar]) -> str:
    """Return a note that lists the algorithm's usual values that differ from the values in `settings`.

    The note leaves out settings in `overrides`. It is an empty string if there is nothing to list, or if `overrides`
    select neither an algorithm nor a data set.
    """
    selected = not overrides.keys().isdisjoint(SELECTORS)
    values = {
        path: value for path, value in deviations_from_usual(settings).items() if selected and path not in overrides
    }
    kind = "classification" if settings.is_classification else "regression"
    title = ALGORITHMS[settings.algorithm.name].title
    return f"note: the usual settings of {title} for {kind} are {format_assignments(values)}" if values else ""


def _lost(base: Settings, settings: Settings) -> set[str]:
    """Return the paths of settings that have an effect in the preset `base`, but not in the changed `settings`."""
    return {
        path
        for path, field in FIELDS.items()
        if base.value(path) != field.default and field.is_relevant(base) and not field.is_relevant(settings)
    }


def _continue_unfinished(
    store: RunStore, settings: Settings, planned: Sequence[Planned], continue_: Callable[[RunFolder], S]
) -> S | None:
    """Continue the newest interrupted run with the same settings; return None if no run can be continued."""
    for run in store.unfinished(settings, planned):
        try:
            return continue_(run)
        except BadInput as error:  # another job continued the run, or it has no intact checkpoint
            echo(f"skipped: {error}", err=True)
    return None


def train(
    session: Session,
    ending: SignalState,
    context: click.Context,
    *,
    as_json: bool,
    write: Callable[[dict[str, Any]], object] = emit,
) -> None:
    """Train to the end or until a signal arrives, showing progress.

    Args:
        as_json: whether to report the run and its result as JSON.
        write: function that is called with the JSON report; the default function prints it.

    Raises:
        MetatuiError: if the run fails, another process stops it, or its test has no result because too many tasks
            diverged.
    """
    from metatui.cli.console.progress import display
    from metatui.runs.execution.session import UnsavedStateError

    ending.then(session.interrupt)
    try:
        with display(session.run) as progress, closing(iter(session)) as events:
            for event in events:
                progress.update(event)
    except UnsavedStateError as unsaved:
        if ending.exit_code == slurm.REQUEUE:  # the job can continue from the last checkpoint
            unsaved.exit_code = slurm.REQUEUE
        raise
    finally:  # scripts need the run and its state even after a failure
        if as_json:
            write(_report(session))
    if error := session.outcome.error:
        raise MetatuiError(error)
    if session.outcome.status == "interrupted":
        context.exit(ending.exit_code)
    if session.outcome.status == "stopped":
        stopped = MetatuiError(
            f"{session.run.id} was stopped in the app or with 'metatui stop' before its final test, so it has no test "
            f"result; to continue: {session.run.resume_command}"
        )
        stopped.exit_code = 128 + signal.SIGINT
        raise stopped


def train_seeds(
    sessions: Iterable[Session],
    seeds: Sequence[int],
    ending: SignalState,
    context: click.Context,
    *,
    as_json: bool,
    rerun_of: RunFolder | None = None,
    repeated: RunFolder | None = None,
) -> None:
    """Train runs with different seeds, one after the other. Print their reports, and a summary over the seeds.

    The summary is printed on standard output, or, if the reports are printed as JSON, on standard error. If a run ends
    early, the seeds that were not started are printed on standard error.

    Args:
        sessions: one run for each of `seeds`.
        rerun_of: run that all `sessions` repeat.
        repeated: finished run that is also named in the command that compares the seeds.

    Raises:
        MetatuiError: in the same cases as `train`.
    """
    reports: list[dict[str, Any]] = []
    runs = [repeated] if repeated else []
    tests: dict[int, Evaluation | None] = {}
    waiting = list(seeds)
    try:
        for session in sessions:
            seed = waiting.pop(0)
            runs.append(session.run)
            train(session, ending, context, as_json=as_json, write=reports.append)
            tests[seed] = session.outcome.test
    finally:
        if as_json:
            emit({"runs": reports})
        if 0 < len(waiting) < len(seeds):
            echo(_not_started(waiting, rerun_of), err=True)
    if summary := _over_seeds(tests, rerun_of):
        say(console(stderr=as_json), summary)
    if len(runs) > 1:
        what = "the seeds and the repeated run" if repeated else "the seeds"
        echo(f"to compare {what}: metatui compare {' '.join(run.argument for run in runs)}", err=True)


def _not_started(seeds: Sequence[int], rerun_of: RunFolder | None) -> str:
    """Return a sentence about `seeds` that were not started, with the options to train them."""
    several = len(seeds) > 1
    what = f"seeds {', '.join(map(str, seeds))} were" if several else f"seed {seeds[0]} was"
    them = "them" if several else "it"
    run = f"the run {rerun_of.argument} and " if rerun_of else ""  # "latest" may now be another run
    return f"{what} not started; to train {them}, repeat the command with {run}--seeds {','.join(map(str, seeds))}"


def _over_seeds(tests: Mapping[int, Evaluation | None], rerun_of: RunFolder | None) -> str:
    """Summarise the test results of runs with different seeds.

    Return an empty string if fewer than two runs have a result.

    Args:
        tests: test result of each seed.
        rerun_of: run that all runs repeat.
    """
    from metatui.learning.evaluation.statistics import sample_summary
    from metatui.runs.analysis.comparison.formatting import amount, deviation
    from metatui.runs.analysis.comparison.labels import join_names

    finite = {seed: test for seed, test in tests.items() if test and test.is_finite}
    if len(finite) < 2:
        return ""
    metric: Metric = "accuracy" if next(iter(finite.values())).accuracy else "loss"
    over = sample_summary([test.final[0] for test in finite.values()])
    own = rerun_of.settings().training.seed if rerun_of else None
    left_out = f"; the repeated run (seed {own}) is not included" if own is not None and own not in tests else ""
    seeds = join_names(list(map(str, finite)))
    return (
        f"test {metric} over {over.size} seeds ({seeds}): mean {amount(metric, over.mean, over.ci95)} (95 % interval "
        f"over the seeds), SD {deviation(metric, over.deviation)}{left_out}"
    )


def _origin(preset: Preset | None, settings: Settings) -> str | None:
    """Return the origin of the settings for the run's journal: the preset, and whether its settings were changed."""
    if preset is None:
        return None
    own = preset.path.parent == paths.user_presets_dir()
    name = preset.name if preset.bundled or own else str(preset.path)
    return name if settings == preset.settings else presets.as_changed(name)


def print_detached(live: LiveRun, *, as_json: bool) -> None:
    """Print the commands that open or stop a run that trains in the background."""
    run, pid = live.run, live.hello.pid
    if as_json:
        emit({"run": run.id, "dir": str(run.path), "pid": pid})
        return
    name = run.argument
    echo(f"{run.id} is training in the background, in process {pid}")
    echo(f"  metatui attach {name}  # open it in the app")
    echo(f"  metatui stop {name}  # stop and save it")


def _report(session: Session) -> dict[str, Any]:
    from metatui.runs.storage.summary import summarise

    outcome = session.outcome
    summary = summarise(session.run)  # includes validations before a resumption
    best = evaluation_json(session.run.id, summary.best)
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
        "engine_reason": outcome.engine_reason,
        "settings": session.settings.model_dump(mode="json"),
        "result": result_json(outcome.test),
        "validation_result": result_json(summary.best),
        "best": best and best | {"checkpoint": "best"},
        "validation": evaluation_json(session.run.id, summary.validation),
        "test": evaluation_json(session.run.id, outcome.test),
        "hints": [asdict(hint) for hint in outcome.hints],
        "warning": outcome.warning,
        "error": outcome.error,
    }
