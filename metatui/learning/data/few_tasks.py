"""Warning about the 95 % interval of held-out tasks that are drawn from few classes. This module needs no torch."""

from __future__ import annotations

from metatui.events import Evaluation, Pool
from metatui.utils.text import counted

_NAMES = {"val": "validation", "test": "test"}


def caveat(evaluation: Evaluation) -> str:
    """Return the warning about the tasks of an evaluation as a clause, or '' if it does not apply."""
    return few_tasks(evaluation.pool, evaluation.split, evaluation.tasks, evaluation.ways)


def few_tasks(pool: Pool | None, split: str, tasks: int, ways: int | None) -> str:
    """Return a clause that says for which tasks the interval of a result holds.

    Args:
        pool: what the tasks are drawn from, if known.
        tasks: number of tasks that are evaluated.
        ways: number of classes of a task; None for regression.

    Returns:
        The clause, or '' if there are at least as many different tasks as evaluated tasks.
    """
    if pool is None or pool.tasks >= tasks:
        return ""
    drawn = f"the {tasks:,} {_NAMES.get(split, split)} tasks are drawn from only"
    if ways is None:
        return (
            f"{drawn} {counted(pool.tasks, 'task')} of the data, with different examples: 95 % intervals and p-values "
            "apply to these tasks, not to new tasks"
        )
    sets = f", which form {pool.tasks:,} different sets of {counted(ways, 'class')}" if pool.tasks > 1 else ""
    return (
        f"{drawn} {counted(pool.size, 'class')}{sets}: 95 % intervals and p-values apply to new tasks of these "
        "classes, not to new classes"
    )
