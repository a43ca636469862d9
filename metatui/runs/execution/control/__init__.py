"""Control of runs in other processes, over a socket in the run folder.

`LiveRun` is the client for viewers, `ControlServer` is the server of the trainer, and `messages` defines their
protocol.
"""

from metatui.runs.execution.control.client import LiveRun
from metatui.runs.execution.control.launcher import resume_detached, start_detached

__all__ = ["LiveRun", "resume_detached", "start_detached"]
