"""What the tabs ask the app to do. Apart from the tabs, which are imported after the first frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from textual.message import Message

if TYPE_CHECKING:
    from metatui.config.presets import Preset
    from metatui.runs.storage.summary import RunSummary


@dataclass
class RunChosen(Message):
    """The app is to do something with a run."""

    what: Literal["open", "load", "resume"]
    run: RunSummary


@dataclass
class RunStopped(Message):
    """A live run is to stop."""

    run: RunSummary


@dataclass
class RunsMarked(Message):
    """Other runs are to be shown beside each other."""

    runs: Sequence[RunSummary]


@dataclass
class RunsCompared(Message):
    """Runs are to be compared on a screen of its own."""

    runs: Sequence[RunSummary]


class ReportWanted(Message):
    """A report is to be written of the marked runs, or of the one under the cursor."""


@dataclass
class PresetChosen(Message):
    """A preset is to be put into the form."""

    preset: Preset


class RowChanged(Message):
    """Another run or preset, or none, is under the cursor of a tab."""
