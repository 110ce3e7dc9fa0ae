"""Objects brought here as a whole: where reading makes one wait, what is read more than once is read from a disk."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from resplice.io.ahead import Held
from resplice.io.store import Blob, Store

_CHUNK = 1 << 20


class Spooled:
    """One version of an object in a temporary file that has no name, and goes when it is closed."""

    def __init__(self, blob: Blob) -> None:
        self.size = blob.size
        self.token = blob.token
        self._file = tempfile.TemporaryFile(prefix="resplice-")  # noqa: SIM115
        _pour(blob, self._file)

    def read_at(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`; fewer only at the end."""
        return os.pread(self._file.fileno(), length, offset)

    def close(self) -> None:
        """Remove the file."""
        self._file.close()


def brought(store: Store, blob: Blob) -> Blob:
    """Return an open object for reading again and again: where that makes one wait, a copy of it, and it is closed."""
    if store.connections == 1 or isinstance(blob, Held):
        return blob
    with contextlib.closing(blob):
        return Spooled(blob)


@contextlib.contextmanager
def fetched(store: Store, key: str) -> Iterator[Path]:
    """Give a temporary local file with the content of an object. FileNotFoundError without one."""
    with contextlib.closing(store.open(key)) as blob, tempfile.NamedTemporaryFile(prefix="resplice-") as file:
        _pour(blob, file)
        yield Path(file.name)


def _pour(blob: Blob, file: IO[bytes]) -> None:
    for offset in range(0, blob.size, _CHUNK):
        file.write(blob.read_at(offset, _CHUNK))
    file.flush()
