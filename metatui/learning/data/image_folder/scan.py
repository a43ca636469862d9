"""What is in a folder of the user's own images: which classes, in which parts, and which files of each.

Nothing is opened here: a folder is counted before any of its images is read. Classes are the folders directly in the
root, or in the root's `train`, `val` and `test`; images are the files directly in a class folder.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from metatui.learning.data.episodes import SPLITS, Split
from metatui.utils import paths
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import reason
from metatui.utils.text import sanitize

SUFFIXES = (".png", ".jpg", ".jpeg")
MOST_FILES = 2_000_000
"""Files and folders that are counted before metatui gives up."""


@dataclass(frozen=True)
class ImageFile:
    """What a folder says of an image, unopened."""

    path: str
    """From the root, with slashes."""
    size: int
    """Bytes."""
    modified: int
    """Nanoseconds."""


@dataclass(frozen=True)
class ClassFolder:
    part: Split | None
    """Which of the root's parts it is in; None where the root has none."""
    name: str
    files: tuple[ImageFile, ...]


@dataclass(frozen=True)
class LeftOut:
    """A file or folder that no task shows."""

    path: str
    """From the root, with slashes."""
    why: str
    """Goes on after the path: `is damaged`."""

    def __str__(self) -> str:
        return f"{sanitize(self.path)} {self.why}"


@dataclass(frozen=True)
class Listing:
    """A folder of images, unopened."""

    root: Path
    """Without links."""
    classes: tuple[ClassFolder, ...]
    """By part, then by name."""
    left_out: tuple[LeftOut, ...]

    @cached_property
    def files(self) -> tuple[ImageFile, ...]:
        """All images, class by class."""
        return tuple(file for each in self.classes for file in each.files)

    def digest(self) -> str:
        """SHA-256 of every image's name, size and time: another one where any of them changed."""
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(os.fsencode(file.path) + f"\0{file.size} {file.modified}\n".encode())
        return digest.hexdigest()


def list_folder(folder: str) -> Listing:
    """What is in `folder`, the value of task.folder.

    Hidden files are passed over. What else cannot be an image of a class is left out: links that lead out of the
    folder, folders inside class folders, files of other kinds.

    Raises:
        BadInput: there is no such folder, it holds no images in class folders, or its parts are not whole.
    """
    name = f"task.folder is {quote(folder, 200)}"
    try:
        root = paths.expanded(folder).resolve(strict=True)
        if not root.is_dir():
            raise BadInput(f"{name}, which is not a folder")
        return _Walk(root, name).listing()
    except FileNotFoundError:
        raise BadInput(f"{name}, but there is no such folder") from None
    except OSError as error:
        raise BadInput(f"{name}, which cannot be read: {reason(error)}") from None
    except RuntimeError:  # what pathlib made of a loop of links until Python 3.13
        raise BadInput(f"{name}, which is a link to itself") from None
    except ValueError:  # a NUL in the name
        raise BadInput(f"{name}, which is not a possible name") from None


