"""Declaration of the data set `table`: regression tasks from a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from metatui.config.declarations import Group, setting
from metatui.learning.data.data_set import DataSet

if TYPE_CHECKING:
    import torch

    from metatui.config.settings import Settings
    from metatui.learning.data.table.source import TableSource


# One setting in a few lines reads better than one argument per line.
# fmt: off
class TableOptions(Group):
    """File and columns of a table."""

    file: str = setting(
        "", "Table",
        "CSV or Parquet file with one example per row, and columns for the task, the inputs and the targets.",
        allowed="the path of a file; in TOML files and in Python, it must start with / or ~",
        path=True, main=True, pattern=r"^([/~][^\x00]*)?$", max_length=4096)
    task_column: str = setting(
        "task", "Task column", "Name of the column that contains the task of each row.", main=True,
        allowed="the name of a column", min_length=1, max_length=1000)
    inputs: str = setting(
        "", "Inputs",
        "Names of the input columns, comma-separated. If no names are given, all other numeric columns are inputs.",
        main=True,
        allowed="names of columns, comma-separated", max_length=100_000)
    targets: str = setting(
        "", "Targets",
        "Names of the target columns, comma-separated. If no names are given, all other numeric columns are targets.",
        main=True,
        allowed="names of columns, comma-separated", max_length=100_000)
    split_column: str = setting(
        "", "Split column",
        "Name of the column that assigns each task to a split (train, val or test). If no column is given, tasks are "
        "split at random.",
        allowed="the name of a column", max_length=1000)
    val_fraction: float = setting(
        0.16, "Validation fraction", "Fraction of the tasks used for validation, unless the split column contains val.",
        gt=0, le=0.9)
    test_fraction: float = setting(
        0.2, "Test fraction", "Fraction of the tasks used for testing, unless there is a split column.", gt=0, le=0.9)
# fmt: on


class Table(DataSet):
    """Regression tasks from a CSV or Parquet file with a task column."""

    name = "table"
    title = "Your own table"
    kind = "regression"
    loss_of = "standardised targets"
    Options = TableOptions
    uses = frozenset({"task.split_seed"})

    @classmethod
    def load(cls, settings: Settings, device: torch.device) -> TableSource:
        from metatui.learning.data.table.source import load_table

        return load_table(settings, settings.options_of(cls.name, TableOptions))

    @classmethod
    def violations(cls, settings: Settings) -> Iterator[tuple[str, str]]:
        options = settings.options_of(cls.name, TableOptions)
        if not options.file:
            yield "table.file", "the path of a CSV or Parquet file if task.source = 'table'"
        if not options.inputs and not options.targets:
            yield "table.targets", "one or more column names if table.inputs is empty"
        if options.val_fraction + options.test_fraction > 0.9:
            yield "table.val_fraction", "at most 0.9 together with table.test_fraction, to leave tasks for training"
