"""Tests of reading files up to a limit, and of writing them atomically."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from metatui.utils import files
from metatui.utils.errors import BadInput
from metatui.utils.files import (
    NotAFileError,
    WriteRefusedError,
    make_own_folder,
    open_regular,
    read_bounded,
    reason,
    remove_leftovers,
    replacing,
    sync_directory,
    write_atomically,
)


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """Return the path of a file with the content `old`, and check that the test leaves no file open."""
    before = open_files()
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    yield path
    assert open_files() <= before


def open_files() -> set[int]:
    handles = set()
    for handle in range(200):
        with suppress(OSError):
            os.fstat(handle)
            handles.add(handle)
    return handles


def fail_in(monkeypatch: pytest.MonkeyPatch, name: str, number: int = errno.EIO) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, name, fail)


def test_reason_without_an_error_number() -> None:
    assert reason(OSError("Timed out")) == "timed out"


@pytest.mark.parametrize(
    ("number", "passing"),
    [
        *((number, True) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)),
        *((number, True) for number in (errno.EACCES, errno.EPERM, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN)),
        *((number, True) for number in (errno.ENOTCONN, errno.ENOLCK, errno.ENFILE, errno.EMFILE, errno.ENOMEM)),
        *((number, False) for number in (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG)),
    ],
    ids=str,
)
def test_errors_that_may_pass(number: int, passing: bool, path: Path) -> None:
    assert WriteRefusedError(path, OSError(number, os.strerror(number))).is_temporary is passing


@pytest.mark.parametrize("limit", [3, 4])
def test_file_is_read_up_to_the_limit(limit: int, path: Path) -> None:
    assert read_bounded(path, limit) == b"old"
    with pytest.raises(BadInput, match=r"a\.txt' is too large: at most 2 bytes are read"):
        read_bounded(path, 2)


@pytest.mark.parametrize("size", [0, 2])
def test_file_that_grows_is_read_up_to_the_limit(size: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fstat = os.fstat

    def smaller(handle: int) -> os.stat_result:
        status = fstat(handle)
        return os.stat_result((*status[:6], size, *status[7:])) if stat.S_ISREG(status.st_mode) else status

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", smaller)
        assert read_bounded(path, 3) == b"old"
        with pytest.raises(BadInput, match=r"a\.txt' grew while it was being read"):
            read_bounded(path, 2)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("none", "none': there is no such file"),
        (".", "' is not a file"),
        ("a.txt/b", "b' cannot be read: not a directory"),
        ("a\0b", "a�b' is not a valid file name"),
    ],
)
def test_unreadable_file_is_bad_input(name: str, sentence: str, path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        read_bounded(path.parent / name, 10)
    assert str(caught.value).endswith(sentence)


def test_file_larger_than_memory_is_bad_input(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise MemoryError

    monkeypatch.setattr(files, "open_regular", fail)
    with pytest.raises(BadInput, match=r"a\.txt' is too large for this machine's memory"):
        read_bounded(path, 10)


def test_pipe_is_not_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(path.with_name("pipe"))
    monkeypatch.setattr(os, "open", lambda *_: pytest.fail("the pipe was opened"))
    with pytest.raises(NotAFileError):
        open_regular(path.with_name("pipe"))


def test_folder_that_replaces_a_file_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = path.stat()
    monkeypatch.setattr(os, "stat", lambda *_, **__: status)
    with pytest.raises(NotAFileError):
        open_regular(path.parent)


def replace_all(path: Path, data: bytes) -> None:
    with replacing(path) as file:
        file.write(data)


WRITERS = pytest.mark.parametrize("write", [write_atomically, replace_all])


@WRITERS
def test_file_is_replaced(write: Callable[[Path, bytes], None], path: Path) -> None:
    os.umask(mask := os.umask(0))
    leftover = path.with_name(f".a.txt.{os.getpid()}.tmp")
    leftover.write_bytes(b"a longer text of an interrupted write by a process with the same id")
    leftover.chmod(0o666 & ~mask)
    write(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask
    write(path.parent / "b" / "c" / "d.txt", b"new")
    assert (path.parent / "b" / "c" / "d.txt").read_bytes() == b"new"
    assert sorted(os.listdir(path.parent)) == ["a.txt", "b"]
    assert stat.S_IMODE((path.parent / "b" / "c" / "d.txt").stat().st_mode) == 0o666 & ~mask


@WRITERS
def test_file_is_on_disk_before_it_replaces_another(
    write: Callable[[Path, bytes], None], path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []
    replace = os.replace

    def fsync(handle: int) -> None:
        status = os.fstat(handle)
        done.append("folder" if stat.S_ISDIR(status.st_mode) else status.st_size)

    def replaced(source: Path, target: Path) -> None:
        done.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replaced)
    write(path, b"a new text")
    assert done == [10, "replace", "folder"]


def test_data_are_written_in_several_calls_if_necessary(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:3]))
    write_atomically(path, b"a new text")
    assert path.read_bytes() == b"a new text"


@WRITERS
@pytest.mark.parametrize("step", ["open", "fsync", "replace"])
def test_failed_write_keeps_the_old_file(
    write: Callable[[Path, bytes], None], step: str, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail_in(patch, step)
        with pytest.raises(WriteRefusedError, match=r"a\.txt' cannot be written: input/output error"):
            write(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["a.txt"]


def test_leftover_that_cannot_be_removed_does_not_hide_the_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_in(monkeypatch, "write", errno.ENOSPC)
    fail_in(monkeypatch, "unlink")
    with pytest.raises(WriteRefusedError, match=r"a\.txt' cannot be written: no space left on device"):
        write_atomically(path, b"new")


def test_interrupted_write_keeps_the_old_file(path: Path) -> None:
    def interrupt() -> None:
        with replacing(path) as file:
            file.write(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["a.txt"]


def test_own_folder_is_created_once(path: Path) -> None:
    for _ in range(2):
        make_own_folder(path.with_name("folder"))
    assert path.with_name("folder").is_dir()
    with pytest.raises(WriteRefusedError, match=r"a\.txt' cannot be written: file exists"):
        make_own_folder(path)


def test_only_leftovers_of_the_names_are_removed(tmp_path: Path) -> None:
    leftovers = {".a.json.1.tmp", ".a.json.4194304.tmp", ".b+c.77.tmp"}
    others = {
        "a.json", "a.json.1.tmp", ".a.json.tmp", ".a.json..tmp", ".a.json.x.tmp", ".a.json.12345678901.tmp",
        ".a.json.1.tmp~", ".a-json.1.tmp", ".bbc.77.tmp", ".d.json.1.tmp",
    }  # fmt: skip
    for name in leftovers | others:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, ["a.json", "b+c"])
    assert set(os.listdir(tmp_path)) == others


def test_leftover_in_a_folder_that_cannot_be_read_is_reported(path: Path) -> None:
    with pytest.raises(WriteRefusedError, match=r"a\.txt' cannot be written: not a directory"):
        remove_leftovers(path, ["a.json"])


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP])
def test_folder_that_cannot_be_synced_is_accepted(number: int, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_in(monkeypatch, "fsync", number)
    sync_directory(path.parent)


def test_failed_sync_of_a_folder_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_in(monkeypatch, "fsync")
    with pytest.raises(OSError, match=re.escape(os.strerror(errno.EIO))):
        sync_directory(path.parent)
