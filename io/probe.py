"""Probes of what lies around a run: stores, folders, memory and disks. They leave nothing behind."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import threading
import uuid
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import psutil

from resplice.io.store import Place, Store
from resplice.transforms.records import UserError

ROUNDS = 8
MOST_FILES = 100_000
_CGROUPS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above that exists. NotADirectoryError if a file stands in the way."""
    for path in (folder, *folder.parents):
        if path.is_dir():
            return path
        if path.exists() or path.is_symlink():
            break
    raise NotADirectoryError(errno.ENOTDIR, "is no folder", str(path))


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Make a folder of our own inside one that exists, and remove it with all that is in it."""
    with tempfile.TemporaryDirectory(prefix=".resplice-tmp-probe-", dir=folder) as name:
        yield Path(name)


def tells_case(folder: Path) -> bool:
    """Return whether a folder's file system tells `a` from `A`: else two videos would share one file."""
    handle, name = tempfile.mkstemp(prefix=".resplice-tmp-case-", dir=folder)
    os.close(handle)
    file = Path(name)
    try:
        return not file.with_name(file.name.upper()).exists()
    finally:
        file.unlink()


def faults(store: Store, rounds: int = ROUNDS) -> list[str]:
    """Try all that publishing relies on, on keys of our own that are removed; return what the store does not honour.

    `rounds` of races are held: a store may honour a condition of one request, and not of two at once.
    """
    prefix = f"probe-{uuid.uuid4().hex}/"
    found: list[str] = []
    with _removed(store, prefix):
        found += _create_only(store, f"{prefix}create")
        found += _conditional(store, f"{prefix}replace")
        found += _listed(store, prefix)
        for kind, race in (("creates", _creates), ("replaces of one version", _replaces)):
            if not all(race(store, f"{prefix}{kind}-{n}") for n in range(rounds)):
                found.append(f"of two {kind} at once, exactly one must win")
    if list(store.list(prefix)):
        found.append("what was deleted must be gone")
    return found


@contextlib.contextmanager
def _removed(store: Store, prefix: str) -> Iterator[None]:
    """Remove what the block makes; an error of the block is told, not one of removing."""
    failed = True
    try:
        yield
        failed = False
    finally:
        with contextlib.suppress(UserError) if failed else contextlib.nullcontext():
            for head in list(store.list(prefix)):
                store.delete(head.key)


def _create_only(store: Store, key: str) -> Iterator[str]:
    if not store.create(key, b"first") or store.read(key) != b"first":
        yield "what was created must be read back"
    if store.create(key, b"second") or store.read(key) != b"first":
        yield "a create must not overwrite"


def _conditional(store: Store, key: str) -> Iterator[str]:
    store.create(key, b"one")
    old = store.head(key)
    if old is None or not store.replace(key, b"two, longer", old.token) or store.read(key) != b"two, longer":
        yield "a replace of the version that is there must be done, and read back"
    stale = old is not None and store.replace(key, b"three", old.token)
    if stale or store.replace(key, b"four", "") or store.read(key) in (b"three", b"four"):
        yield "a replace of a version that is gone must be refused"


def _listed(store: Store, prefix: str) -> Iterator[str]:
    keys = [head.key for head in store.list(prefix)]
    if keys != [f"{prefix}create", f"{prefix}replace"] or store.head(f"{prefix}none") is not None:
        yield "a list must show just what is there"


def _creates(store: Store, key: str) -> bool:
    return _one_wins(store, key, store.create)


def _replaces(store: Store, key: str) -> bool:
    store.create(key, b"before")
    head = store.head(key)
    return head is not None and _one_wins(store, key, lambda key, data: store.replace(key, data, head.token))


def _one_wins(store: Store, key: str, write: Callable[[str, bytes], bool]) -> bool:
    both = threading.Barrier(2)

    def at_once(data: bytes) -> bool:
        both.wait()
        return write(key, data)

    with ThreadPoolExecutor(2) as pool:
        won = dict(zip((b"a", b"b"), pool.map(at_once, (b"a", b"b")), strict=True))
    winners = [data for data, did in won.items() if did]
    return len(winners) == 1 and store.read(key) == winners[0]


@dataclass(frozen=True)
class Tars:
    """The tars among the first objects of a root: how many, their bytes, those of the largest; `whole`: of all."""

    count: int
    bytes: int
    largest: int
    whole: bool


def tars(place: Place) -> Tars:
    """Look at the first objects directly below a root. OSError or UserError if it cannot be read."""
    count = total = largest = 0
    with contextlib.closing(_entries(place)) as entries:
        for name, size in islice(entries, MOST_FILES):
            if name.endswith(".tar") and size is not None:
                count, total, largest = count + 1, total + size, max(largest, size)
        return Tars(count, total, largest, next(entries, None) is None)


def _entries(place: Place) -> Generator[tuple[str, int | None], None, None]:
    """Yield name and bytes of what lies below a root, in any order; a folder has no bytes."""
    if not place.local:
        yield from ((head.key, head.size) for head in place.store.list())
        return
    with os.scandir(place.url) as entries:
        yield from ((entry.name, entry.stat().st_size if entry.is_file() else None) for entry in entries)


def memory_bytes() -> int:
    """Return the memory that there is: the machine's, or what a container may take of it."""
    limits: list[int] = [psutil.virtual_memory().total]
    for file in _CGROUPS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            limits.append(int(Path(file).read_text()))
    return min(limits)
