"""One protocol for every place that holds objects, and the roots that jobs carry.

A store holds immutable-looking objects under `/`-separated keys. What is published is created once
(`create`) or replaced as a whole against a version token (`replace`); nothing is ever half-written under
its final name.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from resplice.transforms.records import UserError
from resplice.transforms.settings import StoreOptions

_T = TypeVar("_T")
_R = TypeVar("_R")
_CHUNK = 1 << 20
_AHEAD = 2
"""Answers a connection that are waited for or held, so that few are however many items there are."""


@dataclass(frozen=True)
class Head:
    """What a store knows of an object without reading it; another content has another `token`."""

    key: str
    size: int
    token: str


class Changed(OSError):
    """An object that is being read is not the version any more that was opened."""


class Blob(Protocol):
    """An open object, pinned to one version: `read_at` never mixes two."""

    size: int
    token: str

    def read_at(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; fewer only at the end. Raises Changed if the version is gone."""
        ...

    def close(self) -> None:
        """Release the object."""
        ...


class Store(Protocol):
    """Where objects live. Missing objects: `head` gives None, `open` and `read` raise FileNotFoundError.

    `connections`: how many requests at once are worth their threads; 1 where nothing is waited for, so that reading in
    place costs nothing.
    """

    url: str
    connections: int

    def __hash__(self) -> int:
        """Tell stores apart."""
        ...

    def list(self, prefix: str = "") -> Iterator[Head]:
        """Yield the objects whose key begins with `prefix`, sorted by key."""
        ...

    def folders(self, prefix: str) -> Iterator[str]:
        """Yield the names that follow `prefix` (it ends with /) up to the next /, sorted, without reading on."""
        ...

    def head(self, key: str) -> Head | None:
        """Return what is known of one object, or None."""
        ...

    def open(self, key: str, head: Head | None = None) -> Blob:
        """Open one object for reading at offsets; `head`, if it is known already, may spare a request."""
        ...

    def read(self, key: str) -> bytes:
        """Return a whole object."""
        ...

    def create(self, key: str, data: bytes | Path) -> bool:
        """Write an object (bytes, or a local file's content) only if there is none; return whether it was written."""
        ...

    def replace(self, key: str, data: bytes | Path, token: str | None) -> bool:
        """Write an object only if its version is still `token` ("": if there is none; None: whatever it is); return
        whether it was written.
        """
        ...

    def copy(self, source: str, key: str) -> None:
        """Create `key` with the content of `source`, both in this store; nothing happens if `key` exists."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; nothing happens if there is none."""
        ...


def content(store: Store, key: str) -> tuple[bytes, str]:
    """Return a small object and its version, as `replace` takes it: both are empty if there is none."""
    try:
        with contextlib.closing(store.open(key)) as blob:
            return blob.read_at(0, blob.size), blob.token
    except FileNotFoundError:
        return b"", ""


def sha256_of(blob: Blob, offset: int, length: int) -> str:
    """Return the SHA-256 of a part of an object, read in blocks."""
    sha = hashlib.sha256()
    for at in range(offset, offset + length, _CHUNK):
        sha.update(blob.read_at(at, min(_CHUNK, offset + length - at)))
    return sha.hexdigest()


def mapped(store: Store, function: Callable[[_T], _R], items: Iterable[_T]) -> Iterator[_R]:
    """Yield what a function that waits for the store makes of each item, in order, over the store's connections."""
    if store.connections == 1:
        yield from map(function, items)
        return
    pool, waiting = ThreadPoolExecutor(store.connections), deque[Future[_R]]()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > _AHEAD * store.connections:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Place:
    """A root as jobs carry it: its URL, on a dry run the scratch folder that takes its writes, and how an object store
    is reached (no credentials: those are of the process that opens it).
    """

    url: str
    scratch: str = ""
    options: StoreOptions = field(default_factory=StoreOptions)

    @property
    def store(self) -> Store:
        """Return this process's store for the root (one a process and place)."""
        with _PLACES_LOCK:
            if self not in _PLACES:
                _PLACES[self] = _open(self)
            return _PLACES[self]

    @property
    def local(self) -> bool:
        """Return whether the root is a local folder."""
        return "://" not in self.url

    def path(self, key: str) -> str:
        """Return the URL of an object below this root."""
        return f"{self.url.rstrip('/')}/{key}"


_PLACES: dict[Place, Store] = {}
_PLACES_LOCK = threading.Lock()


def hurry(on: bool = True) -> None:
    """Let no request to a store wait long, or be tried again, from now on: the command is to end."""
    if "resplice.io.requests" in sys.modules:  # else no root is behind a network
        from resplice.io import requests

        requests.hurry(on)


def _forget() -> None:
    """Begin anew in a forked child: it must not share its parent's connections, nor wait for a thread of it."""
    global _PLACES_LOCK
    _PLACES_LOCK = threading.Lock()
    _PLACES.clear()


os.register_at_fork(after_in_child=_forget)


def _open(place: Place) -> Store:
    from resplice.io.local import LocalStore

    below: Store
    if place.local:
        below = LocalStore(place.url)
    elif place.url.startswith("s3://"):
        from resplice.io.s3 import S3Store

        below = S3Store(place.url, place.options)
    else:
        scheme = place.url.split("://", 1)[0]
        raise UserError(f"{place.url}: {scheme}:// is not supported; use a local folder or s3://bucket/prefix")
    if not place.scratch:
        return below
    from resplice.io.overlay import OverlayStore

    return OverlayStore(below, place.scratch)
