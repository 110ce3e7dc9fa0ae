"""A tar in the making: members are spooled to disk in any order, and written sorted, so that memory stays flat."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import IO, Any

from resplice.io import tars
from resplice.io.local import LocalBlob
from resplice.io.store import Store

_CHUNK = 1 << 20


class Spool:
    """Members on disk: where each lies in `file` (a real one, that nobody else writes to), and how long it is."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._size = 0
        self._members: dict[str, tuple[int, int]] = {}

    def add(self, name: str, data: bytes) -> None:
        """Add one member."""
        self._members[name] = (self._size, len(data))
        self._file.write(data)
        self._size += len(data)

    def write_tar(self, file: IO[bytes]) -> tuple[list[dict[str, Any]], str]:
        """Write the members, sorted by name, as a tar; return its index (name, bytes and sha256 of each), and the
        tar's own SHA-256.
        """
        self._file.flush()
        index, hashed = [], _Hashed(file)
        writer = tars.TarWriter(hashed)
        for name in sorted(self._members):
            sha = hashlib.sha256()
            writer.add_stream(name, self._members[name][1], self._hashed(name, sha))
            index.append({"name": name, "bytes": self._members[name][1], "sha256": sha.hexdigest()})
        writer.close()
        file.flush()
        return index, hashed.sha.hexdigest()

    def token_in(self, store: Store, key: str, tar: Path) -> str:
        """Return the version of a published tar that reads back as `tar` does, whose members are these; else ""."""
        sizes = {name: size for name, (_, size) in self._members.items()}
        with closing(LocalBlob(tar)) as made, closing(store.open(key)) as blob:
            same = (
                sizes == {member.name: member.size for member in tars.read_members(made)}
                and blob.size == made.size
                and all(blob.read_at(at, _CHUNK) == made.read_at(at, _CHUNK) for at in range(0, made.size, _CHUNK))
            )
            return blob.token if same else ""

    def _hashed(self, name: str, sha: Any) -> Iterator[bytes]:
        offset, size = self._members[name]
        for at in range(0, size, _CHUNK):
            chunk = os.pread(self._file.fileno(), min(_CHUNK, size - at), offset + at)
            sha.update(chunk)
            yield chunk


class _Hashed:
    """A file that is written forward, and the SHA-256 of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self.sha.update(data)
        self._file.write(data)
