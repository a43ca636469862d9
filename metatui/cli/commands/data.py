"""`metatui data`: download and pack data sets."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metatui.cli.console.output import below, console, emit
from metatui.cli.console.progress import images_shown, packing_shown
from metatui.cli.options import changes, json_option, set_option
from metatui.config.fields import FIELDS, change
from metatui.config.settings import Settings
from metatui.utils import paths
from metatui.utils.errors import BadInput

if TYPE_CHECKING:
    from metatui.learning.data.omniglot.cache import Omniglot


@click.group()
def data() -> None:
    """Download and pack data sets."""


@data.command()
@click.option(
    "--from",
    "folder",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Folder with images_background and images_evaluation (zips or folders); default: download them.",
)
@click.option("--force", is_flag=True, help="Pack again even if the packed file is valid.")
@json_option
def omniglot(folder: Path | None, force: bool, as_json: bool) -> None:
    """Download and pack Omniglot, with its 1,623 handwritten characters."""
    from metatui.learning.data.omniglot.cache import load, pack
    from metatui.learning.data.omniglot.download import download
    from metatui.learning.data.omniglot.manifest import OMNIGLOT

    start = time.perf_counter()
    path = paths.omniglot_cache()
    packed = None if force else _load_packed(path)
    new = packed is None
    if packed is None:
        source = folder or download()
        with packing_shown("drawings") as progress:
            pack(source, to=path, progress=progress)
        packed = load(path)
    seconds = time.perf_counter() - start
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
        f"Packed in {seconds:.1f} s: {path}" if new else f"Already packed (--force packs again): {path}",
        f"{characters:,} characters of {alphabets} alphabets, {characters * drawings:,} drawings",
        f"SHA-256 of the pixels {packed.sha256}",
    ):
        console().print(line, soft_wrap=True)


def _load_packed(path: Path) -> Omniglot | None:
    """Return the packed data set; None if there is no valid file."""
    from metatui.learning.data.omniglot.cache import load

    if not path.exists():
        return None
    try:
        return load(path)
    except BadInput as error:
        console(stderr=True).print(str(error), soft_wrap=True)
        return None


@data.command()
@click.argument("path")
@set_option
@click.option("--force", is_flag=True, help="Pack again even if the packed file is valid.")
@json_option
def folder(path: str, assignments: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Pack the images of PATH, which has a folder of PNG or JPEG images for each class, and summarise them.

    Classes may be in the folders train, val and test of PATH; otherwise they are split at random into 64, 16 and 20 %.
    Use --set to give task.image_size, task.image_mode and task.split_seed the values that the run will have.
    """
    folder_task = {"task.source": "folder", "task.folder": FIELDS["task.folder"].read(path)}
    task = change(Settings(), changes(assignments) | folder_task).task

    from metatui.learning.data.image_folder.cache import load
    from metatui.learning.data.image_folder.scan import list_folder
    from metatui.learning.data.image_folder.source import FolderSource, split_classes

    start = time.perf_counter()
    listing = list_folder(task.folder)
    with images_shown():
        packed = load(listing, size=task.image_size, rgb=task.image_mode == "rgb", force=force)
    splits = split_classes(listing.classes, task.split_seed)
    source = FolderSource(listing, packed, splits, device="cpu")
    seconds = time.perf_counter() - start
    if as_json:
        emit(
            {
                "folder": str(listing.root),
                "file": str(packed.path),
                "packed_now": packed.packed_now,
                "image_size": task.image_size,
                "image_mode": task.image_mode,
                "images": sum(source.counts),
                "classes": {
                    split: [{"name": listing.classes[n].name, "images": source.counts[n]} for n in numbers]
                    for split, numbers in splits.items()
                },
                "left_out": [{"path": each.path, "why": each.why} for each in source.left_out],
                "repeated": list(source.repeated),
                "sha256": packed.sha256,
                "seconds": seconds,
            }
        )
        return
    sizes = {split: len(numbers) for split, numbers in splits.items()}
    counts, ways = source.counts, min(sizes.values())
    how = f"Packed in {seconds:.1f} s" if packed.packed_now else "Already packed and unchanged"
    for line in (
        packed.problem or f"{how}: {packed.path}",
        f"Images: {sum(counts):,} of {task.image_size}x{task.image_size} pixels in {task.image_mode}, "
        f"{min(counts):,} to {max(counts):,} per class (shots + queries at most {min(counts):,})",
        f"Classes: {sizes['train']:,} for training, {sizes['val']:,} for validation, {sizes['test']:,} for test: "
        + (f"at most {ways:,} ways" if ways > 1 else "too few for 2 ways"),
        *source.repeated,
        f"Left out: {len(source.left_out):,}",
    ):
        console().print(line, soft_wrap=True)
    below(console(), map(str, source.left_out))
