"""Live results, range by range: each shard is read once, by column, and spilled sorted, one record batch a range.

What crosses the shuffle is where a range's rows lie, not the rows.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from resplice.io import shards, snapshots
from resplice.io.context import Context
from resplice.io.store import Store
from resplice.transforms.ranges import range_of
from resplice.transforms.records import Damage, UserError
from resplice.transforms.replace import HISTORY, Shard

UNJUDGED = "unjudged"


@dataclass(frozen=True)
class Spill:
    """Where the rows of one range of one shard lie: record batch `batch` of the Arrow file `key`.

    `rank` orders shards.
    """

    rank: int
    key: str
    batch: int
    origin: str
    run_id: str
    rows: int


@dataclass(frozen=True)
class LiveRow:
    """One live result. `name` is the DB's spelling (history) or the stem (runs); status also `unjudged`."""

    video_id: str
    name: str | None
    status: str
    reasons: tuple[str, ...]
    origin: str
    run_id: str


def read_shard(context: Context, shard: Shard) -> pa.Table:
    """Return video_id, segment_file, status and reasons (joined by commas) of a shard's rows that count."""
    store, key = snapshots.open_shard(context.workspace.store, context.validation.store, shard)
    status = context.settings.history.status_column if shard.origin == HISTORY else "status"
    text = pa.string()
    try:
        columns = {"video_id": text, "segment_file": text, status: text}
        table = shards.read(store, key, columns, optional=[status])
        reasons = pa.nulls(len(table), text)
        if shard.origin != HISTORY:
            listed = shards.read(store, key, {"reasons": pa.list_(text)}, optional=["reasons"]).column(0)
            reasons = pc.binary_join(listed, ",")
    except Damage as damage:
        raise UserError(f"{shard.source}: {damage}: mend or remove this shard") from None
    table = pa.table([*table.columns, reasons], names=["video_id", "segment_file", "status", "reasons"])
    return snapshots.without(table, shard.drop)


class IndexShard:
    """Spill one shard by range: (rank, shard) → (range, Spill) for each range that it has rows of."""

    def __init__(self, context: Context, stage: str, bounds: Sequence[str]) -> None:
        self._context = context
        self._folder = context.passing(stage)
        self._bounds = bounds

    def __call__(self, ranked: tuple[int, Shard]) -> Iterator[tuple[int, Spill]]:
        """Index the shard."""
        rank, shard = ranked
        table = self._normalised(read_shard(self._context, shard), shard)
        ids = table.column("video_id").combine_chunks().dictionary_encode()
        of_id = [range_of(self._bounds, video) for video in ids.dictionary.to_pylist()]
        ranges = pc.take(pa.array(of_id, pa.int64()), ids.indices) if of_id else pa.array([], pa.int64())
        table = shards.sorted_by(table.append_column("range", ranges), "range", "video_id")
        key = f"{self._folder}/{rank:05d}.arrow"
        batches = list(_by_range(table))
        self._context.workspace.store.replace(key, _arrow_file([batch for _, batch in batches], table.schema), None)
        for number, (index, batch) in enumerate(batches):
            yield index, Spill(rank, key, number, shard.origin, shard.run_id, batch.num_rows)

    def _normalised(self, table: pa.Table, shard: Shard) -> pa.Table:
        """Map the historical spelling of statuses; what is none of them is a result without a status."""
        video = pc.fill_null(table.column("video_id"), "")
        status = table.column("status")
        if shard.origin == HISTORY:
            history = self._context.settings.history
            names = {"passed": history.passed, "failed": history.failed, "error": history.error}
            mapped = pa.scalar(UNJUDGED)
            for ours, theirs in names.items():
                same = pc.fill_null(pc.is_in(status, value_set=pa.array(theirs, pa.string())), False)
                mapped = pc.if_else(same, ours, mapped)
            status = mapped if isinstance(mapped, (pa.ChunkedArray, pa.Array)) else pa.nulls(len(table))
        return pa.table(
            [video, table.column("segment_file"), status, table.column("reasons")], names=table.column_names
        )


def _by_range(table: pa.Table) -> Iterator[tuple[int, pa.RecordBatch]]:
    if not len(table):
        return
    counts = pc.run_end_encode(table.column("range").combine_chunks())
    start = 0
    for index, end in zip(counts.values.to_pylist(), counts.run_ends.to_pylist(), strict=True):
        yield index, table.slice(start, end - start).combine_chunks().to_batches()[0]
        start = end


def _arrow_file(batches: Sequence[pa.RecordBatch], schema: pa.Schema) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def read_spills(store: Store, spills: Iterable[Spill]) -> list[tuple[Spill, pa.RecordBatch]]:
    """Return spills in the order of the shards, each with its rows: video_id, segment_file, status, reasons, range."""
    return [(spill, _read(store, spill)) for spill in sorted(spills, key=lambda spill: spill.rank)]


def _read(store: Store, spill: Spill) -> pa.RecordBatch:
    with pa.ipc.open_file(io.BufferedReader(shards.BlobFile(store.open(spill.key)), 1 << 16)) as file:
        return file.get_batch(spill.batch)


def rows_of(spill: Spill, batch: pa.RecordBatch) -> Iterator[LiveRow]:
    """Yield rows of a spill as records."""
    for video, name, status, reasons in zip(*(batch.column(i).to_pylist() for i in range(4)), strict=True):
        why = tuple(reasons.split(",")) if reasons else ()
        yield LiveRow(video, name, status, why, spill.origin, spill.run_id)


def count_videos(context: Context, shard: Shard) -> dict[str, int]:
    """Return how many rows of each video a shard holds, without those that it drops; null is the video ""."""
    ids = pc.fill_null(read_ids(context, shard), "")
    return {video: rows for video, rows in counted(ids) if video not in shard.drop}


def counted(ids: pa.ChunkedArray) -> Iterator[tuple[str, int]]:
    """Yield each id and how often it is there."""
    counts = pc.value_counts(ids)
    yield from zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)


def read_ids(context: Context, shard: Shard) -> pa.ChunkedArray:
    """Return the video_id of every row of a shard, read by that column alone."""
    store, key = snapshots.open_shard(context.workspace.store, context.validation.store, shard)
    try:
        return shards.read(store, key, {"video_id": pa.string()}).column(0)
    except Damage as damage:
        raise UserError(f"{shard.source}: {damage}: mend or remove this shard") from None
