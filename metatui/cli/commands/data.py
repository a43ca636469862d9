"""`metatui data`: list, download and pack data sets."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from metatui.cli.console.layout import say, show_table
from metatui.cli.console.output import console, emit
from metatui.cli.console.progress import images_shown, packing_shown
from metatui.cli.options import FilePath, examples, json_option, parse_settings, set_option
from metatui.config.fields import FIELDS, change
from metatui.config.registry import DATA
from metatui.config.settings import Settings
from metatui.utils import paths
from metatui.utils.errors import BadInput, quote

if TYPE_CHECKING:
    from torch import Tensor

F = TypeVar("F", bound=Callable[..., Any])


@click.group(
    invoke_without_command=True,
    epilog=examples(
        "metatui data # list the data sets",
        "metatui data omniglot # download and pack Omniglot",
    ),
)
@json_option
@click.pass_context
def data(context: click.Context, as_json: bool) -> None:
    """List, download and pack data sets. Without a command, the data sets are listed."""
    if context.invoked_subcommand is None:
        _list(as_json)
    elif as_json:
        raise click.UsageError(f"--json must come after '{context.invoked_subcommand}'")


@data.command(
    "list",
    epilog=examples(
        "metatui data list",
    ),
)
@json_option
def list_data(as_json: bool) -> None:
    """List the data sets, including those of plugins."""
    _list(as_json)


def _list(as_json: bool) -> None:
    found = [
        {
            "name": each.name,
            "title": each.title,
            "kind": each.kind,
            "description": each.description(),
            "missing": each.missing() or None,
        }
        for each in DATA.components()
    ]
    if as_json:
        emit({"data_sets": found})
        return
    rows = (
        (each["name"], each["kind"], f"run {each['missing']}" if each["missing"] else "ready", each["description"])
        for each in found
    )
    show_table(console(), ("data set", "kind", "data", "description"), rows)


def _published(*, contents: str) -> Callable[[F], F]:
    """Return a decorator that adds the options shared by the commands that pack a published data set."""

    def decorate(command: F) -> F:
        for option in (
            json_option,
            click.option("--force", is_flag=True, help="Pack again even if the packed file is valid."),
            click.option(
                "--from", "folder", type=FilePath(), metavar="PATH",
                help=f"Use {contents} in this folder instead of downloading the data.",
            ),
        ):  # fmt: skip
            command = option(command)
        return command

    return decorate


@data.command(
    epilog=examples(
        "metatui data omniglot",
        "metatui data omniglot --from ~/downloads/omniglot",
    )
)
@_published(contents="images_background and images_evaluation (zips or folders)")
def omniglot(folder: Path | None, force: bool, as_json: bool) -> None:
    """Download and pack Omniglot: 1,623 handwritten characters."""
    from metatui.learning.data.omniglot.cache import load, pack
    from metatui.learning.data.omniglot.download import download
    from metatui.learning.data.omniglot.manifest import OMNIGLOT

    def build(source: Path) -> None:
        with packing_shown("drawings") as progress:
            pack(source, to=path, progress=progress)

    path = paths.omniglot_cache()
    pixels, report = _packed(path, folder, force, download, build, load)
    alphabets = sum(map(len, OMNIGLOT.values()))
    characters, drawings = pixels.shape[:2]
    report |= {"alphabets": alphabets, "characters": characters, "drawings": characters * drawings}
    summary = f"{characters:,} characters of {alphabets} alphabets, {characters * drawings:,} drawings"
    _report_packed(report, summary, as_json)


@data.command(
    epilog=examples(
        "metatui data cifar100",
        "metatui data cifar100 --from ~/downloads",
    )
)
@_published(contents="cifar-100-python.tar.gz or the unpacked folder cifar-100-python")
def cifar100(folder: Path | None, force: bool, as_json: bool) -> None:
    """Download and pack CIFAR-100, the source of FC100 and CIFAR-FS."""
    from metatui.learning.data.cifar100.cache import download, load, pack

    pixels, report = _packed(paths.cifar100_cache(), folder, force, download, pack, load)
    classes, images = pixels.shape[:2]
    report |= {"classes": classes, "images": classes * images}
    _report_packed(report, f"{classes:,} classes, {classes * images:,} images", as_json)


def _packed(
    path: Path,
    folder: Path | None,
    force: bool,
    download: Callable[[], Path],
    build: Callable[[Path], None],
    read: Callable[[], tuple[Tensor, str]],
) -> tuple[Tensor, dict[str, object]]:
    """Pack a published data set if necessary. Returns the images and the report that the command prints."""
    start = time.perf_counter()
    packed = None
    if os.path.exists(path) and not force:
        try:
            packed = read()
        except BadInput as error:
            say(console(stderr=True), str(error))
    new = packed is None
    if packed is None:
        build(folder or download())
        packed = read()
    pixels, sha256 = packed
    seconds = time.perf_counter() - start
    return pixels, {"file": str(path), "packed_now": new, "sha256": sha256, "seconds": seconds}


def _report_packed(report: dict[str, object], summary: str, as_json: bool) -> None:
    if as_json:
        emit(report)
        return
    seconds, path = report["seconds"], report["file"]
    how = f"Packed in {seconds:.1f} s" if report["packed_now"] else "Already packed (use --force to pack again)"
    say(console(), f"{how}: {path}", summary, f"SHA-256 of the pixels: {report['sha256']}")


@data.command(
    epilog=examples(
        "metatui data folder ~/images --set task.image_size=84",
        "metatui data folder ~/images --set folder.val_fraction=0.3",
    )
)
@click.argument("path")
@set_option
@click.option("--force", is_flag=True, help="Pack again even if the packed file is valid.")
@json_option
def folder(path: str, assignments: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Pack the images in the folder PATH and print a summary.

    PATH contains a folder of PNG or JPEG images for each class. The class folders may be in the subfolders train, val
    and test of PATH, or the classes may be listed in files train.csv, val.csv and test.csv (or .txt) in PATH.
    Otherwise, 64, 16 and 20 % of the classes are drawn at random for training, validation and testing. Use --set to
    give task.image_size, task.image_mode, task.split_seed, folder.val_fraction and folder.test_fraction the same values
    as for training.
    """
    folder_task = {"task.source": "folder", "task.folder": FIELDS["task.folder"].read(path)}
    settings = change(Settings(), parse_settings(assignments) | folder_task)
    task = settings.task

    from metatui.learning.data.image_folder.cache import load
    from metatui.learning.data.image_folder.scan import list_folder
    from metatui.learning.data.image_folder.source import (
        FolderSource,
        max_ways_of_split,
        shares_of,
        split_classes,
        too_few_classes,
    )

    start = time.perf_counter()
    listing = list_folder(task.folder, task.class_lists)
    with images_shown():
        packed = load(listing, size=task.image_size, rgb=task.image_mode == "rgb", force=force)
    splits = split_classes(listing.classes, task.split_seed, shares_of(settings))
    source = FolderSource(listing, packed, splits, device="cpu")
    seconds = time.perf_counter() - start
    sizes = {split: len(numbers) for split, numbers in splits.items()}
    ways = min(sizes.values())
    unusable = f"a task has at least 2 ways, but {too_few_classes(2, settings, listing, splits)}" if ways < 2 else ""
    if as_json:
        emit(
            {
                "folder": str(listing.root),
                "file": str(packed.path),
                "packed_now": packed.packed_now,
                "image_size": task.image_size,
                "image_mode": task.image_mode,
                "images": sum(source.counts),
                "squeezed": packed.squeezed,
                "classes": {
                    split: [{"name": listing.classes[n].name, "images": source.counts[n]} for n in numbers]
                    for split, numbers in splits.items()
                },
                "class_lists": str(listing.lists) if listing.lists else None,
                "left_out": [{"path": each.path, "why": each.why} for each in source.left_out],
                "repeated": list(source.repeated),
                "sha256": packed.sha256,
                "seconds": seconds,
            }
        )
        if unusable:
            raise BadInput(unusable)
        return
    counts = source.counts
    fewest, most = min(counts), max(counts)
    smallest = sorted(zip(counts, listing.classes, strict=True), key=lambda each: each[0])[:3]
    few = ", ".join(f"{quote(each.name)} ({count:,})" for count, each in smallest)
    possible_ways, share = max_ways_of_split(len(counts), task.ways) if listing.classes[0].split is None else (0, 0.0)
    fractions = f"--set folder.val_fraction={share:g} --set folder.test_fraction={share:g}"
    how = f"Packed in {seconds:.1f} s" if packed.packed_now else "Already packed and unchanged"
    say(
        console(),
        packed.problem or f"{how}: {packed.path}",
        f"Images: {sum(counts):,} of {task.image_size}x{task.image_size} pixels in {task.image_mode}, "
        f"{f'{fewest:,} to {most:,}' if fewest < most else f'{most:,}'} per class (so shots + queries is at most "
        f"{fewest:,})",
        *([f"Classes with the fewest images: {few}"] if fewest < most else []),
        *(
            [f"Images that are not square and are squeezed into squares: {packed.squeezed:,}"]
            if packed.squeezed
            else []
        ),
        f"Classes: {sizes['train']:,} for training, {sizes['val']:,} for validation, {sizes['test']:,} for testing, "
        + (f"so at most {ways:,} ways" if ways > 1 else "too few for 2 ways"),
        *([f"With {fractions}: at most {possible_ways:,} ways"] if possible_ways > ways else []),
        *([f"Class lists: {listing.lists}"] if listing.lists else []),
        *source.repeated,
        f"Files and folders left out: {len(source.left_out):,}",
    )
    say(console(), *map(str, source.left_out), style="dim", indent=4)
    if unusable:
        raise BadInput(unusable)
