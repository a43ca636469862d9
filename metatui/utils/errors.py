"""Errors that are shown to the user as one sentence instead of a traceback."""

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Any


class MetatuiError(Exception):
    """Base class of errors whose message is one sentence for the user. The exit code is 1, or 2 for `BadInput`.

    Example:
        >>> try:
        ...     metatui.evaluate("no-such-run")
        ... except metatui.MetatuiError as error:
        ...     print(error.exit_code)
        2
    """

    exit_code = 1


class BadInput(MetatuiError):
    """Invalid input. The message names the field, its value and the allowed values.

    The exit code of a command that fails with this error is 2.

    Example:
        >>> metatui.load_preset("quik")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        metatui.utils.errors.BadInput: 'quik' ... did you mean quick?
    """

    exit_code = 2


@dataclass(frozen=True)
class Problem:
    """An invalid field. `sentence` names the field, its value and the allowed values."""

    field: str
    sentence: str


class SettingsError(BadInput):
    """Invalid settings, with one problem for each invalid field.

    Example:
        >>> path = pathlib.Path("preset.toml")
        >>> _ = path.write_text("[training]\\niterations = 0")
        >>> try:
        ...     metatui.load_preset(path)
        ... except metatui.SettingsError as error:
        ...     print(error.problems[0].field)
        training.iterations
    """

    def __init__(self, problems: Iterable[Problem], origin: str = "") -> None:
        self.problems = tuple(problems)
        self.origin = origin
        sentences = "; ".join(problem.sentence for problem in self.problems)
        super().__init__(f"{origin}: {sentences}" if origin else sentences)


def error_to_dict(error: MetatuiError) -> dict[str, Any]:
    """Describe an error as a JSON object, from which `error_from_dict` creates it in another process."""
    description: dict[str, Any] = {"error": str(error), "exit_code": error.exit_code}
    if isinstance(error, SettingsError):
        description |= {"problems": [astuple(problem) for problem in error.problems], "origin": error.origin}
    return description


def error_from_dict(description: Mapping[str, Any]) -> MetatuiError:
    """Return the error with the given description, as a SettingsError, BadInput or MetatuiError."""
    if "problems" in description:
        return SettingsError((Problem(*each) for each in description["problems"]), description["origin"])
    return (BadInput if description["exit_code"] == BadInput.exit_code else MetatuiError)(description["error"])


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if there is no message."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def class_and_message(error: BaseException, limit: int | None = None) -> str:
    """Return the class of an error and the first line of its message: `RuntimeError: no such file`.

    Args:
        limit: maximum length of the message. Without a message, the result is the class alone.
    """
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line[:limit]}"


def did_you_mean(
    word: str, known: Iterable[str], otherwise: str, *, prefix: str = "", most: int = 1, cutoff: float = 0.6
) -> str:
    """Return the end of a sentence about an unknown name: `did you mean quick?`, or `otherwise` if no name is similar.

    Args:
        prefix: text before each suggested name.
        most: maximum number of suggestions.
        cutoff: smallest similarity of a suggestion, from 0 to 1.
    """
    from difflib import get_close_matches  # imported here, because only errors need it

    names = list(known)
    near = get_close_matches(word, names, most, cutoff) or get_close_matches(word.lower(), names, most, cutoff)
    return f"did you mean {' or '.join(quote(f'{prefix}{name}')[1:-1] for name in near)}?" if near else otherwise


def quote(value: object, limit: int = 60) -> str:
    """Format a value for use in a sentence, as printable text on one line with at most `limit` characters."""
    text = value if isinstance(value, str) else repr(value)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else "�" for c in text)
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return f"'{text}'" if isinstance(value, str) else text
