"""The digests of local files, remembered between processes: a folder of 100,000 files is hashed once.

What changed within the last seconds is not remembered, as a clock that ticks slowly could hide its next change.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from bisect import bisect_left
from weakref import WeakValueDictionary

import numpy as np

from resplice.io.local import local_token
from resplice.io.store import Place, content
from resplice.io.trees import Files
from resplice.transforms import provenance

_SETTLED_S = 2.0
_NAME, _SHA256 = 16, 32
_RECORD = _NAME + _SHA256
"""Bytes of a record: the digest of a path and its version token, the SHA-256 of the file. Millions of them fit in
memory: the SHA-256 of all, then the records, sorted.
"""
_RECENT = 100_000


class Known(Files):
    """What a workspace remembers of the files below some folders, only to be asked. A damaged memory is none."""

    def __init__(self, place: Place, *folders: str) -> None:
        super().__init__()
        self.key = f"digests/{provenance.sha256(chr(10).join(folders).encode('utf-8', 'surrogateescape'))[:16]}.bin"
        self._store = place.store
        self._kept = _whole(content(self._store, self.key)[0])

    def file(self, path: str) -> tuple[str, os.stat_result]:
        """Return the SHA-256 of a file and its state from before it was read."""
        stat = os.stat(path)  # noqa: PTH116  called for each of many files
        sha256 = self._found(_name(path, stat))
        return super().file(path) if sha256 is None else (sha256.hex(), stat)

    def _found(self, name: bytes) -> bytes | None:
        kept, starts = self._kept, range(_SHA256, len(self._kept), _RECORD)
        at = _SHA256 + _RECORD * bisect_left(starts, name, key=lambda start: kept[start : start + _NAME])
        return kept[at + _NAME : at + _RECORD] if kept[at : at + _NAME] == name else None


_ASKED: WeakValueDictionary[tuple[str, ...], Known] = WeakValueDictionary()
_LOCK = threading.Lock()


def known(place: Place, *folders: str) -> Known:
    """Return what a workspace remembers, one for all threads that ask at a time."""
    key = place.url, *folders
    with _LOCK:
        found = _ASKED[key] = _ASKED.get(key) or Known(place, *folders)
    return found


class Memory(Known):
    """What a workspace remembers of the files below some folders: what its last process saw of them."""

    def __init__(self, place: Place, *folders: str) -> None:
        super().__init__(place, *folders)
        self._seen = bytearray(_SHA256)
        self._recent: dict[bytes, bytes] = {}

    def file(self, path: str) -> tuple[str, os.stat_result]:
        """Return the SHA-256 of a file and its state from before it was read."""
        stat = os.stat(path)  # noqa: PTH116  called for each of many files
        name = _name(path, stat)
        if sha256 := self._recent.get(name):
            return sha256.hex(), stat
        sha256 = self._found(name)
        if sha256 is None:
            text, stat = Files.file(self, path)
            name, sha256 = _name(path, stat), bytes.fromhex(text)
        self._take(name, sha256, stat)
        return sha256.hex(), stat

    def _take(self, name: bytes, sha256: bytes, stat: os.stat_result) -> None:
        if len(self._recent) >= _RECENT:
            self._recent.clear()
        self._recent[name] = sha256
        if time.time() - max(stat.st_mtime, stat.st_ctime) > _SETTLED_S:
            self._seen += name + sha256

    def keep(self) -> None:
        """Keep what was seen for the next process."""
        if len(self._seen) > _SHA256:
            np.frombuffer(self._seen, f"S{_RECORD}", offset=_SHA256).sort()
        self._seen[:_SHA256] = _sum(self._seen)
        if self._seen != self._kept and len(self._seen) > _SHA256:
            self._kept = b""  # not both at once
            self._kept = bytes(self._seen)
            self._store.replace(self.key, self._kept, None)


def _name(path: str, stat: os.stat_result) -> bytes:
    return hashlib.blake2b(os.fsencode(path) + b"\0" + local_token(stat).encode(), digest_size=_NAME).digest()


def _sum(data: bytes | bytearray) -> bytes:
    """Return the SHA-256 of the records of a memory: what it begins with."""
    return hashlib.sha256(memoryview(data)[_SHA256:]).digest()


def _whole(data: bytes) -> bytes:
    """Return a memory, an empty one for none that is whole."""
    return data if data[:_SHA256] == _sum(data) else b""
