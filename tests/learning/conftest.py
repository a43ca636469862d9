"""Fixtures that create settings for small experiments, limit torch to one thread, and shorten the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from metatui.config.declarations import Scalar
from metatui.config.fields import change, parse
from metatui.config.settings import Settings


@pytest.fixture
def one_torch_thread() -> Iterator[None]:
    """Limit torch to one thread during a test.

    Another test may have set more threads, which would change sums by rounding errors.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def less_time(one_view: None) -> None:
    """Apply the fixture `one_view`, which makes runs faster, to all tests in this folder."""


@pytest.fixture
def tiny() -> Callable[..., Settings]:
    """Return a function that creates settings for a run of 20 meta-steps.

    A keyword argument such as `training__iterations` changes a setting.
    """

    def make(**changes: Scalar) -> Settings:
        base = parse(
            {
                "model": {"hidden": (8, 8)},
                "algorithm": {"meta_batch": 3},
                "training": {"iterations": 20},
                "evaluation": {"every": 10, "tasks": 4, "test_tasks": 6, "inner_steps": 3},
                "compute": {"device": "cpu"},
            }
        )
        return change(base, {name.replace("__", "."): value for name, value in changes.items()})

    return make
