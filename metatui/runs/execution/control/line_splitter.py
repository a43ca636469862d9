"""Lines out of a stream of bytes, none of them longer than is allowed."""

from __future__ import annotations

from collections.abc import Iterator


class LineSplitter:
    """Takes bytes as they come and gives whole lines."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._rest = bytearray()
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[bytes | None]:
        """The lines that `data` completes, without their ends; None, once, in place of one that is too long.

        No more than the longest line and `data` is ever held.
        """
        self._rest += data
        *whole, rest = self._rest.split(b"\n") if b"\n" in data else (self._rest,)
        self._rest = rest
        for line in whole:
            if self._skipping:
                self._skipping = False
            else:
                yield bytes(line) if len(line) <= self._longest else None
        if len(self._rest) > self._longest:
            self._rest = bytearray()
            if not self._skipping:
                self._skipping = True
                yield None
