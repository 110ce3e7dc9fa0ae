"""Probes of what lies around a run: stores, folders, memory and disks. They leave nothing behind."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
import threading
import uuid
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import psutil

from resplice.io.local import LocalStore
from resplice.io.store import Store

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


def faults(store: Store) -> list[str]:
    """Try all that publishing relies on, on keys of our own that are removed; return what the store does not honour."""
    prefix = f"probe-{uuid.uuid4().hex}/"
    found: list[str] = []
    try:
        found += _create_only(store, f"{prefix}create")
        found += _conditional(store, f"{prefix}replace")
        found += _listed(store, prefix)
        found += [] if all(_one_wins(store, f"{prefix}race-{n}") for n in range(ROUNDS)) else [
            "of two creates at once, exactly one must win"
        ]  # fmt: skip
    finally:
        for head in list(store.list(prefix)):
            store.delete(head.key)
    if list(store.list(prefix)):
        found.append("what was deleted must be gone")
    return found


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


def _one_wins(store: Store, key: str) -> bool:
    both, won = threading.Barrier(2), {}

    def create(name: bytes) -> None:
        both.wait()
        won[name] = store.create(key, name)

    threads = [threading.Thread(target=create, args=(name,)) for name in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [name for name, did in won.items() if did]
    return len(winners) == 1 and store.read(key) == winners[0]


def holds_tar(folder: Path) -> bool:
    """Return whether a tar is among the first entries of a folder. OSError if it cannot be read."""
    with os.scandir(folder) as entries:
        return any(entry.name.endswith(".tar") for entry in islice(entries, MOST_FILES))


def tar_sizes(folder: Path) -> tuple[int, int, bool]:
    """Return (bytes of all, bytes of the largest, whether these are all) of the first tars of a folder."""
    total = largest = 0
    with os.scandir(folder) as entries:
        for entry in islice(entries, MOST_FILES):
            if entry.name.endswith(".tar") and entry.is_file():
                size = entry.stat().st_size
                total, largest = total + size, max(largest, size)
        return total, largest, next(entries, None) is None


def memory_bytes() -> int:
    """Return the memory that there is: the machine's, or what a container may take of it."""
    limits: list[int] = [psutil.virtual_memory().total]
    for file in _CGROUPS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            limits.append(int(Path(file).read_text()))
    return min(limits)


def local_store(folder: Path) -> Store:
    """Return the store of a folder."""
    return LocalStore(str(folder))
