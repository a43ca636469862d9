"""Fixture that reduces the duration of the tests in this folder."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def less_time(one_view: None) -> None:
    """Use the fixture `one_view` in all tests in this folder."""
