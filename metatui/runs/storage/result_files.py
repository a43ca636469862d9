"""The files `evaluation.json` (validations, test), `adaptation.json` (held-out tasks) and `data.json` (data schema)."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, FailFast, ValidationError, field_validator

from metatui.config.format_version import FORMAT, check_format
from metatui.events import CurveView, Evaluation, RegressionView, ScatterView, TaskView
from metatui.learning.data.schema import DataSchema
from metatui.utils.errors import BadInput, quote
from metatui.utils.files import read_bounded, write_atomically
from metatui.utils.text import sanitize

MAX_BYTES = 64 * 1024 * 1024
MAX_VALUES = 1_000_000
"""Maximum total number of values and images in a result file.

The limit exists because validating an invalid file may need half a kilobyte of memory for each value.
"""
MAX_PROBLEMS = 1000
MAX_IMAGE_SIDE = 4096
"""Maximum height and maximum width of an image in pixels."""

LENGTHS = (1, 3)
"""Allowed numbers of dimensions of an example: 1 for a row of inputs, or 3 for channels, height and width."""
MAX_DIMENSION = 10_000
"""Maximum size of a dimension of an example, and maximum number of targets."""

R = TypeVar("R", bound="_Record")


class _Record(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings"
    )

    format: int = FORMAT


class EvaluationRecord(_Record):
    """Content of evaluation.json: the last validation, the validation of the best checkpoint, and the test."""

    validation: Evaluation | None = None
    best: Evaluation | None = None
    test: Evaluation | None = None

    def holding(self, iteration: int, *, finished: bool) -> EvaluationRecord:
        """Return the evaluations that are valid for a run at meta-step `iteration`.

        After a run is resumed, evaluation.json is rewritten only at the next evaluation, so it may contain evaluations
        of later meta-steps.

        Args:
            iteration: current meta-step of the run.
            finished: whether the run has finished; otherwise, the test is removed.
        """

        def valid(evaluation: Evaluation | None) -> Evaluation | None:
            return evaluation if evaluation is not None and evaluation.iteration <= iteration else None

        test = valid(self.test) if finished else None
        return self.model_copy(update={"validation": valid(self.validation), "best": valid(self.best), "test": test})

    @field_validator("validation", "best", "test")
    @classmethod
    def _check_curves(cls, evaluation: Evaluation | None) -> Evaluation | None:
        if evaluation is not None:
            curves = [curve for curve in (evaluation.loss, evaluation.accuracy) if curve is not None]
            lengths = {len(numbers) for curve in curves for numbers in (curve.mean, curve.ci95)}
            if not evaluation.steps or lengths != {len(evaluation.steps)}:
                raise ValueError("every curve must have one value for each inner step, and at least one value")
            if not 0 <= (evaluation.diverged or 0) <= evaluation.tasks:
                raise ValueError("the number of diverged tasks must be between 0 and the number of tasks")
        return evaluation


class AdaptationRecord(_Record):
    """Held-out tasks evaluated after `iteration` meta-steps, with the data for their charts."""

    iteration: int
    split: str
    views: Annotated[tuple[TaskView, ...], FailFast()]

    @field_validator("views")
    @classmethod
    def _check_views(cls, views: tuple[TaskView, ...]) -> tuple[TaskView, ...]:
        if not all(_is_consistent(view) for view in views):
            raise ValueError("a task must have as many values as points or images")
        return views


class DataRecord(_Record):
    """Schema of the data set. With the schema, a saved model can be used without the data set."""

    data: DataSchema

    @field_validator("data")
    @classmethod
    def _check_data(cls, data: DataSchema) -> DataSchema:
        sizes = (*data.input_shape, data.targets)
        if len(data.input_shape) not in LENGTHS or not all(0 < size <= MAX_DIMENSION for size in sizes):
            raise ValueError("the shape of an example must consist of positive numbers")
        for columns, count in ((data.inputs, data.input_shape[0]), (data.outputs, data.targets)):
            if columns and not len(columns.columns) == len(columns.mean) == len(columns.scale) == count:
                raise ValueError("every column must have a mean and a scale")
            if columns and not all(math.isfinite(value) for value in (*columns.mean, *columns.scale)):
                raise ValueError("means and scales must be finite")
            if columns and not all(scale > 0 for scale in columns.scale):
                raise ValueError("scales must be positive")
        return data


def _is_consistent(view: TaskView) -> bool:
    """Return whether the parts of `view` have consistent lengths."""
    if isinstance(view, RegressionView | CurveView):
        rows = (view.truth, *view.predictions) if isinstance(view, RegressionView) else view.predictions
        queries = (view.query_x, view.query_y) if isinstance(view, CurveView) else ((), ())
        return (
            len(view.support_x) == len(view.support_y)
            and len(queries[0]) == len(queries[1])
            and all(len(row) == len(view.grid) for row in rows)
        )
    if isinstance(view, ScatterView):
        points = len(view.truth[0]) if view.truth else 0
        return 0 < len(view.truth) <= len(view.targets) and all(
            len(step) == len(view.truth) and all(len(row) == points for row in step)
            for step in (view.truth, *view.predictions)
        )
    images = (*view.support, *view.query)
    return (
        0 < view.height <= MAX_IMAGE_SIDE
        and 0 < view.width <= MAX_IMAGE_SIDE
        and view.channels in (1, 3)
        and all(len(image) == view.height * view.width * view.channels for image in images)
        and len(view.support) == len(view.support_labels)
        and all(len(row) == len(view.query) for row in (view.query_labels, *view.predictions))
    )


def write_record(path: Path, record: _Record) -> None:
    """Write `record` to the file `path` as JSON. Raises WriteRefusedError if the file cannot be written."""
    write_atomically(path, _encoded(record))


def write_tasks(path: Path, record: AdaptationRecord) -> None:
    """Write `record`, omitting its last tasks if the file would otherwise be too large for `read_record`.

    This happens, for example, if tasks have many ways and inner steps.

    Raises:
        WriteRefusedError: if the file cannot be written.
    """
    data = _encoded(record)
    while len(data) > MAX_BYTES or _has_too_many_values(data):
        record = record.model_copy(update={"views": record.views[:-1]})
        data = _encoded(record)
    write_atomically(path, data)


def _encoded(record: _Record) -> bytes:
    return record.model_dump_json().encode() + b"\n"


def _fault_of_json(data: bytes, problem: str) -> str:
    """Return the reason why a file is not JSON, given its content and the problem that pydantic reports."""
    if not data.strip():
        return "it is empty"
    if problem.startswith("EOF"):
        return "it is incomplete"
    return f"it is not JSON ({quote(problem, 120)[1:-1]})"


def _has_too_many_values(data: bytes) -> bool:
    return data.count(b",") > MAX_VALUES


def read_record(path: Path, kind: type[R]) -> R | None:
    """Return the record in `path`, or None if the file does not exist.

    Raises:
        BadInput: if the content is not a valid record of type `kind`.
    """
    if not path.exists():
        return None
    name = quote(str(path), 200)
    data = read_bounded(path, MAX_BYTES)
    if _has_too_many_values(data):
        raise BadInput(f"{name} cannot be used: it contains more than {MAX_VALUES:,} values")
    try:
        record = kind.model_validate_json(data)
    except ValidationError as error:
        with suppress(ValueError, AttributeError, RecursionError):  # a newer format takes precedence over other errors
            check_format(json.loads(data).get("format", FORMAT), name)
        if error.error_count() > MAX_PROBLEMS:  # `errors` would create a message for each
            raise BadInput(f"{name} cannot be used: it has {error.error_count():,} invalid values") from None
        first = error.errors(include_url=False)[0]
        if first["type"] == "json_invalid":
            raise BadInput(f"{name} cannot be used: {_fault_of_json(data, first['ctx']['error'])}") from None
        where = sanitize(".".join(map(str, first["loc"])), limit=60) or "its start"
        raise BadInput(f"{name} cannot be used: {quote(first['msg'], 120)[1:-1]} at {where}") from None
    check_format(record.format, name)
    return record
