"""Texts, numbers and nested structures that are likely to expose errors in code that reads them."""

from __future__ import annotations

import math
from random import Random
from typing import Any

TEXTS = (
    "", " ", "\x1b[2J\x1b[31mred", "\x1b]0;title\x07", "\x9b31m", "bell\a", "back\b\b", "a\0b", "tab\t",
    "two\nlines\r\n", "[bold red]markup[/]", "[/]", "[link=file:///etc/passwd]x[/link]", "[@click=app.quit]x[/]", "\\[",
    "$text $primary",
    "<script>alert(1)</script>", "\"'><img src=x onerror=alert(1)>", "&lt;&#x3c;", "javascript:alert(1)", "]]>", "-->",
    "| a | b |", "`code`", "![x](http://x)", "=cmd|' /C calc'!A0", "@SUM(1)", "+1", "-1", "$(touch owned)",
    ";touch owned;",
    "../../../outside", "/etc/passwd", "/dev/zero", "~", "~nobody-there/x", "file:///dev/zero", "CON", ".", "..", "/",
    "\u202ereversed", "\u2028", "\ufeff", "\u0300" * 50, "\ud800", "\U0001f600" * 9, "漢字", "٣", "x" * 5000,
    "%s%n", "{0}",
    "__import__('os').system('touch owned')", "!!python/object:os.system", "cos\nsystem\n(S'touch owned'\ntR.",
    "maml", "auto", "cuda:999", "true", "null", "NaN", "1e999", "1_000", "0x10", "2026-13-45T99:99:99Z",
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59.999999Z",
)  # fmt: skip

NUMBERS = (
    0, 1, -1, 2, 3, 7, 255, 65536, 2**31 - 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 2**64, 10**30, 10**400,
    -(10**400), 0.0, -0.0, 0.5, 1e-320, 1e-30, 1e30, 1e300, -1e308, 1.7e308, math.nan, math.inf, -math.inf, True, False,
)  # fmt: skip


def scalar(rng: Random) -> Any:
    return rng.choice((*TEXTS, *NUMBERS, *NUMBERS, None))


def anything(rng: Random) -> Any:
    """Return a random value that can be written as JSON, such as a control sequence, NaN or deeply nested lists."""
    match rng.randrange(8):
        case 0:
            return nested(rng.choice(([], {})), rng.choice((3, 60, 500, 5000)))
        case 1:
            return [scalar(rng)] * rng.choice((0, 1, 7, 1000))
        case 2:
            return {str(scalar(rng)): scalar(rng) for _ in range(rng.randrange(6))}
        case _:
            return scalar(rng)


def nested(inside: Any, depth: int) -> Any:
    """Nest `inside` in `depth` lists, or in `depth` dicts if it is a dict."""
    for _ in range(depth):
        inside = {"a": inside} if isinstance(inside, dict) else [inside]
    return inside
