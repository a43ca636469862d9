"""Heavy computing for the app in a child process, so that keys answer, training goes on and cancelling is at once."""

from metatui.tui.helper.client import Helper
from metatui.tui.helper.messages import Broken, Done, Reply, Yielded

__all__ = ["Broken", "Done", "Helper", "Reply", "Yielded"]
