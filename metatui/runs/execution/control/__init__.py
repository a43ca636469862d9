"""Control of runs in other processes: each run serves a socket in its folder.

`LiveRun` is the viewer's side, `ControlServer` the trainer's; `messages` is the protocol between them.
"""

from metatui.runs.execution.control.client import LiveRun
from metatui.runs.execution.control.launcher import resume_detached, start_detached

__all__ = ["LiveRun", "resume_detached", "start_detached"]
