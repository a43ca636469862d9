"""Tables of a suite file, and error messages with the location of an invalid value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from metatui.config.fields import find_field
from metatui.config.presets import NAME
from metatui.runs.suites.models import affects_result
from metatui.utils.errors import BadInput, SettingsError, did_you_mean, quote
from metatui.utils.text import sanitize


@dataclass(frozen=True)
class SourceLocation:
    """Location of a value in a suite file, for error messages."""

    file: str
    part: str = ""
    """Name of the comparison or run."""

    def __str__(self) -> str:
        return f"{self.file}, {self.part}" if self.part else self.file

    def within(self, part: str) -> SourceLocation:
        return SourceLocation(self.file, part)

    def error(self, field: str, value: object, allowed: str) -> BadInput:
        return BadInput(f"{self}: {field} is {quote(value)}, but must be {allowed}")

    def settings(self, error: SettingsError) -> SettingsError:
        return SettingsError(error.problems, origin=str(self))


def by_path(value: Any, info: ValidationInfo) -> Any:
    """Flatten a table of settings, so that its keys are paths such as `algorithm.inner_lr`.

    In a file, a setting is either a quoted key such as `"algorithm.inner_lr"`, or a key such as `inner_lr` in a nested
    table such as `algorithm`.
    """
    if not isinstance(value, dict):
        return value  # rejected by the type of the field
    settings: dict[str, Any] = {}
    for key, item in value.items():
        settings |= {f"{key}.{name}": inner for name, inner in item.items()} if isinstance(item, dict) else {key: item}
    for path in settings:
        try:
            find_field(path)
        except SettingsError as error:
            raise BadInput(f"{info.field_name}: {error}") from None
    return settings


Text = Annotated[str, Field(description="text")]
SettingsTable = Annotated[
    dict[str, Any], BeforeValidator(by_path), Field(description="a table of settings, such as algorithm.name")
]
TABLES = "a non-empty list of tables"

MAX_LABEL_LENGTH = 40
"""Maximum number of characters in the label of a run."""


class Table(BaseModel):
    """A table of a suite file. An error message about an invalid field contains the `description` of this field."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class SuiteFile(Table):
    suite: dict[str, Any] = Field({}, description="a table of strings")
    compare: list[dict[str, Any]] = Field(min_length=1, description=TABLES)


class About(Table):
    """The `[suite]` table of a suite file."""

    title: Text = ""
    source: Text = ""
    measured: Text = ""
    notes: Text = ""

    def printable(self) -> dict[str, str]:
        return {key: sanitize(text, limit=2000) for key, text in self}


class RunTable(Table):
    """A table of a suite file that selects settings: a preset, and changes to it."""

    preset: str | None = Field(None, description="text")
    set: SettingsTable = {}


class LabelledRunTable(RunTable):
    """An item of the list `runs` in a suite file. It contains the settings and the label of a run."""

    label: str = Field(
        "",
        pattern=r"^[^\s\p{C}]([^\p{C}]*[^\s\p{C}])?$",
        max_length=MAX_LABEL_LENGTH,
        description=f"1 to {MAX_LABEL_LENGTH} printable characters without leading or trailing spaces",
    )


class CompareTable(RunTable):
    """A `[[compare]]` table of a suite file."""

    name: str = Field(pattern=f"^{NAME.pattern}$", description="1 to 64 letters, digits, '-' or '_'")
    grid: SettingsTable = {}
    seeds: list[Annotated[int, Field(ge=0)]] | None = Field(
        None, min_length=1, description="a non-empty list of whole numbers of at least 0"
    )
    runs: list[dict[str, Any]] | None = Field(None, min_length=1, description=TABLES)
    tasks: int | None = Field(None, ge=2, description="a whole number of at least 2")
    steps: int | None = Field(None, ge=1, description="a whole number of at least 1")
    shots: int | None = Field(None, ge=1, description="a whole number of at least 1")
    target: float | None = Field(None, allow_inf_nan=False, description="a number")

    @model_validator(mode="after")
    def _check_grid(self) -> CompareTable:
        for path, values in self.grid.items():
            if not isinstance(values, list) or not values:
                raise BadInput(f"grid.{path} is {quote(values)}, but must be a non-empty list of values")
            if not affects_result(path):
                raise BadInput(f"grid.{path} does not affect results, so its values would give identical runs")
        if self.seeds and "training.seed" in self.grid:
            raise BadInput("seeds and grid.training.seed change the same setting: use only one of them")
        return self

    @property
    def run_count(self) -> int:
        """Number of runs, including duplicates."""
        return len(self.runs or [{}]) * math.prod(map(len, self.grid.values())) * len(self.seeds or [None])


T = TypeVar("T", bound=Table)


def read_table(model: type[T], table: Mapping[str, Any], origin: SourceLocation, prefix: str = "") -> T:
    """Validate a table of a suite file.

    Args:
        prefix: text before the names of fields in messages.

    Raises:
        BadInput: if a value is invalid; the message names its location, field, value and allowed values.
    """
    fields = model.model_fields
    try:
        return model.model_validate(table)
    except BadInput as error:
        raise BadInput(f"{origin}: {error}") from None
    except ValidationError as error:
        problems = error.errors()
        # An unknown key may be the reason why another one is missing.
        problem = next((each for each in problems if each["type"] == "extra_forbidden"), problems[0])
        key = str(problem["loc"][0])
    if key not in fields:
        hint = did_you_mean(key, fields, f"the keys are {', '.join(fields)}", prefix=prefix)
        raise BadInput(f"{origin}: {quote(prefix + key)} is not a known key: {hint}")
    allowed = fields[key].description or ""
    if problem["type"] == "missing":
        raise BadInput(f"{origin}: {prefix}{key} is missing, but must be {allowed}")
    verb = "has" if len(problem["loc"]) > 1 else "is"  # the value is an item of a list
    raise BadInput(f"{origin}: {prefix}{key} {verb} {quote(problem['input'])}, but must be {allowed}")
