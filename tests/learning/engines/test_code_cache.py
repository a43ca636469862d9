"""Tests of the cache folder for compiled code."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metatui.learning.engines.code_cache import MAX_AGE_SECONDS, private_folder, untrusted
from metatui.utils import paths


def test_folders_of_killed_compilations_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "compiled_dir", lambda: tmp_path)
    for name in ("tmp_old", "tmp_new"):
        (tmp_path / name).mkdir()
    (tmp_path / "function.pt2").touch()
    before = (tmp_path / "tmp_new").stat().st_mtime - MAX_AGE_SECONDS - 100
    for name in ("tmp_old", "function.pt2"):
        os.utime(tmp_path / name, (before, before))
    assert private_folder() == tmp_path
    assert sorted(path.name for path in tmp_path.iterdir()) == ["function.pt2", "tmp_new"]


def test_code_that_others_could_have_written_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "compiled"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setattr(paths, "compiled_dir", lambda: folder)
    private_folder()
    code, elsewhere, link = folder / "code.so", tmp_path / "code.so", folder / "link.so"
    for path in (code, elsewhere):
        path.touch(mode=0o600)
    link.symlink_to(elsewhere)
    assert untrusted(code) == ""
    assert untrusted(link) == f"{link} is a link"
    assert untrusted(elsewhere) == f"compiled functions are only loaded from {folder}"
    for path, allowed in ((code, 0o600), (folder, 0o700)):
        path.chmod(allowed | 0o020)
        assert untrusted(code) == f"{path} is writable by other users"
        path.chmod(allowed)
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    assert untrusted(code) == f"{folder} belongs to another user"
