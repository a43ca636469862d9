"""Computes what the app asks for: `python -m metatui.tui.helper.worker NICENESS`.

Requests come on standard input as pickled pairs of a number and a function without arguments that returns a generator;
what it yields and returns goes back on standard output. A newer request ends the one at hand at its next yield. It ends
when standard input does. Pickle is between these two processes alone: nothing of it is ever in a file.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable, Generator
from contextlib import closing
from queue import Queue
from typing import Any, BinaryIO

from metatui.tui.helper.messages import Reply, StepInfo, WorkerError, Yielded
from metatui.utils import paths
from metatui.utils.errors import MetatuiError

Call = Callable[[], Generator[Any, None, Any]]
Requests = Queue["tuple[int, Call] | None"]


def answer(number: int, call: Call, requests: Requests, say: Callable[[Reply], None]) -> None:
    """Say what `call` yields and returns, unless a newer request comes in between."""
    try:
        with closing(call()) as work:
            while requests.empty():
                try:
                    say(Yielded(number, next(work)))
                except StopIteration as end:
                    say(StepInfo(number, end.value))
                    return
    except MetatuiError as error:
        say(WorkerError(number, str(error)))
    except Exception as error:
        from metatui.learning.hardware.memory import out_of_memory_sentence

        if sentence := out_of_memory_sentence(error):
            say(WorkerError(number, sentence))
            return
        sentence = f"an error in metatui itself ({type(error).__name__}); it is in {paths.log_file()}"
        say(WorkerError(number, sentence, traceback.format_exc()))


def listen(source: BinaryIO, requests: Requests) -> None:
    """Put every request into `requests` as it comes, and None at the end."""
    while True:
        try:
            requests.put(pickle.load(source))
        except EOFError:
            requests.put(None)
            return


def main() -> None:
    os.nice(int(sys.argv[1]))
    # What libraries print is not to be taken for an answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests: Requests = Queue()
    threading.Thread(target=listen, args=(sys.stdin.buffer, requests), daemon=True).start()

    def say(reply: Reply) -> None:
        pickle.dump(reply, answers)
        answers.flush()

    while (request := requests.get()) is not None:
        answer(*request, requests, say)
