"""Reading over requests that cost: an object in a store where each request takes as long as many bytes.

A tar is walked from header to header, and only a header tells how far the next one is. Reading on over the data
between them costs its bytes, a new request costs `cost` bytes; as the gap is known before it is paid for, the cheaper
of the two is simply taken. So a tar of small members is one request for the whole, and one of large members a short
request a header, without anybody saying which it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

_SHORT = 64
"""A short request asks for so small a share of `cost` that it costs little more than its latency."""
_KEPT = 1024
"""Bytes of the last read that may be asked for again: a header and the beginning of its data."""
_PIECE = 1 << 18


class Answer(Protocol):
    """The bytes of one request, read forward."""

    def read(self, length: int) -> bytes:
        """Return the next `length` bytes; fewer only at the end."""
        ...

    def close(self) -> None:
        """Give up what has not been read; if nothing is left, the connection serves again."""
        ...


class Held:
    """A small object that was read at once."""

    def __init__(self, token: str, data: bytes) -> None:
        self.size = len(data)
        self.token = token
        self._data = data

    def read_at(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; fewer only at the end."""
        return self._data[offset : offset + length]

    def close(self) -> None:
        """Do nothing: nothing is open."""


class ReadAhead:
    """A `Blob` over `request(offset, length)`, for one reader at a time that reads mostly forward.

    Let a request cost as much as `cost` bytes. Then reading forward never costs more than one request for the whole
    object, and never more than 1 + 1/64 times a request for each read. For a gap below `cost` is read, out of the
    answer at hand, and any other is skipped by a request that costs no more than the gap. Only where a short answer
    ends too early does a request skip nothing; short answers are asked for only when skipping has saved enough to pay
    for that. They spare connections: a long answer that is given up takes its connection with it.

    Every answer must be of the version `token`, or `request` raises. `first` is a request for the whole object that is
    under way already.
    """

    def __init__(
        self, size: int, token: str, request: Callable[[int, int], Answer], cost: int, first: Answer | None = None
    ) -> None:
        self.size = size
        self.token = token
        self._request = request
        self._cost = cost
        self._short = cost // _SHORT
        self._saved = cost  # against one request for the whole object
        self._answer = first
        self._at, self._until = 0, size if first else 0  # what is left of the answer
        self._last, self._last_at = b"", 0

    def read_at(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; fewer only at the end."""
        end = min(offset + length, self.size)
        if offset >= end:
            return b""
        skip = offset - self._last_at
        known = self._last[skip : skip + end - offset] if skip >= 0 else b""
        data = known + self._read(offset + len(known), end)
        if len(known) < len(data):
            self._last = data[-_KEPT:]
            self._last_at = offset + len(data) - len(self._last)
        return data

    def close(self) -> None:
        """End the request that is under way."""
        if self._answer is None:
            return
        if self._until - self._at <= self._short:
            self._at += len(self._answer.read(self._until - self._at))
        self._answer.close()
        self._answer = None

    def _read(self, offset: int, end: int) -> bytes:
        """Return the bytes from `offset` to `end`, out of the answer at hand or a new one."""
        if offset == end:
            return b""
        if self._answer is None or not (self._at <= offset < self._at + self._cost and end <= self._until):
            self._ask(offset, end)
        assert self._answer is not None
        while self._at < offset:
            piece = self._answer.read(min(_PIECE, offset - self._at))
            self._at += len(piece)
            if not piece:
                return b""
        data = self._answer.read(end - offset)
        self._at += len(data)
        return data

    def _ask(self, offset: int, end: int) -> None:
        """Make a request: for all that follows, or, where more jumps are to be expected, for little."""
        back = offset < self._at
        self.close()
        skipped = offset - self._at
        self._saved += (0 if back else skipped) - self._cost
        short = back or (skipped >= self._cost and self._saved >= self._cost + self._short)
        self._at, self._until = offset, min(self.size, max(end, offset + self._short)) if short else self.size
        self._answer = self._request(offset, self._until - offset)
