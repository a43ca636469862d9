"""Classes and splits of a folder of images, and the files of each class. No image is opened.

Classes are the folders directly in the root, or directly in its folders `train`, `val` and `test`. Images are the files
directly in a class folder. Class lists may define the classes and their images instead.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from metatui.learning.data.episodes import SPLITS, Split
from metatui.learning.data.image_folder.class_lists import ClassLists, Entry, find_lists, read_lists
from metatui.utils import paths
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import reason
from metatui.utils.text import sanitize

SUFFIXES = (".png", ".jpg", ".jpeg")
MAX_FILES = 2_000_000
"""Largest number of files and folders that are scanned."""


@dataclass(frozen=True)
class ImageFile:
    path: str
    """Path relative to the root, with forward slashes."""
    size: int
    """Size in bytes."""
    modified: int
    """Time of the last modification, in nanoseconds since the epoch."""


@dataclass(frozen=True)
class ClassFolder:
    split: Split | None
    """Split of this class according to its split folder or its class list; None if the root has no splits."""
    name: str
    files: tuple[ImageFile, ...]


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that no task uses."""

    path: str
    """Path relative to the root, with forward slashes."""
    why: str
    """Reason for leaving the file out, as the rest of a sentence that starts with the path, such as `is damaged`."""

    def __str__(self) -> str:
        return f"{sanitize(self.path)} {self.why}"


