"""Launcher of detached runs. Their processes outlive the terminal and the process that started them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from metatui.config.declarations import Scalar
from metatui.config.schedule import Planned, as_tables
from metatui.config.settings import Settings
from metatui.runs.execution.control.client import LiveRun
from metatui.runs.storage.run_folder import RunFolder
from metatui.runs.storage.store import name_of
from metatui.utils import paths
from metatui.utils.child_process import ChildProcess, Message, describe_exit
from metatui.utils.errors import MetatuiError, error_from_dict, quote
from metatui.utils.logs import open_log
from metatui.utils.progress import packing, stages


class StartingRun:
    """A run whose process is still loading libraries and data. `wait` returns a connection when training begins."""

    def __init__(self, request: Mapping[str, Any], title: str) -> None:
        """Start the process. `start` and `resume` call this method. Raises MetatuiError if the process cannot start."""
        with open_log() as (log, _):
            self._child = ChildProcess("metatui.runs.execution.worker", title=title, output=log)
        self._child.detach()
        with suppress(OSError):  # the process has died, which `wait` reports
            self._child.send(request)

    @classmethod
    def start(
        cls,
        settings: Settings,
        *,
        runs_dir: str | Path | None = None,
        preset: str | None = None,
        changes: Sequence[Planned] = (),
        origin: str | None = None,
        niceness: int = 0,
    ) -> StartingRun:
        """Start the process of a new run. `changes` and `origin` are as in `Session.start`.

        Args:
            niceness: scheduling priority of the training, from 0 (normal) to 19 (lowest). Libraries and data are loaded
                with normal priority.
        """
        created = datetime.now(UTC)
        request = {
            "settings": settings.model_dump(mode="json"),
            "runs_dir": str(paths.runs_dir(runs_dir)),
            "preset": preset,
            "planned": as_tables(changes),
            "origin": origin,
            "created": created.isoformat(),
            "niceness": niceness,
        }
        return cls(request, f"metatui {name_of(settings, created)}")

    @classmethod
    def resume(cls, run: RunFolder, changes: Mapping[str, Scalar] | None = None, *, niceness: int = 0) -> StartingRun:
        """Start a process that resumes a run. `niceness` is as in `start`."""
        request = {"resume": str(run.path.absolute()), "changes": dict(changes or {}), "niceness": niceness}
        return cls(request, f"metatui {run.id}")

    def stop(self) -> None:
        """End the process. If the run is already training, it is interrupted and saved first.

        Other threads may call this while one thread is in `wait`.
        """
        self._child.terminate()

    def wait(self) -> LiveRun:
        """Wait until training begins, and return the connection to the run.

        Pressing Ctrl-C during the wait ends the run's process.

        Raises:
            BadInput, MetatuiError: if `Session.start` or `Session.resume` fails in the run's process, or if the
                run's process ends before training begins.
        """
        child = self._child
        try:
            return LiveRun(RunFolder(Path(_answer(child))), child)
        except OSError:
            how = describe_exit(child.wait() or 0)
            child.close()
            raise MetatuiError(
                f"the run's process {how} before training began: see its output in {quote(str(paths.log_file()), 200)}"
            ) from None
        except BaseException:
            child.terminate()
            child.close()
            raise


def start_detached(
    settings: Settings,
    *,
    runs_dir: str | Path | None = None,
    preset: str | None = None,
    changes: Sequence[Planned] = (),
    origin: str | None = None,
) -> LiveRun:
    """Start a run in the background and return the connection to it. `changes` and `origin` are as in `Session.start`.

    Raises:
        BadInput, MetatuiError: if `Session.start` fails in the new process; no folder is left behind.
    """
    starting = StartingRun.start(settings, runs_dir=runs_dir, preset=preset, changes=changes, origin=origin)
    return starting.wait()


def resume_detached(run: RunFolder, changes: Mapping[str, Scalar] | None = None) -> LiveRun:
    """Resume a run in the background and return the connection to it.

    Raises:
        BadInput, MetatuiError: if `Session.resume` fails in the new process.
    """
    return StartingRun.resume(run, changes).wait()


def _answer(child: ChildProcess) -> str:
    """Wait until training starts, and return the run folder.

    Until then, the progress that the child reports is also reported in this process.

    Raises:
        BadInput, MetatuiError: if the child reports that the run cannot be started.
        OSError: if the child died.
    """
    while (answer := child.receive()) and not answer.keys() & {"dir", "error"}:
        with suppress(OSError):  # the listener's terminal was closed, but the run shall start
            _report(answer)
    if answer is None:
        raise ConnectionResetError
    if "dir" in answer:
        return str(answer["dir"])
    raise error_from_dict(answer)


def _report(progress: Message) -> None:
    if "packed" in progress:
        packing.report(*progress["packed"])
    elif "stage" in progress:
        stages.report(progress["stage"])
