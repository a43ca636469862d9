"""Tests of the paths of files and folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from metatui.utils import paths
from metatui.utils.errors import BadInput


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home folder, which is also the current folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("METATUI_RUNS", raising=False)
    for name in ("CONFIG", "DATA", "CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_runs_are_in_the_first_folder_that_is_given(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths.runs_dir() == home / "data" / "metatui" / "runs"
    monkeypatch.setenv("METATUI_RUNS", "~/mine")
    assert paths.runs_dir() == home / "mine"
    assert paths.runs_dir("others") == home / "others"


def test_files_are_in_the_folders_of_the_xdg_variables(home: Path) -> None:
    config, data, cache = (home / name / "metatui" for name in ("config", "data", "cache"))
    assert paths.user_presets_dir() == config / "presets"
    assert paths.app_state_file() == config / "app.toml"
    assert paths.keymap_file() == config / "keymap.toml"
    assert paths.omniglot_cache() == data / "data" / "omniglot.safetensors"
    assert paths.cifar100_cache() == data / "data" / "cifar100.safetensors"
    assert paths.packed_folders_dir() == cache / "folders"
    assert paths.compiled_dir() == cache / "compiled"
    assert paths.measured_engines_file() == cache / "engines.json"
    assert paths.downloads_dir() == cache / "downloads"
    assert paths.log_file().is_relative_to(home / "state" / "metatui")
    assert os.listdir(home) == []


def test_unknown_home_folder_is_bad_input() -> None:
    with pytest.raises(BadInput, match=r"^'~no-such-user/a' is in the home folder of an unknown user$"):
        paths.absolute("~no-such-user/a")


def test_shown_path_is_short_and_printable(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths.short(home / "a\nb") == "~/a b"
    assert paths.short(Path("/a\x1b")) == "/a�"
    assert paths.short(Path("/" + "x" * 998)) == "/" + "x" * 998

    def unknown() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", unknown)
    assert paths.short(home / "a") == str(home / "a")
