"""The form's reading of its texts, without a widget."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metatui.config.fields import FIELDS, change, text_of
from metatui.config.settings import Settings
from metatui.tui.widgets.form.model import assess, texts_of


def test_what_is_shown_is_what_is_read() -> None:
    settings = change(Settings(), {"model.hidden": (64, 64, 32), "algorithm.inner_lr": 1e-3, "task.source": "omniglot"})
    assert assess(texts_of(settings)).settings == settings


@pytest.mark.parametrize("path", list(FIELDS))
def test_every_default_reads_back(path: str) -> None:
    assert FIELDS[path].read(text_of(FIELDS[path].default)) == FIELDS[path].default


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        ("task.shots", "1.5", "whole number"),
        ("task.shots", "1e3", "whole number"),
        ("task.shots", "", "whole number"),
        ("task.shots", "0", "from 1 to 1,000"),
        ("algorithm.inner_lr", "-1", "above 0"),
        ("algorithm.inner_lr", "nan", "above 0"),
        ("algorithm.inner_lr", "1e400", "above 0"),
        ("compute.device", "gpu", "cuda"),
        ("model.hidden", "40, x", "comma-separated"),
    ],
)
def test_a_wrong_field_says_what_is_allowed(path: str, text: str, said: str) -> None:
    found = assess({**texts_of(Settings()), path: text})
    assert found.settings is None
    assert list(found.problems) == [path]
    assert said in found.problems[path]


def test_what_cannot_be_together_is_said_at_the_field_to_change() -> None:
    omniglot = texts_of(change(Settings(), {"task.source": "omniglot"}))
    found = assess({**omniglot, "task.shots": "15"})
    assert "20" in found.problems["task.shots"]
    assert found.settings is None


def test_a_field_that_does_not_matter_is_neither_shown_nor_wrong() -> None:
    found = assess({**texts_of(Settings()), "task.ways": "nonsense", "algorithm.inner_optimizer": "adam"})
    assert found.problems == {}
    assert found.settings is not None
    assert found.settings.algorithm.inner_optimizer == "sgd"
    assert "task.ways" not in found.visible
    assert "task.ways" in assess({**texts_of(Settings()), "task.source": "glyphs"}).visible


def test_a_path_is_meant_from_where_it_is_typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    texts = {**texts_of(Settings()), "task.source": "folder"}
    assert "path of a folder of images" in assess(texts).problems["task.folder"]
    for typed, meant in (("images", tmp_path / "images"), ("~/images", "/home/someone/images"), ("/images", "/images")):
        found = assess({**texts, "task.folder": typed})
        assert found.problems == {}
        assert found.settings is not None
        assert found.settings.task.folder == str(meant)
        assert {"task.folder", "task.image_size", "task.image_mode", "task.split_seed"} <= found.visible


@given(st.dictionaries(st.sampled_from(sorted(FIELDS)), st.text(max_size=12), max_size=6))
def test_no_text_breaks_the_form(typed: dict[str, str]) -> None:
    texts = texts_of(Settings())
    texts |= {path: text for path, text in typed.items() if FIELDS[path].kind not in ("choice", "bool")}
    found = assess(texts)
    assert (found.settings is None) == bool(found.problems)
    assert set(found.problems) <= found.visible
