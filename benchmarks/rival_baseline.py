"""Two simple ways to read the headers of many tars over a network, by Python's tarfile.

`headers`: one request for each header, which also brings the first bytes of the member. `whole`: one request for each
tar, read to its end as a stream. Both return, for each tar, its members and the STREAMINFO (42 bytes) of each FLAC.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

STREAMINFO = 42
Found = list[tuple[str, int, bytes]]


class Ranged(io.RawIOBase):
    """A file whose reads are requests; each brings just what tarfile reads at one header, and the data's begin."""

    AROUND = 1 + 512 + STREAMINFO  # tarfile looks at the byte before a header

    def __init__(self, get: Callable[..., Any], size: int) -> None:
        super().__init__()
        self._get, self._size = get, size
        self._at, self._start, self._data = 0, 0, b""

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to an offset; nothing is requested before it is read."""
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def read(self, length: int = -1) -> bytes:
        """Return bytes, by a request unless the last one brought them."""
        end = min(self._size, self._at + length)
        if not self._start <= self._at <= end <= self._start + len(self._data):
            answer = self._get(self._at, min(self._size - self._at, max(self.AROUND, length)))
            self._start, self._data = self._at, answer.read()
            answer.close()
        data = self._data[self._at - self._start : end - self._start]
        self._at = end
        return data


def _members(tar: tarfile.TarFile) -> Found:
    found = []
    for info in tar:
        tar.fileobj.seek(info.offset_data)
        found.append((info.name, info.size, tar.fileobj.read(STREAMINFO) if info.name.endswith(".flac") else b""))
    return found


def headers(get: Callable[..., Any], keys: Sequence[tuple[str, int]], connections: int) -> list[Found]:
    """Walk each tar header by header; `get(key, offset, length)` makes a request."""

    def one(key: str, size: int) -> Found:
        with tarfile.open(fileobj=Ranged(lambda at, n: get(key, at, n), size), mode="r:") as tar:
            return _members(tar)

    with ThreadPoolExecutor(connections) as pool:
        return list(pool.map(one, *zip(*keys, strict=True)))


def whole(get: Callable[..., Any], keys: Sequence[tuple[str, int]], connections: int) -> list[Found]:
    """Read each tar whole, as a stream."""

    def one(key: str, size: int) -> Found:
        with get(key, 0, size) as answer, tarfile.open(fileobj=answer, mode="r|", bufsize=1 << 18) as tar:
            found = _members(tar)
            while answer.read(1 << 18):
                pass
            return found

    with ThreadPoolExecutor(connections) as pool:
        return list(pool.map(one, *zip(*keys, strict=True)))