@dataclass(frozen=True)
class Listing:
    """The contents of a folder of images."""

    root: Path
    """Resolved path of the folder."""
    classes: tuple[ClassFolder, ...]
    """Classes, sorted by split and then by name."""
    left_out: tuple[LeftOut, ...]
    lists: Path | None = None
    """Folder of the class lists; None if class lists are not used."""

    @cached_property
    def files(self) -> tuple[ImageFile, ...]:
        """All images, grouped by class."""
        return tuple(file for folder in self.classes for file in folder.files)

    def digest(self) -> str:
        """Return the SHA-256 of the names, sizes and modification times of all images."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(os.fsencode(file.path) + f"\0{file.size} {file.modified}\n".encode())
        return digest.hexdigest()


def list_folder(folder: str, class_lists: str = "", *, setting: str = "task.folder is") -> Listing:
    """List the images in `folder` by class. Error messages begin with `setting` and the folder.

    If the setting task.class_lists, given as `class_lists`, names a folder, the class lists in that folder define the
    splits. If `class_lists` is empty, the splits are defined by the folders `train`, `val` and `test`, or else by class
    lists in `folder`. Without any of these, the classes have no split.

    Hidden files are skipped. Everything else that is not an image of a class is listed as left out: links out of
    the folder, folders inside class folders, and files of other types.

    Raises:
        BadInput: if the folder does not exist, contains no class folders with images, or lacks a split, or if its class
            lists are invalid.
    """
    name = f"{setting} {quote(folder, 200)}"
    try:
        root = paths.expanded(folder).resolve(strict=True)
        if not root.is_dir():
            raise BadInput(f"{name}, which is not a folder")
        scanner = _Scanner(root, name)
        if class_lists:
            return scanner.scan_lists(paths.expanded(class_lists), f"task.class_lists is {quote(class_lists, 200)}")
        return scanner.scan()
    except FileNotFoundError:
        raise BadInput(f"{name}, but there is no such folder") from None
    except OSError as error:
        raise BadInput(f"{name}, which cannot be read: {reason(error)}") from None
    except RuntimeError:  # raised by pathlib for a loop of links before Python 3.13
        raise BadInput(f"{name}, which is a link to itself") from None
    except ValueError:  # a NUL in the name
        raise BadInput(f"{name}, which is not a valid path") from None


class _Scanner:
    """One scan of the folder `root`. Error messages start with `name`, which names this folder."""

    def __init__(self, root: Path, name: str) -> None:
        self._root = root
        self._name = name
        self._left_out: list[LeftOut] = []
        self._count = 0
        self._empty = 0
        """Number of class folders without images."""
        self._listed = {str(root): "the whole folder"}
        """Names of the folders found so far, keyed by resolved path. Further links to these folders are left out."""
        self._images_in: dict[str, dict[str, ImageFile]] = {}
        """Images in the folders that class lists refer to, keyed by folder and file name."""

    def scan(self) -> Listing:
        folders = self._subfolders(self._root)
        names = {os.path.basename(path) for path in folders}
        if splits := self._splits(names):
            for path in folders:
                if os.path.basename(path) not in splits:
                    self._leave_out(path, "is not in the folder of a split")
            classes = [c for split in splits for c in self._classes(self._subfolders(self._root / split), split)]
            _check_disjoint(classes, self._name)
        elif lists := find_lists(self._root, self._name):
            self._left_out.clear()
            return self.scan_lists(lists, self._name)
        else:
            classes = self._classes(folders, None)
        if not classes:
            raise BadInput(f"{self._name}, {self._what_is_missing()}")
        return Listing(self._root, tuple(classes), tuple(self._left_out))

    def scan_lists(self, folder: Path, name: str) -> Listing:
        """List the classes in the class-list files of `folder`. Error messages about these files start with `name`."""
        lists = read_lists(folder, name)
        of_images = lists["train"][0].filename is not None
        classes = tuple(self._listed_images(lists) if of_images else self._listed_classes(lists))
        return Listing(self._root, classes, tuple(self._left_out), folder)

    def _listed_classes(self, lists: ClassLists) -> Iterator[ClassFolder]:
        """Yield the classes in `lists`, whose entries name whole classes.

        The class folders are in the root, in `data` or in `images`.
        """
        first = lists["train"][0].label
        base = next((base for base in ("", "data", "images") if (self._root / base / first).is_dir()), "")
        for split, entries in lists.items():
            for entry in sorted(entries, key=lambda entry: entry.label):
                folder = self._root / base / entry.label
                self._check_inside(folder)
                found = self._classes([str(folder)], split)
                if not found:
                    raise BadInput(f"{entry.place} the class {quote(entry.label)}, but {self._left_out[-1]}")
                yield from found

    def _listed_images(self, lists: ClassLists) -> Iterator[ClassFolder]:
        """Yield the classes in `lists`, whose entries name images.

        The images are in `images`, in `data` or in the root: either directly, or in a folder for each class.
        """
        layouts = [(base, labelled) for base in ("images", "data", "") for labelled in (False, True)]
        first = lists["train"][0]
        layout = next((layout for layout in layouts if self._listed_image(first, *layout)), layouts[0])
        label_of: dict[str, str] = {}
        for split, entries in lists.items():
            files: dict[str, list[ImageFile]] = {}
            for entry in entries:
                image = self._listed_image(entry, *layout)
                if image is None:
                    raise BadInput(f"{entry.place} the image {quote(entry.filename)}, but there is no such image")
                if image.path in label_of:
                    other = label_of[image.path]
                    labels = (
                        ""
                        if other == entry.label
                        else f", first in the class {quote(other)} and then in {quote(entry.label)}"
                    )
                    raise BadInput(f"{entry.place} the image {quote(entry.filename)} again{labels}")
                label_of[image.path] = entry.label
                files.setdefault(entry.label, []).append(image)
            for label in sorted(files):
                yield ClassFolder(split, label, tuple(sorted(files[label], key=lambda image: image.path)))

    def _listed_image(self, entry: Entry, base: str, labelled: bool) -> ImageFile | None:
        filename = entry.filename or ""
        path = PurePosixPath(base, entry.label if labelled else "", filename)
        if not filename or path.is_absolute() or ".." in path.parts:
            raise BadInput(f"{entry.place} the image {quote(filename)}, which must be a path inside the folder")
        if not _is_image(filename):
            raise BadInput(f"{entry.place} the image {quote(filename)}, which does not end in .png, .jpg or .jpeg")
        parent = str(path.parent)
        if parent not in self._images_in:
            self._images_in[parent] = dict(self._images_by_name(self._root / parent))
        return self._images_in[parent].get(path.name)

    def _images_by_name(self, folder: Path) -> Iterator[tuple[str, ImageFile]]:
        """Yield the images directly in `folder`, if it exists."""
        if not folder.is_dir():
            return
        self._check_inside(folder)
        for entry in self._entries(folder):
            if _is_image(entry.name) and entry.is_file():
                yield entry.name, self._image_file(entry)

    def _check_inside(self, folder: Path) -> None:
        if not Path(os.path.realpath(folder)).is_relative_to(self._root):
            where = quote(self._relative(str(folder)))
            raise BadInput(f"{self._name}, whose folder {where} is a link to a place outside the data folder")

    def _splits(self, names: set[str]) -> list[Split]:
        """Return the splits for which the root has a folder, or an empty list if there are no split folders."""
        validation = sorted(names & {"val", "valid", "validation"})
        missing = sorted({"train", "test"} - names)
        if len(missing) == 2 or (missing and not validation):
            return []  # a class may be called train
        if missing:
            raise BadInput(
                f"{self._name}, which has the folder {validation[0]} but no {missing[0]}: it must have train, val and "
                "test, or train and test, or only class folders"
            )
        if validation and validation[0] != "val":
            raise BadInput(f"{self._name}, whose folder {validation[0]} must be called val")
        return [split for split in SPLITS if split in names]

    def _classes(self, folders: list[str], split: Split | None) -> list[ClassFolder]:
        classes = []
        for path in folders:
            resolved = os.path.realpath(path)
            if resolved in self._listed:
                self._leave_out(path, f"is the same folder as {sanitize(self._listed[resolved])}")
                continue
            self._listed[resolved] = self._relative(path)
            try:
                files = tuple(self._images(path))
            except OSError as error:
                self._leave_out(path, f"cannot be read: {reason(error)}")
                continue
            if files:
                classes.append(ClassFolder(split, os.path.basename(path), files))
            else:
                self._empty += 1
                self._leave_out(path, "has no PNG or JPEG images")
        return sorted(classes, key=lambda folder: folder.name)

    def _subfolders(self, parent: Path) -> list[str]:
        """Return the folders in `parent` sorted by name, then the links, so that folders precede the links to them."""
        folders = []
        for entry in self._entries(parent):
            if entry.is_dir():
                folders.append(entry)
            elif _is_image(entry.name):
                self._leave_out(entry.path, "is not in a class folder")
        return [entry.path for entry in sorted(folders, key=lambda entry: (entry.is_symlink(), entry.name))]

    def _images(self, folder: str) -> Iterator[ImageFile]:
        for entry in self._entries(folder):
            if entry.is_dir():
                self._leave_out(entry.path, "is a folder inside a class folder")
            elif not entry.is_file():
                self._leave_out(entry.path, "is not a file")
            elif not _is_image(entry.name):
                self._leave_out(entry.path, "does not end in .png, .jpg or .jpeg")
            else:
                yield self._image_file(entry)

    def _image_file(self, entry: os.DirEntry[str]) -> ImageFile:
        stat = entry.stat()
        return ImageFile(self._relative(entry.path), stat.st_size, stat.st_mtime_ns)

    def _entries(self, folder: str | Path) -> Iterator[os.DirEntry[str]]:
        """Yield the entries of `folder`, sorted by name.

        Hidden entries, broken links and links out of the root are skipped.
        """
        visible = []
        with os.scandir(folder) as entries:
            for entry in entries:
                self._count += 1
                if self._count > MAX_FILES:
                    raise BadInput(f"{self._name}, which contains more than {MAX_FILES:,} files and folders")
                if not entry.name.startswith(".") and entry.name != "__MACOSX":
                    visible.append(entry)
        for entry in sorted(visible, key=lambda entry: entry.name):
            target = os.path.realpath(entry.path) if entry.is_symlink() else None
            if target is None or (os.path.exists(target) and Path(target).is_relative_to(self._root)):
                yield entry
            else:
                broken = not os.path.exists(target)
                self._leave_out(
                    entry.path, "is a broken link" if broken else "is a link to a place outside the data folder"
                )

    def _leave_out(self, path: str, why: str) -> None:
        self._left_out.append(LeftOut(self._relative(path), why))

    def _relative(self, path: str) -> str:
        return os.path.relpath(path, self._root).replace(os.sep, "/")

    def _what_is_missing(self) -> str:
        """Explain why there are no classes, as a relative clause that follows the name of the folder."""
        reasons = {left_out.why for left_out in self._left_out}
        if self._empty and "is a folder inside a class folder" in reasons:
            return "whose folders contain folders but no images: use the folder that contains the class folders"
        if self._empty:
            folders = "only class folder contains" if self._empty == 1 else f"{self._empty} class folders contain"
            return f"whose {folders} no PNG or JPEG images"
        if "is not in a class folder" in reasons:
            return "which contains images, but no class folders: put the images of each class into a separate folder"
        return "which contains no class folders"


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _check_disjoint(classes: list[ClassFolder], name: str) -> None:
    """Raise BadInput if a class is in two splits: held-out tasks need classes that training never uses."""
    splits: dict[str, Split | None] = {}
    for folder in classes:
        if (other := splits.setdefault(folder.name, folder.split)) != folder.split:
            raise BadInput(
                f"{name}, whose class {quote(folder.name)} is in {other} and in {folder.split}, but held-out tasks "
                "need classes that training never uses: put all class folders into one folder to split them by class"
            )
