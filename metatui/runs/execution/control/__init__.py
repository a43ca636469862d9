"""Runs of other processes, live: each serves a socket in its folder, by which it is shown and told what to do.

`LiveRun` is the side that looks on, `ControlServer` the side that trains. What they say to each other is in `messages`.
"""

from metatui.runs.execution.control.client import LiveRun
from metatui.runs.execution.control.launcher import resume_detached, start_detached

__all__ = ["LiveRun", "resume_detached", "start_detached"]
