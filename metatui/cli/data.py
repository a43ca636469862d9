"""`metatui data`: data sets, fetched and packed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metatui import paths
from metatui.cli.options import json_option
from metatui.cli.output import console, emit
from metatui.errors import BadInput

if TYPE_CHECKING:
    from metatui.learning.tasks.omniglot_data import Omniglot, OnProgress


@click.group()
def data() -> None:
    """Fetch and pack data sets."""


@data.command()
@click.option(
    "--from", "folder", type=click.Path(path_type=Path), metavar="PATH",
    help="Folder with images_background and images_evaluation, as zips or unpacked; else they are downloaded.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Pack again even where what is packed is good.")
@json_option
def omniglot(folder: Path | None, force: bool, as_json: bool) -> None:
    """Pack the 1,623 handwritten characters of Omniglot."""
    from metatui.learning.tasks.omniglot_data import load, pack
    from metatui.learning.tasks.omniglot_download import download
    from metatui.learning.tasks.omniglot_layout import OMNIGLOT

    began = time.perf_counter()
    path = paths.omniglot_cache()
    packed = None if force else _packed_before(path)
    new = packed is None
    if packed is None:
        source = folder or download()
        with _progress() as progress:
            pack(source, to=path, progress=progress)
        packed = load(path)
    seconds = time.perf_counter() - began
    alphabets = sum(map(len, OMNIGLOT.values()))
    characters, drawings = packed.pixels.shape[:2]
    if as_json:
        emit(
            {
                "file": str(path),
                "packed_now": new,
                "alphabets": alphabets,
                "characters": characters,
                "drawings": characters * drawings,
                "sha256": packed.sha256,
                "seconds": seconds,
            }
        )
        return
    for line in (
        f"Packed in {seconds:.1f} s: {path}" if new else f"Already packed, and good (--force packs again): {path}",
        f"{characters:,} characters of {alphabets} alphabets, {characters * drawings:,} drawings",
        f"SHA-256 of the pixels {packed.sha256}",
    ):
        console().print(line, soft_wrap=True)


def _packed_before(path: Path) -> Omniglot | None:
    """What is packed already, if it can be used."""
    from metatui.learning.tasks.omniglot_data import load

    if not path.exists():
        return None
    try:
        return load(path)
    except BadInput as error:
        console(stderr=True).print(str(error), soft_wrap=True)
        return None


@contextmanager
def _progress() -> Iterator[OnProgress]:
    """A bar on standard error, or a line there for each tenth where nobody watches."""
    screen = console(stderr=True)
    if not screen.is_terminal or screen.is_dumb_terminal:
        said = 0

        def line(done: int, total: int) -> None:
            nonlocal said
            if 10 * done // total > said:
                said = 10 * done // total
                screen.print(f"packed {done:,} of {total:,} drawings", soft_wrap=True)

        yield line
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("packing drawings"), BarColumn(bar_width=30), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen) as bar:
        task = bar.add_task("packing", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
