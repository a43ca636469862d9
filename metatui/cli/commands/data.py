"""`metatui data`: data sets, fetched and packed."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from metatui.cli.console.output import below, console, emit
from metatui.cli.console.pack_progress import images_shown, packing_shown
from metatui.cli.options import changes, json_option, set_option
from metatui.config.fields import FIELDS, change
from metatui.config.settings import Settings
from metatui.utils import paths
from metatui.utils.errors import BadInput

if TYPE_CHECKING:
    from metatui.learning.data.omniglot.cache import Omniglot


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
    from metatui.learning.data.omniglot.cache import load, pack
    from metatui.learning.data.omniglot.download import download
    from metatui.learning.data.omniglot.manifest import OMNIGLOT

    began = time.perf_counter()
    path = paths.omniglot_cache()
    packed = None if force else _packed_before(path)
    new = packed is None
    if packed is None:
        source = folder or download()
        with packing_shown("drawings") as progress:
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
@click.option("--force", is_flag=True, help="Pack again even where what is packed is good.")
@json_option
def folder(path: str, assignments: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Pack the images of PATH, a folder with a folder of PNG or JPEG images for each class, and say what is in it.

    Classes may be in folders train, val and test of PATH; else they are split by chance, 64, 16 and 20 %. Give
    task.image_size, task.image_mode and task.split_seed by --set as the run will have them.
    """
    chosen = {"task.source": "folder", "task.folder": FIELDS["task.folder"].read(path)}
    task = change(Settings(), changes(assignments) | chosen).task

    from metatui.learning.data.image_folder.cache import load
    from metatui.learning.data.image_folder.scan import list_folder
    from metatui.learning.data.image_folder.source import FolderSource, split_classes

    began = time.perf_counter()
    listing = list_folder(task.folder)
    with images_shown():
        packed = load(listing, size=task.image_size, rgb=task.image_mode == "rgb", force=force)
    splits = split_classes(listing.classes, task.split_seed)
    source = FolderSource(listing, packed, splits, device="cpu")
    seconds = time.perf_counter() - began
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
    kept = f"Packed in {seconds:.1f} s" if packed.packed_now else "Already packed, and nothing changed since"
    for line in (
        packed.problem or f"{kept}: {packed.path}",
        f"Images: {sum(counts):,} of {task.image_size}x{task.image_size} pixels in {task.image_mode}, "
        f"{min(counts):,} to {max(counts):,} of a class: shots and queries together up to {min(counts):,}",
        f"Classes: {sizes['train']:,} for training, {sizes['val']:,} for validation, {sizes['test']:,} for test: "
        + (f"ways up to {ways:,}" if ways > 1 else "too few for two ways"),
        *source.repeated,
        f"Left out: {len(source.left_out):,}",
    ):
        console().print(line, soft_wrap=True)
    below(console(), map(str, source.left_out))
