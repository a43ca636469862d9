"""Messages about the end of a run that diverged or ran out of memory. They name the settings to lower."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metatui.config.fields import FIELDS
from metatui.config.settings import Settings
from metatui.events import Evaluation


def divergence_message(settings: Settings, iteration: int, quantity: str) -> str:
    """Explain why the meta-step after `iteration` failed: `quantity` is not finite."""
    return (
        f"The {quantity} of meta-step {iteration + 1} is not finite: lower {_rates_to_lower(settings, None)}; "
        f"the state after meta-step {iteration} is kept"
    )


def out_of_memory_message(settings: Settings, iteration: int) -> str:
    """Explain that the meta-step after `iteration` does not fit in memory, even for one task at a time."""
    sizes = _relevant(settings, "algorithm.meta_batch", "algorithm.inner_steps", "task.queries")
    *others, last = [f"{path} (now {value:g})" for path, value in sizes.items()]
    return (
        f"{settings.compute.device} is out of memory: lower {', '.join(others)}{' or ' if others else ''}{last}; "
        f"the state after meta-step {iteration} is kept"
    )


def result_warning(test: Evaluation, settings: Settings, best: Mapping[str, Any] | None) -> str | None:
    """Explain why the result of the final test is not usable; return None if it is usable.

    Args:
        best: values of the live settings at the best validation, keyed by path; None if no validation had a finite
            result.
    """
    reasons = []
    if test.checkpoint == "last":
        reasons.append("no validation had a finite result, so the last parameters were tested instead of the best")
    if test.diverged:
        reasons.append(f"{test.diverged:,} of {test.tasks:,} test tasks diverged")
    if not reasons:
        return None
    text = "; ".join(reasons)
    return f"{text[0].upper()}{text[1:]}: lower {_rates_to_lower(settings, best)} and train again"


def _rates_to_lower(settings: Settings, best: Mapping[str, Any] | None) -> str:
    """List the learning rates that are higher than at the best validation, or both rates if neither is higher."""
    now = _relevant(settings, "algorithm.inner_lr", "algorithm.outer_lr")
    raised = [
        f"{path} (now {rate:g}, {before:g} at the best validation)"
        for path, rate in now.items()
        if rate > (before := (best or {}).get(path, rate))
    ]
    return " or ".join(raised or [f"{path} (now {rate:g})" for path, rate in now.items()])


def _relevant(settings: Settings, *paths: str) -> dict[str, Any]:
    """Return the values of those settings in `paths` that the algorithm uses."""
    return {path: settings.value(path) for path in paths if FIELDS[path].is_relevant(settings)}
