"""What can go wrong through no fault of the program: said in one sentence, never as a traceback."""

from collections.abc import Iterable
from dataclasses import dataclass


class MetatuiError(Exception):
    """A failure that the user can read. `str()` is one sentence; the command line exits with 1."""

    exit_code = 1


class BadInput(MetatuiError):
    """What the user gave cannot be used: names the field, the value and what is allowed. Exit code 2."""

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """What is wrong with one field. `sentence` names the field, the value and what is allowed."""

    field: str
    sentence: str


class SettingsError(BadInput):
    """Settings that cannot be used; `problems` has one entry for each field that is wrong."""

    def __init__(self, problems: Iterable[Problem], origin: str = "") -> None:
        self.problems = tuple(problems)
        said = "; ".join(p.sentence for p in self.problems)
        super().__init__(f"{origin}: {said}" if origin else said)


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its class where there is no message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def class_and_message(error: BaseException, limit: int | None = None) -> str:
    """The class of an error and the first line of its message, cut at `limit` characters: `RuntimeError: no such file`.

    The class alone where there is no message.
    """
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line[:limit]}"


def quote(value: object, limit: int = 60) -> str:
    """`value` as it may stand in a sentence: on one line, printable, and not longer than `limit`."""
    text = value if isinstance(value, str) else repr(value)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else "�" for c in text)
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return f"'{text}'" if isinstance(value, str) else text
