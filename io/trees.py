"""The digests of local files, and of folders as trees.

A file is read again only if its size, mtime_ns, ctime_ns or inode is another. Within a process that is `Files`;
`resplice.io.remembered` keeps it between processes. `manifest verify` uses no memory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from resplice.io.local import TEMPORARY, local_token

_CHUNK = 1 << 20


class Files:
    """What is known of local files, by path: version token and SHA-256. `hashed` counts those that were read."""

    def __init__(self) -> None:
        self.hashed = 0
        self._known: dict[str, tuple[str, str]] = {}

    def file(self, path: str) -> tuple[str, os.stat_result]:
        """Return the SHA-256 of a file and its state from before it was read."""
        stat = os.stat(path)  # noqa: PTH116  called for each of many files, as are those below
        token = local_token(stat)
        known = self._known.get(path)
        if known is None or known[0] != token:
            self.hashed += 1
            known = self._known[path] = token, file_digest(path)
        return known[1], stat


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
    for name in sorted(_files(str(folder), frozenset(without), skipped), key=os.fsencode):
        sha256, stat = memory.file(f"{folder}/{name}")
        tree.update(os.fsencode(name) + f"\t{stat.st_size}\t{sha256}\n".encode())
        total += stat.st_size
        files += 1
    said = {"path": str(folder), "exists": folder.exists(), "kind": "directory", "files": files, "bytes": total,
            "tree_sha256": tree.hexdigest()}  # fmt: skip
    return {**said, "without": sorted(without)} if without else said


def _files(folder: str, without: frozenset[str], skipped: str | None) -> Iterator[str]:
    """Yield the relative paths of the regular files below a folder; a link that leads back up is not followed."""
    if not os.path.isdir(folder):  # noqa: PTH112
        return
    waiting: list[tuple[str, frozenset[tuple[int, int]]]] = [("", frozenset())]
    while waiting:
        inside, above = waiting.pop()
        stat = os.stat(f"{folder}/{inside}")  # noqa: PTH116
        if (here := (stat.st_dev, stat.st_ino)) in above:
            continue
        with os.scandir(f"{folder}/{inside}") as entries:
            for entry in entries:
                if (name := inside + entry.name) in without or (skipped and entry.name.startswith(skipped)):
                    continue
                if _is(entry.is_dir):
                    waiting.append((f"{name}/", above | {here}))
                elif _is(entry.is_file):
                    yield name


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link to itself
        return False
