"""Objects brought here as a whole: where reading makes one wait, what is read more than once is read from a disk."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from resplice.io.store import Head, Store

_CHUNK = 1 << 20


@contextlib.contextmanager
def fetched(store: Store, key: str, head: Head | None = None) -> Iterator[Path]:
    """Give a temporary local file with the content of one version of an object. FileNotFoundError without one."""
    with tempfile.NamedTemporaryFile(prefix="resplice-") as file, contextlib.closing(store.open(key, head)) as blob:
        for offset in range(0, blob.size, _CHUNK):
            file.write(blob.read_at(offset, _CHUNK))
        file.flush()
        yield Path(file.name)
