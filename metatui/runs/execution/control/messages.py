"""Messages on a run's socket: JSON objects, one per line, each with one key that names its kind.

    {"hello": {"protocol": 1, "run": "maml-sinusoid-20261123-093012", "phase": "running", "iteration": 1200, ...}}
    {"progress": [{"iteration": 1201, ...}, {"iteration": 1202, ...}]}
    {"paused": {"iteration": 1202}}

A viewer sends commands:

    {"change": {"path": "algorithm.inner_lr", "value": 0.005}}
    {"stop": {}}

Both processes validate the messages that they receive. Reading a message never executes code from it.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from metatui import events
from metatui.config.settings import Settings
from metatui.events import Command, Event, Progress
from metatui.utils.errors import BadInput, quote

PROTOCOL = 1

MAX_COMMAND_BYTES = 16 * 1024
"""Maximum number of bytes in a message (a line) from a viewer to the run."""

MAX_REPORT_BYTES = 64 * 1024 * 1024
"""Maximum number of bytes in a message (a line) from a run. Messages about validations are long because they include
images."""

NO_HELLO = "the socket does not belong to a metatui run"

Phase = Literal["running", "paused", "evaluating"]


class _Message(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="strings"
    )


class Hello(_Message):
    """First message from a run's process to a viewer: the current state of the run.

    In the phase `evaluating`, the second message is the progress of the validation or test.
    """

    protocol: int
    run: str
    pid: int
    host: str
    phase: Phase
    iteration: int
    """Number of completed meta-steps. Later messages report only the meta-steps that follow."""
    settings: Settings
    """Current settings, including live changes."""


class _OneOf(_Message):
    @model_validator(mode="after")
    def _check_one_kind(self) -> _OneOf:
        if len(self.model_fields_set) != 1 or self.content is None:
            raise ValueError("a message must have exactly one key, which names the kind of the message")
        return self

    @property
    def content(self) -> Any:
        return getattr(self, next(iter(self.model_fields_set)))

    def line(self) -> bytes:
        return self.model_dump_json(exclude_unset=True).encode() + b"\n"


class Report(_OneOf):
    """Message from a run's process to a viewer, sent as one line of JSON."""

    hello: Hello | None = None
    refused: str | None = None
    """Reason why a line from this viewer was rejected."""
    progress: tuple[Progress, ...] | None = None
    started: events.Started | None = None
    evaluating: events.Evaluating | None = None
    evaluated: events.Evaluated | None = None
    checkpointed: events.Checkpointed | None = None
    tweaked: events.Tweaked | None = None
    paused: events.Paused | None = None
    resumed: events.Resumed | None = None
    warned: events.Warned | None = None
    hinted: events.Hinted | None = None
    noted: events.Noted | None = None
    finished: events.Finished | None = None
    failed: events.Failed | None = None


class CommandMessage(_OneOf):
    """Message from a viewer to a run's process, sent as one line of JSON."""

    pause: events.Pause | None = None
    resume: events.Resume | None = None
    stop: events.Stop | None = None
    checkpoint: events.Checkpoint | None = None
    evaluate: events.Evaluate | None = None
    change: events.Change | None = None

    @field_validator("stop")
    @classmethod
    def _check_reason(cls, stop: events.Stop | None) -> events.Stop | None:
        if stop is not None and stop.reason not in ("stopped", "interrupted"):
            raise ValueError("reason must be 'stopped' or 'interrupted'")
        return stop


def report(event: Event) -> Report:
    return Report.model_validate({type(event).__name__.lower(): event})


def command_line(command: Command) -> bytes:
    """Return `command` as a line of JSON that can be sent to a run's process."""
    return CommandMessage.model_validate({type(command).__name__.lower(): command}).line()


def read_report(line: bytes) -> Report | None:
    """Parse a line from a run. Returns None for kinds of messages that were added in later versions."""
    try:
        return Report.model_validate_json(line)
    except ValidationError:
        return None


def read_hello(line: bytes) -> Hello:
    """Parse the first line from a run. Raises BadInput if it is not a hello message of this protocol."""
    try:
        protocol = json.loads(line)["hello"]["protocol"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BadInput(NO_HELLO) from None
    if protocol != PROTOCOL:
        raise BadInput(
            f"it uses protocol {quote(protocol)}, but this version of metatui uses {PROTOCOL}: "
            "use the version that is training the run"
        )
    message = read_report(line)
    if message is None or message.hello is None:
        raise BadInput(NO_HELLO)
    return message.hello


def read_command(line: bytes) -> Command:
    """Parse a line from a viewer. Raises BadInput if it is not a command."""
    try:
        command: Command = CommandMessage.model_validate_json(line).content
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        kinds = ", ".join(CommandMessage.model_fields)
        problem = f"{quote(where)}: {first['msg']}" if where else first["msg"]
        raise BadInput(
            f"{quote(line[:60].decode(errors='replace'))} is not a command. A command is a JSON object such as "
            f'{{"pause": {{}}}}, with one of the keys {kinds}. The problem is: {quote(problem, 200)[1:-1]}'
        ) from None
    return command
