"""Tests of the command that lists the data sets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metatui.cli.main import main
from metatui.config.registry import DATA
from metatui.utils import paths


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Simulate a cache folder that contains CIFAR-100 but not Omniglot, and return its path."""
    (tmp_path / "cifar100.safetensors").touch()
    monkeypatch.setattr(paths, "cifar100_cache", lambda: tmp_path / "cifar100.safetensors")
    monkeypatch.setattr(paths, "omniglot_cache", lambda: tmp_path / "omniglot.safetensors")
    return tmp_path


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "list", "--json"]) == 0
    found = {each["name"]: each for each in json.loads(capsys.readouterr().out)["data_sets"]}
    assert tuple(found) == DATA.names()
    assert found["omniglot"] == {
        "name": "omniglot",
        "title": "Omniglot",
        "kind": "classification",
        "description": "Characters of 50 alphabets, each drawn by 20 people.",
        "missing": "metatui data omniglot",
    }
    assert found["fc100"]["missing"] is None
    assert all(each["description"].endswith(".") for each in found.values())
    assert main(["data", "list"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in found)
    assert out.count("run metatui data") == 1


def test_folder_that_cannot_be_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for cache in ("cifar100_cache", "omniglot_cache"):  # a name that is too long raises the same kind of error
        monkeypatch.setattr(paths, cache, lambda: tmp_path / ("x" * 300))
    missing = {DATA[name].missing() for name in ("omniglot", "fc100", "cifar_fs")}
    assert missing == {"metatui data omniglot", "metatui data cifar100"}