class _Walk:
    """One look through the folder `root`, called `name` in messages."""

    def __init__(self, root: Path, name: str) -> None:
        self._root = root
        self._name = name
        self._left_out: list[LeftOut] = []
        self._counted = 0
        self._empty = 0
        """Class folders without an image."""
        self._seen = {str(root): "the whole"}
        """Class folders, links followed, and the paths by which they were found."""

    def listing(self) -> Listing:
        folders = self._folders(self._root)
        names = {os.path.basename(path) for path in folders}
        if parts := self._parts(names):
            beside = [path for path in folders if os.path.basename(path) not in parts]
            for path in beside:
                self._leave_out(path, "is beside train and test")
            classes = [each for part in parts for each in self._classes(self._folders(self._root / part), part)]
            _refuse_shared(classes, self._name)
        else:
            classes = self._classes(folders, None)
        if not classes:
            raise BadInput(f"{self._name}, {self._what_is_missing()}")
        return Listing(self._root, tuple(classes), tuple(self._left_out))

    def _parts(self, names: set[str]) -> list[Split]:
        """The parts that the root has; empty where classes are to be split by chance."""
        validation = sorted(names & {"val", "valid", "validation"})
        missing = sorted({"train", "test"} - names)
        if len(missing) == 2 or (missing and not validation):
            return []  # one class may well be called train
        if missing:
            raise BadInput(
                f"{self._name}, which has the folder {validation[0]} but no {missing[0]}: it must have train, val and "
                "test, or train and test, or class folders only"
            )
        if validation and validation[0] != "val":
            raise BadInput(f"{self._name}, whose folder {validation[0]} must be called val")
        return [part for part in SPLITS if part in names]

    def _classes(self, folders: list[str], part: Split | None) -> list[ClassFolder]:
        classes = []
        for path in folders:
            where = os.path.realpath(path)
            if where in self._seen:
                self._leave_out(path, f"is the same folder as {sanitize(self._seen[where])}")
                continue
            self._seen[where] = self._below_root(path)
            try:
                files = tuple(self._images(path))
            except OSError as error:
                self._leave_out(path, f"cannot be read: {reason(error)}")
                continue
            if not files:
                self._empty += 1
                self._leave_out(path, "has no PNG or JPEG images")
                continue
            classes.append(ClassFolder(part, os.path.basename(path), files))
        return sorted(classes, key=lambda each: each.name)

    def _folders(self, parent: Path) -> list[str]:
        """The folders in `parent`, links last so that a folder goes before what leads to it."""
        found = []
        for entry in self._entries(parent):
            if self._leads_out(entry):
                continue
            if entry.is_dir():
                found.append(entry)
            elif _is_image(entry.name):
                self._leave_out(entry.path, "is in no class folder")
        return [entry.path for entry in sorted(found, key=lambda entry: (entry.is_symlink(), entry.name))]

    def _images(self, folder: str) -> Iterator[ImageFile]:
        for entry in self._entries(folder):
            if self._leads_out(entry):
                continue
            if entry.is_dir():
                self._leave_out(entry.path, "is a folder inside a class folder")
            elif not entry.is_file():
                self._leave_out(entry.path, "is not a file")
            elif not _is_image(entry.name):
                self._leave_out(entry.path, "is not called .png, .jpg or .jpeg")
            else:
                about = entry.stat()
                yield ImageFile(self._below_root(entry.path), about.st_size, about.st_mtime_ns)

    def _entries(self, folder: str | Path) -> list[os.DirEntry[str]]:
        """What is in `folder` and not hidden, by name."""
        found = []
        with os.scandir(folder) as entries:
            for entry in entries:
                self._counted += 1
                if self._counted > MOST_FILES:
                    raise BadInput(f"{self._name}, which holds more than {MOST_FILES:,} files and folders")
                if not entry.name.startswith(".") and entry.name != "__MACOSX":
                    found.append(entry)
        return sorted(found, key=lambda entry: entry.name)

    def _leads_out(self, entry: os.DirEntry[str]) -> bool:
        """Whether `entry` is a link that is not followed."""
        if not entry.is_symlink():
            return False
        target = os.path.realpath(entry.path)
        if not os.path.exists(target):
            self._leave_out(entry.path, "is a link to nothing")
        elif os.path.commonpath((target, self._root)) != str(self._root):
            self._leave_out(entry.path, "is a link that leaves the folder")
        else:
            return False
        return True

    def _leave_out(self, path: str, why: str) -> None:
        self._left_out.append(LeftOut(self._below_root(path), why))

    def _below_root(self, path: str) -> str:
        return os.path.relpath(path, self._root).replace(os.sep, "/")

    def _what_is_missing(self) -> str:
        """Why there are no images; goes on after a comma."""
        whys = {each.why for each in self._left_out}
        if not self._empty:
            if "is in no class folder" in whys:
                return "which has images, but no class folders: put the images of each class into a folder of its own"
            return "which has no class folders"
        if "is a folder inside a class folder" in whys:
            return "whose folders hold folders but no images: the class folders must be directly in it"
        return f"whose {self._empty} class folders hold no PNG or JPEG images"


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


def _refuse_shared(classes: list[ClassFolder], name: str) -> None:
    """Held-out tasks must be of classes that training never sees."""
    parts: dict[str, Split | None] = {}
    for each in classes:
        if (before := parts.setdefault(each.name, each.part)) != each.part:
            raise BadInput(
                f"{name}, whose class {quote(each.name)} is in {before} and in {each.part}, but held-out tasks need "
                "classes that training never sees: put all class folders into one folder to have them split by class"
            )
