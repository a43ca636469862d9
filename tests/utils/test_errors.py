"""Tests of error messages."""

from __future__ import annotations

from metatui.utils.errors import quote


def test_quoted_values_are_printable() -> None:
    assert quote("a\nb\x1b[31m") == "'a�b�[31m'"
    assert len(quote("x" * 1000)) == 62
    assert quote(3) == "3"
