"""A folder read as if over a network: each request waits, each connection has a bandwidth, and all is counted."""

from __future__ import annotations

import io
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from resplice.io.ahead import ReadAhead
from resplice.io.local import LocalStore
from resplice.io.store import Head


@dataclass
class Network:
    """Latency of a request in seconds, bandwidth of a connection in bytes a second, and what went over it."""

    latency_s: float = 0.025
    bandwidth: float = 60e6
    sleeping: bool = True
    requests: int = 0
    bytes: int = 0
    broken: int = 0
    busiest: int = 0
    _busy: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def cost(self) -> int:
        """Return the bytes that a connection carries in the time of a request."""
        return round(self.latency_s * self.bandwidth)

    def sleep_until(self, moment: float) -> None:
        """Wait, unless only counting."""
        rest = moment - time.monotonic()
        if self.sleeping and rest > 0:
            time.sleep(rest)

    def begin(self) -> None:
        """Count a request, which takes a connection."""
        with self._lock:
            self.requests += 1
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)

    def end(self, read: int, broken: bool) -> None:
        """Count what a request has brought."""
        with self._lock:
            self.bytes += read
            self.broken += broken
            self._busy -= 1


class Answer(io.RawIOBase):
    """The bytes of one request, at the pace of the network."""

    def __init__(self, network: Network, path: Path, offset: int, length: int) -> None:
        super().__init__()
        self._network, self._at, self._left = network, offset, length
        self._fd = os.open(path, os.O_RDONLY)
        self._read = 0
        network.begin()
        self._due = time.monotonic() + network.latency_s

    def readable(self) -> bool:
        """Return True."""
        return True

    def read(self, length: int = -1) -> bytes:
        """Return the next bytes; fewer only at the end."""
        data = os.pread(self._fd, self._left if length < 0 else min(length, self._left), self._at + self._read)
        self._read += len(data)
        self._left -= len(data)
        self._due += len(data) / self._network.bandwidth
        if self._due - time.monotonic() > 0.002 or not self._left:  # a sleep is late by some tenths of a millisecond
            self._network.sleep_until(self._due)
        return data

    def close(self) -> None:
        """End the request; what is left of it breaks the connection."""
        if not self.closed:
            os.close(self._fd)
            self._network.sleep_until(self._due)
            self._network.end(self._read, broken=self._left > 0)
        super().close()


class SlowStore(LocalStore):
    """A local folder behind a network; its listing is free, as both sides need the same one."""

    def __init__(self, root: str, network: Network, connections: int) -> None:
        super().__init__(root)
        self.connections = connections
        self._network = network
        self._folder = Path(root)

    def get(self, key: str, offset: int = 0, length: int | None = None) -> Answer:
        """Request a part of an object."""
        path = self._folder / key
        return Answer(self._network, path, offset, path.stat().st_size - offset if length is None else length)

    def open(self, key: str, head: Head | None = None) -> ReadAhead:  # type: ignore[override]
        """Open an object: size and version come with the first answer, as a GET gives them."""
        head = head or self.head(key)
        if head is None:
            raise FileNotFoundError(key)
        return ReadAhead(head.size, head.token, lambda at, length: self.get(key, at, length), self._network.cost)
