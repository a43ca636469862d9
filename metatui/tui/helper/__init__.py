"""Heavy computing for the app in a child process, so that keys answer, training goes on and cancelling is at once."""

from metatui.tui.helper.client import Helper
from metatui.tui.helper.messages import Reply, StepInfo, WorkerError, Yielded

__all__ = ["Helper", "Reply", "StepInfo", "WorkerError", "Yielded"]
