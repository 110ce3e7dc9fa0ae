"""What a baseline lists before it reads: the videos of each range, with their tars, statuses and numbers of rows.

It is one Arrow file with a record batch a range, so that what names a range in a pipeline is its number alone.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from resplice.io.arrows import batch_of
from resplice.io.store import Head, Store
from resplice.io.tarstate import RAW, TRANSCRIBED
from resplice.transforms.provenance import shown
from resplice.transforms.ranges import partition

SUFFIXES = {RAW: ".tar", TRANSCRIBED: "_transcribed.tar"}
_HEADS = pa.schema([("video_id", pa.string()), ("key", pa.binary()), ("bytes", pa.int64()), ("token", pa.string())])
_AT_ONCE = 10_000


def tars(store: Store, suffix: str) -> pa.Table:
    """List the tars of a folder: `video_id, key, bytes, token`."""
    there, parts = (head for head in store.list() if _names_tar(head.key, suffix)), []
    while part := list(islice(there, _AT_ONCE)):
        parts.append(_heads(part, suffix))
    return pa.Table.from_batches(parts, _HEADS)


def _names_tar(key: str, suffix: str) -> bool:
    return key.endswith(suffix) and "/" not in key and key != suffix


def _heads(heads: Sequence[Head], suffix: str) -> pa.RecordBatch:
    columns = (
        [shown(head.key.removesuffix(suffix)) for head in heads],
        [os.fsencode(head.key) for head in heads],
        [head.size for head in heads],
        [head.token for head in heads],
    )
    return pa.record_batch([pa.array(column, kind.type) for column, kind in zip(columns, _HEADS, strict=True)],
                           schema=_HEADS)  # fmt: skip


def joined(counts: Mapping[str, int], statuses: Mapping[str, str | None], sides: Mapping[str, pa.Table]) -> pa.Table:
    """Join what was listed by video: `video_id` (sorted), `rows`, `status`, and `key, bytes, token` of both tars."""
    parts = {
        "rows": pa.table([pa.array(counts, pa.string()), pa.array(counts.values(), pa.int64())], ["video_id", "rows"]),
        "status": pa.table([pa.array(statuses, pa.string()), pa.array(statuses.values(), pa.string())],
                           ["video_id", "status"]),
        **sides,
    }  # fmt: skip
    ids = pc.unique(pa.chunked_array([chunk for part in parts.values() for chunk in part["video_id"].chunks],
                                     pa.string()))  # fmt: skip
    ids = ids.take(pc.sort_indices(ids))
    found = {"video_id": ids}
    for kind, part in parts.items():
        place = pc.index_in(ids, value_set=part["video_id"].combine_chunks())
        for name in part.column_names[1:]:
            found[f"{kind}_{name}" if kind in sides else name] = part[name].combine_chunks().take(place)
    return pa.table({**found, "rows": pc.fill_null(found["rows"], 0)})


def divided(listed: pa.Table) -> tuple[str, ...]:
    """Return the bounds of the ranges of what was listed."""
    return partition(dict(zip(listed["video_id"].to_pylist(), listed["rows"].to_pylist(), strict=True)))


def write(store: Store, key: str, listed: pa.Table, bounds: Sequence[str]) -> None:
    """Write what was listed, a record batch a range."""
    last = pc.index_in(pa.array(bounds, pa.string()), value_set=listed["video_id"].combine_chunks()).to_pylist()
    starts = [0, *(place + 1 for place in last), len(listed)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "listed.arrow"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, listed.schema) as writer:
            for start, end in pairwise(starts):
                writer.write_batch(_batch(listed.slice(start, end - start)))
        store.replace(key, path, None)


def _batch(part: pa.Table) -> pa.RecordBatch:
    return next(iter(part.combine_chunks().to_batches()), None) or pa.RecordBatch.from_pylist([], part.schema)


def read(store: Store, key: str, index: int) -> pa.Table:
    """Return what was listed of one range."""
    return pa.Table.from_batches([batch_of(store, key, index)])


def heads(listed: pa.Table, kind: str) -> dict[str, Head]:
    """Return the raw or transcribed tars of what was listed, by video."""
    names = ("video_id", *(f"{kind}_{name}" for name in ("key", "bytes", "token")))
    rows: Iterable[tuple[str, bytes | None, int, str]] = zip(*(listed[name].to_pylist() for name in names), strict=True)
    return {video: Head(os.fsdecode(key), size, token) for video, key, size, token in rows if key is not None}
