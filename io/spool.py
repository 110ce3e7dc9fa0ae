"""A tar in the making: members are spooled to disk in any order, and written sorted, so that memory stays flat."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from resplice.io import tars
from resplice.io.store import Store

_CHUNK = 1 << 20


class Spool:
    """Members on disk: where each lies in `file`, and how long it is."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._members: dict[str, tuple[int, int]] = {}

    def add(self, name: str, data: bytes) -> None:
        """Add one member."""
        self._members[name] = (self._file.seek(0, 2), len(data))
        self._file.write(data)

    def write_tar(self, file: Any) -> list[dict[str, Any]]:
        """Write the members, sorted by name, as a tar; return its index: name, bytes and sha256 of each."""
        index = []
        writer = tars.TarWriter(file)
        for name in sorted(self._members):
            sha = hashlib.sha256()
            writer.add_stream(name, self._members[name][1], self._chunks(name, sha))
            index.append({"name": name, "bytes": self._members[name][1], "sha256": sha.hexdigest()})
        writer.close()
        file.flush()
        return index

    def _chunks(self, name: str, sha: Any) -> Iterator[bytes]:
        offset, size = self._members[name]
        self._file.seek(offset)
        while size > 0:
            chunk = self._file.read(min(_CHUNK, size))
            size -= len(chunk)
            sha.update(chunk)
            yield chunk


def read_index(store: Store, key: str) -> list[dict[str, Any]]:
    """Read a tar and return its index, as `Spool.write_tar` does."""
    blob = store.open(key)
    try:
        return [{"name": m.name, "bytes": m.size, "sha256": digest(blob, m)} for m in tars.read_members(blob)]
    finally:
        blob.close()


def digest(blob: tars.Source, member: tars.Member) -> str:
    """Return the SHA-256 of a member, read in blocks."""
    sha = hashlib.sha256()
    for offset in range(0, member.size, _CHUNK):
        sha.update(blob.read_at(member.offset + offset, min(_CHUNK, member.size - offset)))
    return sha.hexdigest()
