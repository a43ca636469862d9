"""The helper process, which `metatui.tui.helper.client` starts.

Each request is a pickled pair of a number and a function without arguments that returns a generator. The values that
the generator yields and returns are sent back. A newer request ends the current one when the current generator yields
its next value. The process exits when its channel is closed.
"""

from __future__ import annotations

import pickle
import threading
import traceback
from collections.abc import Callable, Generator
from contextlib import closing
from queue import Queue
from typing import Any

from metatui.config.plugins import plugin_failure
from metatui.tui.helper.client import Reply, Returned, WorkerError, Yielded
from metatui.utils import paths
from metatui.utils.child_process import Channel
from metatui.utils.errors import MetatuiError

Call = Callable[[], Generator[Any, None, Any]]
Requests = Queue["tuple[int, Call] | None"]


def answer(number: int, call: Call, requests: Requests, send: Callable[[Reply], None]) -> None:
    """Send the values that `call` yields and returns, until a newer request arrives."""
    try:
        with closing(call()) as work:
            while requests.empty():
                try:
                    send(Yielded(number, next(work)))
                except StopIteration as end:
                    send(Returned(number, end.value))
                    return
    except MetatuiError as error:
        send(WorkerError(number, str(error)))
    except Exception as error:
        from metatui.learning.hardware.memory import out_of_memory_sentence

        if sentence := out_of_memory_sentence(error):
            send(WorkerError(number, sentence))
            return
        what = plugin_failure(error) or f"an internal error in metatui ({type(error).__name__})"
        sentence = f"{what}: see {paths.log_file()}"
        send(WorkerError(number, sentence, traceback.format_exc()))


def listen(channel: Channel, requests: Requests) -> None:
    """Put every request into the queue as it arrives. When the channel is closed, put None into the queue."""
    while True:
        try:
            requests.put(pickle.load(channel.file))
        except (EOFError, OSError):
            requests.put(None)
            return


def main() -> None:
    channel = Channel.of_child()
    requests: Requests = Queue()
    threading.Thread(target=listen, args=(channel, requests), daemon=True).start()
    while (request := requests.get()) is not None:
        answer(*request, requests, lambda reply: channel.socket.sendall(pickle.dumps(reply)))
