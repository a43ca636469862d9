"""Control of runs in other processes, over a socket in the run folder.

`LiveRun` is the client for viewers, `ControlServer` is the server of the trainer, and `messages` defines their
protocol. `StartingRun` starts the process of a run.
"""

from metatui.runs.execution.control.client import LiveRun, stop_run
from metatui.runs.execution.control.launcher import StartingRun, resume_detached, start_detached

__all__ = ["LiveRun", "StartingRun", "resume_detached", "start_detached", "stop_run"]
