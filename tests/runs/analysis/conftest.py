"""A fixture for less time."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def less_time(one_view: None) -> None:
    """Use `one_view` in all tests of this folder."""
