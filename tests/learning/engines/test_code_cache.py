"""Tests of the cache folder for compiled code."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metatui.learning.engines.code_cache import LONGEST, private_folder
from metatui.utils import paths


def test_folders_of_killed_compilations_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "compiled_dir", lambda: tmp_path)
    for name in ("tmp_old", "tmp_new"):
        (tmp_path / name).mkdir()
    (tmp_path / "function.pt2").touch()
    before = (tmp_path / "tmp_new").stat().st_mtime - LONGEST - 100
    for name in ("tmp_old", "function.pt2"):
        os.utime(tmp_path / name, (before, before))
    assert private_folder() == tmp_path
    assert sorted(path.name for path in tmp_path.iterdir()) == ["function.pt2", "tmp_new"]
