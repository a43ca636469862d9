"""How far a data set is packed, on standard error: a bar, or a line now and then where nobody watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from rich.console import Console

from metatui.cli.console.output import console
from metatui.learning.data.packing import told_of_packing

OnProgress = Callable[[int, int], None]
"""Told how many of the data set are packed, and of how many."""


@contextmanager
def images_shown() -> Iterator[None]:
    """Whatever is done within shows how far it is while it packs a folder's images, if it packs any."""
    with packing_shown("images") as progress, told_of_packing(progress):
        yield


@contextmanager
def packing_shown(what: str) -> Iterator[OnProgress]:
    """Nothing is shown before it is told something.

    Args:
        what: is packed, such as `images`.
    """
    screen = console(stderr=True)
    if not screen.is_terminal or screen.is_dumb_terminal:
        yield packing_said(what, lambda text: screen.print(text, soft_wrap=True))
        return
    with ExitStack() as shown:
        yield _bar(screen, what, shown)


def packing_said(what: str, say: Callable[[str], object]) -> OnProgress:
    """Says it in a line at the start and one for each tenth."""
    said = 0

    def tell(done: int, total: int) -> None:
        nonlocal said
        tenth = 10 * done // max(1, total)
        if done == 0:
            say(f"packing {total:,} {what}")
        elif tenth > said:
            said = tenth
            say(f"packed {done:,} of {total:,} {what}")

    return tell


def _bar(screen: Console, what: str, shown: ExitStack) -> OnProgress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(f"packing {what}"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=screen)
    task = bar.add_task("packing", total=None)

    def show(done: int, total: int) -> None:
        if not bar.live.is_started:
            shown.enter_context(bar)
        bar.update(task, completed=done, total=total)

    return show
