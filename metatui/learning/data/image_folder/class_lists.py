"""Class lists: files that name the classes, or the images, of each split of a folder.

The lists are called `train`, `val` and `test`. Each list is a CSV file or a text file, as published by the authors of
miniImageNet (Ravi and Larochelle 2017) and of CIFAR-FS (Bertinetto et al. 2019). A CSV file has the column `label`, the
name of a class, and may have the column `filename`, an image of this class. A text file has one class name per line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from metatui.learning.data.episodes import SPLITS, Split
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import read_bounded
from metatui.utils.text import format_count, sanitize

_MAX_LIST = 64 * 1024 * 1024
"""Maximum size of a class list, in bytes."""


@dataclass(frozen=True)
class Entry:
    """One line of a class list."""

    place: str
    """Beginning of a message about the entry. It names the list and the line, as in
    `... whose train.csv lists, on line 2,`."""
    label: str
    """Name of the class."""
    filename: str | None
    """Path of an image of the class; None if the line selects the whole class."""


ClassLists = Mapping[Split, tuple[Entry, ...]]
"""Entries of the class list of each split. Either all entries name images, or all name whole classes."""


def find_lists(root: Path, name: str) -> Path | None:
    """Return the folder that contains class lists, or None if there are no class lists.

    This is `root`, its folder `splits` or a folder in `splits`, in this order of precedence.

    Raises:
        BadInput: if several subfolders of `splits` contain lists. The message starts with `name`.
    """
    folders = [path for path in (root, root / "splits") if path.is_dir()]
    for folder in folders:
        if _has_lists(folder):
            return folder
    if len(folders) < 2:
        return None
    below = sorted(path for path in folders[1].iterdir() if _has_lists(path))
    if len(below) > 1:
        several = ", ".join(quote(path.name) for path in below)
        raise BadInput(
            f"{name}, whose folder 'splits' contains several sets of class lists ({several}): keep one of them, or "
            "choose one with task.class_lists if task.source = 'folder'"
        )
    return below[0] if below else None


def read_lists(folder: Path, name: str) -> ClassLists:
    """Read and check the class lists in `folder`.

    Raises:
        BadInput: if a list is missing, cannot be read or contradicts another list. The message starts with `name`.
    """
    files = {split: _file(folder, split, name) for split in SPLITS}
    for split in ("train", "test"):
        if files[split] is None:
            raise BadInput(
                f"{name}, which has no {split}.csv or {split}.txt: it must have class lists for train, val and test, "
                "or for train and test"
            )
    for other in ("valid", "validation"):
        if not files["val"] and (misnamed := _file(folder, other, name)):
            raise BadInput(f"{name}, whose {misnamed.name} must be called val{misnamed.suffix}")
    lists = {split: tuple(_entries(file, name)) for split, file in files.items() if file is not None}
    _check_kinds(lists, name)
    _check_repetition(lists)
    return lists


def _has_lists(folder: Path) -> bool:
    return any((folder / f"{split}{suffix}").is_file() for split in ("train", "test") for suffix in (".csv", ".txt"))


def _file(folder: Path, split: str, name: str) -> Path | None:
    found = [path for suffix in (".csv", ".txt") if (path := folder / f"{split}{suffix}").is_file()]
    if len(found) == 2:
        raise BadInput(f"{name}, which has both {split}.csv and {split}.txt: keep one of them")
    return found[0] if found else None


def _entries(file: Path, name: str) -> Iterator[Entry]:
    whose = f"{name}, whose {file.name}"
    try:
        text = read_bounded(file, _MAX_LIST).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadInput(f"{whose} is not UTF-8 text") from None
    except BadInput as error:
        raise BadInput(f"{whose} cannot be read: {error}") from None
    if "\0" in text:
        raise BadInput(f"{whose} is not a text file")
    count = 0
    for line, label, filename in _csv_rows(text, whose) if file.suffix == ".csv" else _text_rows(text):
        place = f"{whose} lists, on line {line:,},"
        if label in (".", "..") or not label or "/" in label:
            raise BadInput(f"{place} the class {quote(label)}, which must be a name without '/'")
        count += 1
        yield Entry(place, label, filename)
    if not count:
        raise BadInput(f"{whose} lists no classes")


def _text_rows(text: str) -> Iterator[tuple[int, str, None]]:
    for line, label in enumerate(text.splitlines(), 1):
        if label.strip():
            yield line, label.strip(), None


def _csv_rows(text: str, whose: str) -> Iterator[tuple[int, str, str | None]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [column.strip().lower() for column in next(reader, [])]
        if "label" not in header:
            raise BadInput(f"{whose} must begin with a line of column names, 'filename,label' or 'label'")
        for row in reader:
            if not any(map(str.strip, row)):
                continue
            if len(row) != len(header):
                raise BadInput(
                    f"{whose} has {format_count(len(row), 'value')} on line {reader.line_num:,}, but must have "
                    f"{len(header)}"
                )
            cells = dict(zip(header, map(str.strip, row), strict=True))
            yield reader.line_num, cells["label"], cells.get("filename")
    except csv.Error as error:
        raise BadInput(f"{whose} is damaged on line {reader.line_num:,}: {sanitize(str(error))}") from None


def _check_kinds(lists: ClassLists, name: str) -> None:
    kinds = {split: "classes" if entries[0].filename is None else "images" for split, entries in lists.items()}
    for split, kind in kinds.items():
        if kind != kinds["train"]:
            raise BadInput(f"{name}, whose {split} list names {kind}, but whose train list names {kinds['train']}")


def _check_repetition(lists: ClassLists) -> None:
    """Raise BadInput if a class is in two splits, or if a whole class is listed twice."""
    split_of: dict[str, Split] = {}
    for split, entries in lists.items():
        for entry in entries:
            repeated = entry.label in split_of
            if (other := split_of.setdefault(entry.label, split)) != split:
                raise BadInput(
                    f"{entry.place} the class {quote(entry.label)}, which is also in the {other} list, but held-out "
                    "tasks need classes that training never uses"
                )
            if repeated and entry.filename is None:
                raise BadInput(f"{entry.place} the class {quote(entry.label)} again")
