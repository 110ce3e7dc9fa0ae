"""Arrow files of a process's own: what it wrote by range, a record batch each, read one at a time."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa

from resplice.io import shards
from resplice.io.store import Store


def file_of(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> bytes:
    """Return an Arrow file."""
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def batch_of(store: Store, key: str, number: int) -> pa.RecordBatch:
    """Return one record batch of an Arrow file."""
    with pa.ipc.open_file(io.BufferedReader(shards.BlobFile(store.open(key)), 1 << 16)) as file:
        return file.get_batch(number)
