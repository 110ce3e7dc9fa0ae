"""The store of a dry run: reads see what the run would have written, writes never reach the place itself."""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

from resplice.io.local import LocalStore
from resplice.io.store import Blob, Head, Store


class OverlayStore:
    """A dry run's view: reads see what the run would have written, the store below is never written.

    Writes go to a scratch folder that the caller removes; `deleted` keys are hidden.
    """

    def __init__(self, below: Store, scratch: str) -> None:
        self.url = below.url
        self.connections = below.connections
        self._below = below
        self._above = LocalStore(scratch)
        self._deleted: set[str] = set()
        self._lock = threading.Lock()

    def _hidden(self, key: str) -> bool:
        return key in self._deleted

    def list(self, prefix: str = "") -> Iterator[Head]:
        """Yield what both layers hold, sorted."""
        above = {head.key: head for head in self._above.list(prefix)}
        below = (head for head in self._below.list(prefix) if head.key not in above and not self._hidden(head.key))
        yield from heapq.merge(below, above.values(), key=attrgetter("key"))

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the folders of both layers, sorted."""
        yield from sorted({*self._below.folders(prefix), *self._above.folders(prefix)})

    def head(self, key: str) -> Head | None:
        """Return the upper layer's object, else the lower one's."""
        return self._above.head(key) or (None if self._hidden(key) else self._below.head(key))

    def _layer(self, key: str) -> Store:
        if self._above.head(key) is None and not self._hidden(key):
            return self._below
        return self._above

    def open(self, key: str, head: Head | None = None) -> Blob:
        """Open the object of the upper layer, else of the lower one."""
        return self._layer(key).open(key, head)

    def read(self, key: str) -> bytes:
        """Return the object of the upper layer, else of the lower one."""
        return self._layer(key).read(key)

    def create(self, key: str, data: bytes | Path) -> bool:
        """Write to the upper layer, if neither has the object."""
        with self._lock:
            return self.head(key) is None and self._above.create(key, data)

    def replace(self, key: str, data: bytes | Path, token: str | None) -> bool:
        """Write to the upper layer, if the version is still `token`."""
        with self._lock:
            head = self.head(key)
            if token is not None and (head.token if head else "") != token:
                return False
            return self._above.replace(key, data, None)

    def copy(self, source: str, key: str) -> None:
        """Copy within the upper layer."""
        if self.head(key) is None:
            self._above.create(key, self.read(source))

    def delete(self, key: str) -> None:
        """Hide the lower layer's object and remove the upper one's."""
        with self._lock:
            self._deleted.add(key)
            self._above.delete(key)
