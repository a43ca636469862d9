"""Tests of the public API: every name has a docstring with a working example."""

from __future__ import annotations

import doctest
import pathlib

import pytest
import torch

import metatui

DOCUMENTED = [name for name in metatui.__all__ if name != "__version__"]


@pytest.mark.usefixtures("registries")
@pytest.mark.parametrize("name", DOCUMENTED)
def test_examples_work(name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("METATUI_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    finder = doctest.DocTestFinder(recurse=False)
    tests = finder.find(getattr(metatui, name), name, globs={"metatui": metatui, "torch": torch, "pathlib": pathlib})
    output: list[str] = []
    runner = doctest.DocTestRunner(verbose=False)
    results = [runner.run(test, out=output.append) for test in tests]
    assert sum(result.attempted for result in results) > 0, f"the docstring of metatui.{name} has no example"
    assert "".join(output) == ""


def test_type_hints_are_shipped() -> None:
    assert pathlib.Path(metatui.__file__).with_name("py.typed").is_file()
