"""The digests of local files, and of folders as trees.

`resplice.io.remembered` spares hashing what has not changed; `manifest verify` uses none. A tree takes no more memory
than its largest folder: there may be millions of files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from resplice.io.local import TEMPORARY

_CHUNK = 1 << 20
_Id = tuple[int, int]
"""Device and inode of a folder."""


class Files:
    """Hashes local files. `hashed` counts those that were read."""

    def __init__(self) -> None:
        self.hashed = 0

    def file(self, path: str) -> tuple[str, os.stat_result]:
        """Return the SHA-256 of a file and its state from before it was read."""
        stat = os.stat(path)  # noqa: PTH116  called for each of many files, as are those below
        self.hashed += 1
        return file_digest(path), stat


def file_digest(path: str | Path) -> str:
    """Return the SHA-256 of a local file."""
    sha256, handle = hashlib.sha256(), os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        most = min(os.fstat(handle).st_size + 1, _CHUNK)  # a small file takes a small buffer
        while block := os.read(handle, most):
            sha256.update(block)
    finally:
        os.close(handle)
    return sha256.hexdigest()


def described_folder(
    folder: Path, memory: Files | None = None, without: Collection[str] = (), ours: bool = False
) -> dict[str, Any]:
    """Return what a sidecar says of a local folder: all its regular files, as one tree.

    The tree is the SHA-256 over `path\\tsize\\tsha256\\n` of each file, sorted by the bytes of the relative path.
    `without` are relative paths of files and folders in it that do not belong to it (what is made of it, say). `ours`:
    resplice writes the folder, so that its temporary files do not belong to it.
    """
    memory = memory or Files()
    tree, total, files = hashlib.sha256(), 0, 0
    skipped = TEMPORARY if ours else None
    for name in _files(str(folder), frozenset(without), skipped):
        sha256, stat = memory.file(f"{folder}/{name}")
        tree.update(os.fsencode(name) + f"\t{stat.st_size}\t{sha256}\n".encode())
        total += stat.st_size
        files += 1
    said = {"path": str(folder), "exists": folder.exists(), "kind": "directory", "files": files, "bytes": total,
            "tree_sha256": tree.hexdigest()}  # fmt: skip
    return {**said, "without": sorted(without)} if without else said


def _files(folder: str, without: frozenset[str], skipped: str | None) -> Iterator[str]:
    """Yield the relative paths of the regular files below a folder, sorted by their bytes; a link that leads back up is
    not followed.
    """
    if not os.path.isdir(folder):  # noqa: PTH112
        return
    open_: list[tuple[str, Iterator[str], frozenset[_Id]]] = []

    def enter(inside: str, above: frozenset[_Id]) -> None:
        stat = os.stat(f"{folder}/{inside}")  # noqa: PTH116
        if (here := (stat.st_dev, stat.st_ino)) not in above:
            open_.append((inside, iter(_entries(folder, inside, without, skipped)), above | {here}))

    enter("", frozenset())
    while open_:
        inside, names, above = open_[-1]
        name = next(names, None)
        if name is None:
            open_.pop()
        elif name.endswith("/"):
            enter(inside + name, above)
        else:
            yield inside + name


def _entries(folder: str, inside: str, without: frozenset[str], skipped: str | None) -> list[str]:
    """Return the files and folders in a folder; a folder ends with the / by which the paths in it sort."""
    found = []
    with os.scandir(f"{folder}/{inside}") as entries:
        for entry in entries:
            if inside + entry.name in without or (skipped and entry.name.startswith(skipped)):
                continue
            if _is(entry.is_dir):
                found.append(f"{entry.name}/")
            elif _is(entry.is_file):
                found.append(entry.name)
    return sorted(found, key=os.fsencode)


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link to itself
        return False
