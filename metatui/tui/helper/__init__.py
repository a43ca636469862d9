"""Helper process for long computations, so that the app stays responsive and can cancel them immediately."""

from metatui.tui.helper.client import Helper, Reply, Returned, WorkerError, Yielded

__all__ = ["Helper", "Reply", "Returned", "WorkerError", "Yielded"]
