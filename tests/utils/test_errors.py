"""Tests of errors: their descriptions for other processes, and the parts of their sentences."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metatui.utils.errors import (
    BadInput,
    MetatuiError,
    Problem,
    SettingsError,
    class_and_message,
    did_you_mean,
    error_from_dict,
    error_to_dict,
    first_line,
    quote,
)


def test_quoted_values_are_printable() -> None:
    assert quote("a\nb\x1b[31m") == "'a�b�[31m'"
    assert len(quote("x" * 1000)) == 62
    assert quote(3) == "3"


@given(st.text(max_size=30), st.integers(1, 30))
@example("abc", 3)
@example("abc", 2)
def test_quoted_text_has_at_most_limit_characters(text: str, limit: int) -> None:
    quoted = quote(text, limit)
    assert quoted.isprintable()
    assert len(quoted) == min(len(text), limit) + 2
    if len(text) > limit:
        assert quoted.endswith("…'")
    elif text.isprintable():
        assert quoted == f"'{text}'"


@pytest.mark.parametrize(
    ("error", "line", "named"),
    [
        (RuntimeError("\n  no room\n  in line 3"), "no room", "RuntimeError: no"),
        (RuntimeError(" \n"), "RuntimeError", "RuntimeError"),
        (KeyboardInterrupt(), "KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_error_is_described_on_one_line(error: BaseException, line: str, named: str) -> None:
    assert first_line(error) == line
    assert class_and_message(error, 2) == named


@pytest.mark.parametrize(
    "error",
    [
        MetatuiError("the disk is full"),
        BadInput("there is no such run"),
        SettingsError([Problem("task.ways", "task.ways is 0"), Problem("task.shots", "task.shots is 0")], "a.toml"),
        SettingsError([Problem("task.ways", "task.ways is 0")]),
    ],
)
def test_error_of_another_process_is_equal(error: MetatuiError) -> None:
    received = error_from_dict(json.loads(json.dumps(error_to_dict(error))))
    assert type(received) is type(error)
    assert (str(received), received.exit_code, vars(received)) == (str(error), error.exit_code, vars(error))


@pytest.mark.parametrize(
    ("word", "options", "sentence"),
    [
        ("abcx", {}, "did you mean abce?"),
        ("abcx", {"most": 2}, "did you mean abce or abcd?"),
        ("ABCD", {"prefix": "--"}, "did you mean --abcd?"),
        ("axxd", {}, "there is none"),
        ("axxd", {"cutoff": 0.5}, "did you mean abcd?"),
        ("wxyz", {}, "did you mean w�yz?"),
    ],
)
def test_similar_names_are_suggested(word: str, options: dict[str, int], sentence: str) -> None:
    assert did_you_mean(word, iter(["abcd", "abce", "w\nyz"]), "there is none", **options) == sentence  # type: ignore[arg-type]
