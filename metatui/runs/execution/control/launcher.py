"""Launcher of detached runs. Their processes outlive the terminal and the process that started them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metatui.config.declarations import Scalar
from metatui.config.schedule import Planned, as_tables
from metatui.config.settings import Settings
from metatui.learning.data import packing
from metatui.runs.execution.control.client import LiveRun
from metatui.runs.storage.run_folder import RunFolder
from metatui.utils import paths
from metatui.utils.child_process import ChildProcess, Message, describe_exit
from metatui.utils.errors import BadInput, MetatuiError, Problem, SettingsError, quote
from metatui.utils.logs import open_log


def start_detached(
    settings: Settings,
    *,
    runs_dir: str | Path | None = None,
    preset: str | None = None,
    changes: Sequence[Planned] = (),
    origin: str | None = None,
    niceness: int = 0,
) -> LiveRun:
    """Start a new run in the background and follow its events. `changes` and `origin` are as in `Session.start`.

    Args:
        niceness: scheduling priority of the training, from 0 (normal) to 19 (lowest). Libraries and data are loaded
            with normal priority.

    Raises:
        BadInput, MetatuiError: if `Session.start` fails in the new process; no folder is left behind.
    """
    request = {
        "settings": settings.model_dump(mode="json"),
        "runs_dir": str(paths.runs_dir(runs_dir)),
        "preset": preset,
        "planned": as_tables(changes),
        "origin": origin,
        "niceness": niceness,
    }
    # The process itself creates the run's folder, whose name starts with this text.
    return _train(request, f"metatui {settings.algorithm.name}-{settings.task.source}")


def resume_detached(run: RunFolder, changes: Mapping[str, Scalar] | None = None, *, niceness: int = 0) -> LiveRun:
    """Resume a run in the background and follow its events. `niceness` is as in `start_detached`.

    Raises:
        BadInput, MetatuiError: if `Session.resume` fails in the new process.
    """
    request = {"resume": str(run.path.absolute()), "changes": dict(changes or {}), "niceness": niceness}
    return _train(request, f"metatui {run.id}")


def _train(request: Mapping[str, Any], title: str) -> LiveRun:
    with open_log() as (log, _):
        child = ChildProcess("metatui.runs.execution.worker", title=title, output=log)
    child.detach()
    try:
        try:
            child.send(request)
            return LiveRun(RunFolder(Path(_answer(child))), child)
        except OSError:
            how = describe_exit(child.wait() or 0)
            raise MetatuiError(
                f"the run's process {how} before training began: see its output in {quote(str(paths.log_file()), 200)}"
            ) from None
        except BaseException:
            child.terminate()
            raise
    except BaseException:
        child.close()
        raise


def _answer(child: ChildProcess) -> str:
    """Wait until training starts, and return the run folder.

    If the child packs images first, its progress is passed on to the packing listeners of this process.

    Raises:
        BadInput, MetatuiError: if the process reports such an error.
        OSError: if the process died.
    """
    while (answer := child.receive()) and "packed" in answer:
        packing.report_packing(*answer["packed"])
    if answer is None:
        raise ConnectionResetError
    if "dir" in answer:
        return str(answer["dir"])
    raise _error(answer)


def _error(answer: Message) -> MetatuiError:
    if problems := answer["problems"]:
        return SettingsError([Problem(field, sentence) for field, sentence in problems])
    return (BadInput if answer["exit_code"] == BadInput.exit_code else MetatuiError)(answer["error"])
