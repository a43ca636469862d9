"""What can go wrong through no fault of the program: said in one sentence, never as a traceback."""


class MetatuiError(Exception):
    """A failure that the user can read. `str()` is one sentence; the command line exits with 1."""

    exit_code = 1


class BadInput(MetatuiError):
    """What the user gave cannot be used: names the field, the value and what is allowed. Exit code 2."""

    exit_code = 2


def shown(value: object, limit: int = 60) -> str:
    """`value` as it may stand in a sentence: on one line, printable, and not longer than `limit`."""
    text = value if isinstance(value, str) else repr(value)
    text = "".join(c if c.isprintable() else "�" for c in text)
    text = text if len(text) <= limit else text[: limit - 1] + "…"
    return f"'{text}'" if isinstance(value, str) else text
