"""Long computations of the app in a child process, so that the app stays responsive and cancelling is immediate."""

from metatui.tui.helper.client import Helper, Reply, StepInfo, WorkerError, Yielded

__all__ = ["Helper", "Reply", "StepInfo", "WorkerError", "Yielded"]
