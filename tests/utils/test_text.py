"""Tests of preparing text for display."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metatui.utils.text import as_sentence, format_count, sanitize, wrap_text


@pytest.mark.parametrize("value", ["(p < 0.0001)", "p = 0.012", "95.0 ± 0.4 %", "95.0 +/- 0.4 %", "α = 0.1"])
def test_values_are_not_broken(value: str) -> None:
    for width in range(len(value), 60):
        lines = wrap_text(f"The mean of the runs is {value} on all of the tasks", width)
        assert max(map(len, lines)) <= width
        assert any(value in line for line in lines)


def test_values_that_do_not_fit_are_broken_between_words() -> None:
    assert wrap_text("algorithm.inner_lr = 0.01", 20) == ["algorithm.inner_lr =", "0.01"]


def test_options_of_textwrap_are_used() -> None:
    assert wrap_text("a seed", 4, initial_indent="- ", subsequent_indent="  ", break_long_words=False) == [
        "- a",
        "  seed",
    ]


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (0, "run", "0 runs"),
        (1, "run", "1 run"),
        (1200, "run", "1,200 runs"),
        (1, "class", "1 class"),
        (5, "class", "5 classes"),
        (1, "query", "1 query"),
        (1200, "test query", "1,200 test queries"),
    ],
)
def test_things_are_counted(count: int, noun: str, text: str) -> None:
    assert format_count(count, noun) == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("the run ended", "The run ended"),
        ("stopped, and saved", "Stopped, and saved"),
        ("note: it ended", "Note: it ended"),
        ("metatui cannot be started", "metatui cannot be started"),
        ("metatuis differ", "Metatuis differ"),
        ("task.shots is 0", "task.shots is 0"),
        ("a.toml: no such file", "a.toml: no such file"),
        ("maml-1 ended", "maml-1 ended"),
        ("", ""),
    ],
)
def test_sentence_begins_with_a_capital_letter_unless_with_a_name(text: str, sentence: str) -> None:
    assert as_sentence(text) == sentence


@given(st.text(max_size=30), st.integers(1, 30))
@example("abc", 3)
@example("abc", 2)
def test_sanitized_text_is_printable_and_short(text: str, limit: int) -> None:
    shown = sanitize(text, limit=limit)
    assert shown.isprintable()
    assert len(shown) == min(len(text), limit)
    if len(text) > limit:
        assert shown.endswith("…")
    elif text.isprintable():
        assert shown == text


def test_control_characters_are_replaced() -> None:
    assert sanitize("a\tb\nc\x1b[31m\ud800") == "a b c�[31m�"
